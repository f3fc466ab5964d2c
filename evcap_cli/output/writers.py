"""Output formats. A writer turns records, in sorted input order, into the text of one file.

A million records make a file of gigabytes, so evcap's own writers give it piece by piece.

Subtitle formats lay several videos end to end on one clock, as a player plays a list: each video's cues start where
the last one ended, and a failed video with a known duration keeps its time.
"""

from __future__ import annotations

import heapq
import io
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, runtime_checkable

from evcap_cli.clocks import timestamp

if TYPE_CHECKING:
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
class StreamingWriter(Writer, Protocol):
    """A format that needs no more than one record at a time: files of any number of videos, in the memory of one."""

    def pieces(self, records: Iterable[Record]) -> Iterator[str]:
        """The text of ``render``, piece by piece; each record is read once."""


@runtime_checkable
class PlacedWriter(Writer, Protocol):
    """A format whose text depends on where its file will lie, such as a page with relative links."""

    def render_at(self, records: Sequence[Record], path: Path) -> str:
        """The whole text of the file ``path`` that holds ``records``."""


@runtime_checkable
class PagedWriter(Writer, Protocol):
    """A format that is several files where there are many videos, such as a report in pages."""

    def write_pages(self, records: Iterable[Record], path: Path) -> None:
        """Write the file ``path`` that shows ``records``, which begin again when iterated again, and its other files.

        Raises:
            WriteError: it cannot; what was there before is as it was.
        """


Cue: TypeAlias = "tuple[Record, Caption, int, int]"
"""A caption of a record with its start and end in whole milliseconds on the clock of all videos."""


def on_one_clock(records: Iterable[Record]) -> Iterator[Cue]:
    """Each caption with its start and end in whole milliseconds on the clock of all videos laid end to end.

    Ends are rounded down, so that no cue leaves its video.
    """
    for cues, _ in _video_by_video(records):
        yield from cues


def _by_start(records: Iterable[Record]) -> Iterator[Cue]:
    """``on_one_clock``, sorted by start; equal starts stay in order. Cues wait while an earlier one may come."""
    waiting: list[tuple[int, int, Cue]] = []
    numbers = itertools.count()
    for cues, end in _video_by_video(records):
        for cue in cues:
            heapq.heappush(waiting, (cue[2], next(numbers), cue))
        while waiting and waiting[0][0] <= end:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _video_by_video(records: Iterable[Record]) -> Iterator[tuple[list[Cue], int]]:
    """The cues of each video, and the millisecond before which none of a later video starts."""

    def milliseconds(seconds: float) -> int:
        return int(seconds * 1000 + 1e-6)

    offset = 0.0
    for record in records:
        cues = [
            (record, caption, milliseconds(offset + caption.start), milliseconds(offset + caption.end))
            for caption in record.captions
        ]
        offset += record.duration
        yield cues, milliseconds(offset)


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
    shown = text
    if not text.isprintable():
        shown = "".join(repr(sign)[1:-1] if is_control(sign) else sign for sign in text)
    return f"'{shown}" if text.startswith(_FORMULA_SIGNS) else shown


@dataclass(frozen=True)
class JsonLines:
    """One record a line; the schema is in docs/record.schema.json."""

    suffix: str = ".jsonl"
    description: str = "one JSON record a video"

    def render(self, records: Sequence[Record]) -> str:
        return "".join(self.pieces(records))

    def pieces(self, records: Iterable[Record]) -> Iterator[str]:
        return (record.to_line() + "\n" for record in records)


@dataclass(frozen=True)
class Subtitles:
    """SRT or WebVTT through pysubs2."""

    suffix: str
    description: str
    format: str

    def render(self, records: Sequence[Record]) -> str:
        return "".join(self.pieces(records))

    def pieces(self, records: Iterable[Record]) -> Iterator[str]:
        vtt = self.format == "vtt"
        if vtt:
            yield "WEBVTT\n\n"
        cue_text = _cues("." if vtt else ",")
        # SRT keeps the order of the captions, which may overlap; a WebVTT file is sorted by start
        cues = _by_start(records) if vtt else on_one_clock(records)
        for number, (_, caption, start, end) in enumerate(cues, 1):
            # in pysubs2's own text form braces open style tags, and a backslash before n, N or h makes white space
            text = _ESCAPE.sub("\\\\\u2060", one_line(caption.text)).replace("{", "(").replace("}", ")")
            if vtt:
                text = text.replace("&", "&amp;").replace("<", "&lt;")
            yield f"{number}\n{cue_text(start, max(end, start + 1), text)}"


def _cues(point: str) -> Callable[[int, int, str], str]:
    """What makes the lines of one cue from start, end and text, without its number.

    pysubs2's own writers end at 100 hours: all later cues get the last time.
    """
    import pysubs2
    from pysubs2.formats.subrip import SubripFormat

    class Srt(SubripFormat):  # type: ignore[misc]
        ms_to_timestamp = staticmethod(lambda ms: timestamp(ms, point))

    subtitles = pysubs2.SSAFile()

    def lines(start: int, end: int, text: str) -> str:
        subtitles.events = [pysubs2.SSAEvent(start=start, end=end, text=text)]
        file = io.StringIO()
        Srt.to_file(subtitles, file, "srt")
        return file.getvalue().partition("\n")[2]

    return lines


@dataclass(frozen=True)
class Table:
    """Tab-separated, quoted as the csv module's excel-tab: video, start, end, caption, category, probability."""

    suffix: str = ".tsv"
    description: str = "a table with a caption a row"

    def render(self, records: Sequence[Record]) -> str:
        return "".join(self.pieces(records))

    def pieces(self, records: Iterable[Record]) -> Iterator[str]:
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
            yield text.getvalue()
            text.seek(0)
            text.truncate()
        yield text.getvalue()


@dataclass(frozen=True)
class HtmlReport:
    """One offline page, or several of many videos; see ``html_report.py`` and ``report_pages.py``."""

    suffix: str = ".html"
    description: str = "a page with thumbnails, captions and emotions"
    thumbnails: bool = True

    def render(self, records: Sequence[Record]) -> str:
        from evcap_cli.output.html_report import render_report

        return render_report(records, thumbnails=self.thumbnails)

    def render_at(self, records: Sequence[Record], path: Path) -> str:
        from evcap_cli.output.html_report import render_report

        return render_report(records, thumbnails=self.thumbnails, folder=path.parent)

    def write_pages(self, records: Iterable[Record], path: Path) -> None:
        from evcap_cli.output.report_pages import write_report

        write_report(path, records, thumbnails=self.thumbnails)
