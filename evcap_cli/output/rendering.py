"""From records to files through a writer, which may be a plugin's: one that fails costs its own output only.

evcap's own writers give a file piece by piece, from records that are read one at a time; a writer that makes its text
from a list, as any plugin may, gets one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evcap_cli import plugins
from evcap_cli.errors import WriteError, one_line
from evcap_cli.files import PieceFile, write_pieces
from evcap_cli.output.records import Record
from evcap_cli.output.writers import PagedWriter, PlacedWriter, StreamingWriter, Writer
from evcap_cli.plugin_calls import contained, show_traceback

_END: Final = object()


class FormatError(WriteError):
    """A writer failed; the file that was there, if any, is untouched."""


def rendered(path: Path, writer: Writer, records: Iterable[Record]) -> Iterator[str]:
    """The text of ``path``, piece by piece.

    Raises:
        FormatError: the writer fails, or makes something that is no text.
        EvcapError: whatever reading ``records`` raises.
    """
    reading = _Reading(records)
    with _named(path, reading):
        with contained():
            if isinstance(writer, StreamingWriter):
                pieces: Iterator[Any] = iter(writer.pieces(reading))
            elif isinstance(writer, PlacedWriter):
                pieces = iter([writer.render_at(list(reading), path)])
            else:
                pieces = iter([writer.render(list(reading))])
        while True:
            with contained():
                piece = next(pieces, _END)
            if piece is _END:
                return
            if not isinstance(piece, str):
                raise TypeError(f"it made a {type(piece).__name__}, not a str")
            yield piece


def write_file(path: Path, writer: Writer, records: Iterable[Record]) -> None:
    """Write one file, and where the format takes several, those that belong to it.

    Args:
        path: of the file.
        writer: its format.
        records: a collection, or whatever begins again each time it is iterated.

    Raises:
        WriteError: it cannot be written; what was there is untouched. FormatError: the writer fails.
    """
    if not isinstance(writer, PagedWriter):
        write_pieces(path, rendered(path, writer, records))
        return
    reading = _Reading(records)
    with _named(path, reading), contained():
        writer.write_pages(reading, path)


@contextmanager
def _named(path: Path, reading: _Reading) -> Iterator[None]:
    """Name the writer in whatever it raises, unless reading the records raised it."""
    try:
        yield
    except Exception as problem:
        if reading.problem is not None:
            raise reading.problem from None
        origin = plugins.distribution_of("writer", path.suffix.lower()) or plugins.OWN
        if origin == plugins.OWN and isinstance(problem, WriteError):
            raise
        show_traceback(problem)
        hint = "run again with EVCAP_DEBUG=1 and report the traceback"
        if origin != plugins.OWN:
            hint = f"update or uninstall {origin}"
        raise FormatError(
            f"is not written: the format {path.suffix} of {origin} failed ({one_line(problem)})", path=path, hint=hint
        ) from problem


class _Reading:
    """Records for a writer; remembers what went wrong while reading them, which is not the writer's doing."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = records
        self.problem: Exception | None = None

    def __iter__(self) -> Iterator[Record]:
        try:
            yield from self.records
        except Exception as problem:
            self.problem = problem
            raise


def write_files(files: Iterable[tuple[Path, Writer]], records: Iterable[Record]) -> list[WriteError]:
    """Write each file, also after one that cannot be written; returns what went wrong.

    Those that are written piece by piece share one reading of the records.

    Args:
        files: with their writers.
        records: a collection, or whatever begins again each time it is iterated.
    """
    all_files = list(files)
    together = [(path, writer) for path, writer in all_files if _streams(writer)]
    problems = _write_together(together, records)
    for path, writer in all_files:
        try:
            if not _streams(writer):
                write_file(path, writer, records)
        except WriteError as problem:
            problems[path] = problem
    return [problems[path] for path, _ in all_files if path in problems]


def _streams(writer: Writer) -> bool:
    return isinstance(writer, StreamingWriter) and not isinstance(writer, PagedWriter)


def _write_together(files: Sequence[tuple[Path, Writer]], records: Iterable[Record]) -> dict[Path, WriteError]:
    """Write files side by side, a record at a time; what went wrong, by file."""
    problems: dict[Path, WriteError] = {}
    shared = _Shared(records)
    growing: list[_Growing] = []
    with ExitStack() as stack:
        for path, writer in files:
            try:
                file = PieceFile(path)
            except WriteError as problem:
                problems[path] = problem
                continue
            stack.callback(file.discard)
            waiting = shared.join()
            growing.append(_Growing(file, rendered(path, writer, shared.branch(waiting)), waiting))
        while growing:
            for each in list(growing):
                try:
                    if each.goes_on():
                        continue
                except WriteError as problem:
                    problems[each.file.path] = problem
                growing.remove(each)
                shared.leave(each.waiting)
    return problems


@dataclass(eq=False)
class _Growing:
    """A file under way, its pieces, and the records that it has not read yet."""

    file: PieceFile
    pieces: Iterator[str]
    waiting: deque[Record]

    def goes_on(self) -> bool:
        """Write until no record waits; False: it is whole.

        Raises:
            WriteError: it cannot be written.
        """
        for piece in self.pieces:
            self.file.write(piece)
            if not self.waiting:
                return True
        self.file.commit()
        return False


class _Shared:
    """Records that several writers read in turn, each all of them, though they are read once."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = iter(records)
        self._all: list[deque[Record]] = []
        self._problem: Exception | None = None

    def join(self) -> deque[Record]:
        """The records that a new reader has before it."""
        self._all.append(deque())
        return self._all[-1]

    def leave(self, waiting: deque[Record]) -> None:
        """Somebody reads no more."""
        self._all = [each for each in self._all if each is not waiting]

    def branch(self, waiting: deque[Record]) -> Iterator[Record]:
        """All records for one reader; what reading them raised once, all readers get."""
        while waiting or self._read_one():
            yield waiting.popleft()

    def _read_one(self) -> bool:
        if self._problem is not None:
            raise self._problem
        try:
            record = next(self._records, None)
        except Exception as problem:
            self._problem = problem
            raise
        if record is None:
            return False
        for waiting in self._all:
            waiting.append(record)
        return True
