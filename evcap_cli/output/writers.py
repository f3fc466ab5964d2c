"""Output formats. A writer turns records, in sorted input order, into the text of one file.

Subtitle formats lay several videos end to end on one clock, as a player plays a list: each video's cues start where
the last one ended, and a failed video with a known duration keeps its time.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from evcap_cli.clocks import timestamp
from evcap_cli.output.records import Caption, Record

_ARROW: Final = re.compile("-{2,}>")
_ESCAPE: Final = re.compile(r"\\(?=[nNh])")
_TURNING: Final = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""Embeddings, overrides and isolates of the bidirectional algorithm."""
_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes a formula to begin with."""


class Writer(Protocol):
    """An output format; plugins register theirs through ``register_writers``."""

    @property
    def suffix(self) -> str:
        """File suffix that picks this writer, such as ".srt"."""

    @property
    def description(self) -> str:
        """A few words for help texts."""

    def render(self, records: Sequence[Record]) -> str:
        """The whole text of a file that holds ``records``."""


@runtime_checkable
class PlacedWriter(Writer, Protocol):
    """A format whose text depends on where its file will lie, such as a page with relative links."""

    def render_at(self, records: Sequence[Record], path: Path) -> str:
        """The whole text of the file ``path`` that holds ``records``."""


def on_one_clock(records: Sequence[Record]) -> Iterator[tuple[Record, Caption, int, int]]:
    """Each caption with its start and end in whole milliseconds on the clock of all videos laid end to end.

    Ends are rounded down, so that no cue leaves its video.
    """
    offset = 0.0
    for record in records:
        for caption in record.captions:
            start, end = offset + caption.start, offset + caption.end
            yield record, caption, int(start * 1000 + 1e-6), int(end * 1000 + 1e-6)
        offset += record.duration


def one_line(text: str) -> str:
    """A caption for a cue or a cell: nothing in it breaks the line, ends the cue early or reaches a terminal.

    White space, line ends of any kind included, is folded to single blanks, other ``is_control`` become U+FFFD, and an
    arrow loses its shaft.
    """
    plain = " ".join(text.split())
    if not plain.isprintable():
        plain = "".join("\ufffd" if is_control(sign) else sign for sign in plain)
    return _ARROW.sub("->", plain)


def is_control(sign: str) -> bool:
    """Whether a character commands instead of being shown.

    Those are the control characters, line and paragraph separators, and what turns the direction of all that follows;
    the joiners and marks that scripts need between their letters are not.
    """
    return sign in _TURNING or unicodedata.category(sign) in ("Cc", "Zl", "Zp")


def cell(text: str) -> str:
    """A name for a cell of a table: ``is_control`` as their Python escapes, and no program takes it for a formula."""
    shown = "".join(repr(sign)[1:-1] if is_control(sign) else sign for sign in text)
    return f"'{shown}" if text.startswith(_FORMULA_SIGNS) else shown


@dataclass(frozen=True)
class JsonLines:
    """One record a line; the schema is in docs/record.schema.json."""

    suffix: str = ".jsonl"
    description: str = "one JSON record a video"

    def render(self, records: Sequence[Record]) -> str:
        return "".join(record.to_line() + "\n" for record in records)


@dataclass(frozen=True)
class Subtitles:
    """SRT or WebVTT through pysubs2."""

    suffix: str
    description: str
    format: str

    def render(self, records: Sequence[Record]) -> str:
        import pysubs2

        subtitles = pysubs2.SSAFile()
        for _, caption, start, end in on_one_clock(records):
            # in pysubs2's own text form braces open style tags, and a backslash before n, N or h makes white space
            text = _ESCAPE.sub("\\\\\u2060", one_line(caption.text)).replace("{", "(").replace("}", ")")
            if self.format == "vtt":
                text = text.replace("&", "&amp;").replace("<", "&lt;")
            subtitles.append(pysubs2.SSAEvent(start=start, end=max(end, start + 1), text=text))
        # sorted by us already: equal starts must keep input order
        return _text(subtitles, self.format)


def _text(subtitles: Any, kind: str) -> str:
    """The text of an SRT or WebVTT file. pysubs2's own writers end at 100 hours: all later cues get the last time."""
    from pysubs2.formats.subrip import SubripFormat
    from pysubs2.formats.webvtt import WebVTTFormat

    class Srt(SubripFormat):  # type: ignore[misc]
        ms_to_timestamp = staticmethod(lambda ms: timestamp(ms, ","))

    class Vtt(WebVTTFormat):  # type: ignore[misc]
        ms_to_timestamp = staticmethod(lambda ms: timestamp(ms, "."))

    text = io.StringIO()
    (Vtt if kind == "vtt" else Srt).to_file(subtitles, text, kind)
    return text.getvalue()


@dataclass(frozen=True)
class Table:
    """Tab-separated, quoted as the csv module's excel-tab: video, start, end, caption, category, probability."""

    suffix: str = ".tsv"
    description: str = "a table with a caption a row"

    def render(self, records: Sequence[Record]) -> str:
        import csv  # here: every call of evcap loads this module

        text = io.StringIO()
        rows = csv.writer(text, "excel-tab", lineterminator="\n")
        rows.writerow(("id", "path", "start", "end", "caption", "category", "probability"))
        for record in records:
            for caption in record.captions:
                emotion = caption.emotion
                sure = None if emotion is None else emotion.probability
                columns = ("" if emotion is None else cell(emotion.category), "" if sure is None else f"{sure:.4f}")
                rows.writerow(
                    (
                        cell(record.id),
                        cell(record.path),
                        f"{caption.start:.3f}",
                        f"{caption.end:.3f}",
                        cell(one_line(caption.text)),
                        *columns,
                    )
                )
        return text.getvalue()


@dataclass(frozen=True)
class HtmlReport:
    """One offline page; see ``html_report.py``."""

    suffix: str = ".html"
    description: str = "a page with thumbnails, captions and emotions"

    def render(self, records: Sequence[Record]) -> str:
        from evcap_cli.output.html_report import render_report

        return render_report(records)

    def render_at(self, records: Sequence[Record], path: Path) -> str:
        from evcap_cli.output.html_report import render_report

        return render_report(records, folder=path.parent)
