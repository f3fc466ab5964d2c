"""Text as people save it: UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one; files and pipes alike.

Everything else is an error that names the file and the line. Nothing is read without a bound, so that a device or a
file of another kind ends in an error and not in memory.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Final

from evcap_cli.errors import DataError, EvcapError, reason_of

MOST_BYTES: Final = 1 << 28
"""Of a file that is read whole."""
MOST_LINE_BYTES: Final = 1 << 26
"""Of one line: a record of a day of video in segments of a second has half as many."""
SAVE_AS: Final = "save the file as UTF-8; if it is Latin-1: iconv -f latin1 -t utf-8 FILE > NEW"
_MARKS: Final = (  # UTF-32 first: its little endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

Failure = type[EvcapError]


def read_text(path: Path, *, error: Failure = DataError, hint: str = "check the path", most: int = MOST_BYTES) -> str:
    """The text of a file.

    Args:
        path: of a file or a pipe.
        error: what to raise.
        hint: for a file that cannot be read.
        most: bytes.

    Raises:
        EvcapError: of the kind ``error``.
    """
    return decoded(read_bytes(path, error=error, hint=hint, most=most), path, error=error)


def read_bytes(
    path: Path, *, error: Failure = DataError, hint: str = "check the path", most: int = MOST_BYTES
) -> bytes:
    """The bytes of a file or a pipe, of which there may be at most ``most``; see ``read_text``."""
    with _opened(path, error, hint) as file:
        return _whole(file, path, error, hint, most)


def decoded(
    raw: bytes,
    path: str | os.PathLike[str] | None,
    *,
    error: Failure = DataError,
    names: bool = False,
    first_line: int = 1,
) -> str:
    """Bytes as text, without a byte order mark.

    Args:
        raw: the whole file, or a line of it.
        path: what to call it.
        error: what to raise.
        names: the text holds names of files, which may be no Unicode: such bytes are kept as ``os.fsdecode`` does.
        first_line: number of the first line in ``raw``.

    Raises:
        EvcapError: of the kind ``error``, with the line.
    """
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8-sig")
    if first_line > 1:
        encoding = "utf-8"  # a mark stands at the very beginning
    try:
        text = raw.decode(encoding, "surrogateescape" if names and encoding.startswith("utf-8") else "strict")
    except UnicodeDecodeError as problem:
        # the codec that expects a mark counts from after it
        start = problem.start + (3 if encoding == "utf-8-sig" and raw.startswith(codecs.BOM_UTF8) else 0)
        line = raw[:start].decode(encoding, "ignore").count("\n") + first_line
        raise _not_text(
            line, f"not {encoding.removesuffix('-sig').upper()} (byte 0x{raw[start]:02x})", path, error
        ) from problem
    if "\0" in text:
        line = text.partition("\0")[0].count("\n") + first_line
        raise _not_text(line, "no text: it holds a zero byte", path, error)
    return text


def as_utf8(raw: bytes) -> bytes:
    """Bytes of a file in UTF-8 without a byte order mark; without a mark they stay as they are, whatever they are."""
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    if encoding is None:
        return raw.removeprefix(codecs.BOM_UTF8)
    return raw.decode(encoding, "replace").encode("utf-8", "replace")


def read_lines(path: Path, *, error: Failure = DataError, hint: str = "check the path") -> Iterator[tuple[int, bytes]]:
    """Numbered lines as UTF-8, without line ends, one at a time: memory does not grow with the file.

    Lines end at line feeds only. What is no UTF-8 in a line is for its reader to find.

    Args:
        path: of a file or a pipe.
        error: what to raise.
        hint: for a file that cannot be read.

    Raises:
        EvcapError: of the kind ``error``.
    """
    with _opened(path, error, hint) as file:
        for number, line in _lines(file, path, error, hint):
            yield number, line.removesuffix(b"\r")


def text_lines(path: Path, *, error: Failure = DataError, hint: str = "check the path") -> Iterator[tuple[int, str]]:
    """``read_lines`` as text; see there.

    Raises:
        EvcapError: of the kind ``error``; with the line, where one is no text.
    """
    for number, line in read_lines(path, error=error, hint=hint):
        yield number, decoded(line, path, error=error, first_line=number)


def name_lines(
    path: Path, *, error: Failure = DataError, hint: str = "check the path", file: IO[bytes] | None = None
) -> Iterator[tuple[int, str]]:
    """Numbered lines that name files, one at a time, as the system names them; nothing is stripped but line feeds.

    Args:
        path: of a file or a pipe; of standard input what messages call it.
        error: what to raise.
        hint: for a file that cannot be read.
        file: read instead of ``path``.

    Raises:
        EvcapError: of the kind ``error``; with the line, where one is no text.
    """
    with nullcontext(file) if file is not None else _opened(path, error, hint) as opened:
        for number, line in _lines(opened, path, error, hint):
            text = decoded(line, path, error=error, names=True, first_line=number)
            # in a locale that is not UTF-8, é is two bytes to the system
            yield number, os.fsdecode(text.encode("utf-8", "surrogateescape"))


def _lines(file: IO[bytes], path: Path, error: Failure, hint: str) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without line feeds and without a byte order mark."""
    number = 0
    while line := _line(file, number + 1, path, error, hint):
        number += 1
        if number == 1:
            if any(line.startswith(mark) for mark, _ in _MARKS):
                rest = _whole(file, path, error, hint, MOST_BYTES, advice="save it as UTF-8")
                text = decoded(line + rest, path, error=error)
                yield from enumerate((part.encode() for part in text.removesuffix("\n").split("\n")), 1)
                return
            line = line.removeprefix(codecs.BOM_UTF8)
        yield number, line.removesuffix(b"\n")


def _whole(
    file: IO[bytes], path: Path, error: Failure, hint: str, most: int, advice: str = "name another file"
) -> bytes:
    try:
        raw = file.read(most + 1)
    except OSError as problem:
        raise _unreadable(path, problem, error, hint) from problem
    if len(raw) > most:
        raise error(f"is larger than {most >> 20} MiB", path=path, hint=advice)
    return raw


def _line(file: IO[bytes], number: int, path: Path, error: Failure, hint: str) -> bytes:
    try:
        line = file.readline(MOST_LINE_BYTES + 1)
    except OSError as problem:
        raise _unreadable(path, problem, error, hint) from problem
    if len(line) > MOST_LINE_BYTES:
        raise error(f"line {number} is longer than {MOST_LINE_BYTES >> 20} MiB", path=path, hint="name another file")
    return line


def _opened(path: Path, error: Failure, hint: str) -> IO[bytes]:
    try:
        return path.open("rb")
    except (OSError, ValueError) as problem:  # ValueError: a zero byte in the name
        raise _unreadable(path, problem, error, hint) from problem


def _unreadable(path: Path, problem: OSError | ValueError, error: Failure, hint: str) -> EvcapError:
    return error(f"cannot read ({reason_of(problem)})", path=path, hint=hint)


def _not_text(line: int, what: str, path: str | os.PathLike[str] | None, error: Failure) -> EvcapError:
    return error(f"line {line} is {what}", path=path, hint=SAVE_AS)


def printable(text: str) -> str:
    """What is not Unicode in a name as escapes, as evcap's outputs have it."""
    return text.encode("utf-8", "backslashreplace").decode()
