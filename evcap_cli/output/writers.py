"""Output formats. A writer turns records, in sorted input order, into the text of one file.

Subtitle formats lay several videos end to end on one clock, as a player plays a list: each video's cues start where
the last one ended, and a failed video with a known duration keeps its time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evcap_cli.clocks import timestamp
from evcap_cli.output.records import Caption, Record


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
    """White space folded: a cue or a cell must not break its line, nor hold an arrow that ends it early."""
    return " ".join(text.split()).replace("-->", "->")


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
            # braces open style tags in pysubs2's own text form; a word joiner behind them makes them plain
            text = one_line(caption.text).replace("{", "(").replace("}", ")")
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
    """Tab-separated: video, start, end, caption, category, probability."""

    suffix: str = ".tsv"
    description: str = "a table with a caption a row"

    def render(self, records: Sequence[Record]) -> str:
        import csv  # here: every call of evcap loads this module

        text = io.StringIO()
        rows = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
        rows.writerow(("id", "path", "start", "end", "caption", "category", "probability"))
        for record in records:
            for caption in record.captions:
                emotion = caption.emotion
                sure = None if emotion is None else emotion.probability
                felt = ("" if emotion is None else emotion.category, "" if sure is None else f"{sure:.4f}")
                rows.writerow(
                    (
                        record.id,
                        record.path,
                        f"{caption.start:.3f}",
                        f"{caption.end:.3f}",
                        one_line(caption.text),
                        *felt,
                    )
                )
        return text.getvalue()


@dataclass(frozen=True)
class HtmlReport:
    """One offline page; see ``report.py``."""

    suffix: str = ".html"
    description: str = "a page with thumbnails, captions and emotions"

    def render(self, records: Sequence[Record]) -> str:
        from evcap_cli.output.report import render_report

        return render_report(records)
