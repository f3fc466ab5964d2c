"""The rows of a file of word vectors as they stand in it: text a line, or entries of one JSON object.

Files are streamed; the numbers stay text until somebody wants them (``parsed``).

Notation: D the width of the vectors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.errors import DataError
from evcap_cli.reading.regular import open_regular

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_CHUNK_BYTES = 1 << 24
_MOST_ROW_BYTES: Final = 1 << 20
"""Of a word and its numbers: a hundred times what is usual."""
_JSON_ROW: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*\[([^\]]*)\]')
_JSON_END: Final = re.compile(rb"[\s,}]*")
_COUNTS: Final = re.compile(rb"\d+ \d+")
"""The first line of some files: how many rows and columns follow (word2vec's habit)."""
_PACKED: Final = (".zip", ".gz", ".bz2", ".xz", ".7z")
_GET_AGAIN: Final = "copy or download the file again"
_FORMS: Final = "evcap reads glove.6B.300d.txt and GloVe_300.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Args:
        place: "line 7", or "entry 7" in JSON.
        word: UTF-8.
        numbers: D decimal numbers, one space between two.
    """

    place: str
    word: bytes
    numbers: bytes

    @property
    def text(self) -> str:
        """The word."""
        return self.word.decode("utf-8", "replace")

    @property
    def width(self) -> int:
        """D."""
        return self.numbers.count(b" ") + 1 if self.numbers else 0


def first_row(path: Path) -> Row:
    """The first row of a file, read as numbers too, so that another kind of file is found out.

    Raises:
        DataError: there is none.
        OSError: the file cannot be read.
    """
    if path.suffix.lower() in _PACKED:
        raise DataError("is packed", path=path, hint=f"unpack it first: {_FORMS}")
    row = next(glove_rows(path), None)
    if row is None:
        raise DataError("not a file of word vectors (no row of a word and its numbers)", path=path, hint=_FORMS)
    parsed(path, [row], row.width)
    return row


def glove_rows(path: Path) -> Iterator[Row]:
    """All rows of a file, every one as wide as the first.

    Raises:
        DataError: a row of another width; a file that ends in the middle of one.
        OSError: the file cannot be read.
    """
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _text_rows(path)
    first = next(rows, None)
    if first is None:
        return
    width = first.width
    for row in chain([first], rows):
        if row.width == width:
            yield row
        else:
            yield _mended(path, row, width)


def parsed(path: Path, rows: Sequence[Row], width: int) -> npt.NDArray[np.float32]:
    """The numbers of ``rows``, (len(rows), D).

    Raises:
        DataError: one is not a number; the row is named.
    """
    from evcap_cli.data.decimals import parse_rows

    try:
        return parse_rows([row.numbers for row in rows], width)
    except ValueError:
        for row in rows:
            try:
                parse_rows([row.numbers], width)
            except ValueError as problem:
                raise DataError(
                    f"not a file of word vectors ({row.place}: {problem})", path=path, hint=_FORMS
                ) from problem
        raise


def _mended(path: Path, row: Row, width: int) -> Row:
    """A row with doubled spaces, or with spaces in its word, as glove.840B has them."""
    parts = b" ".join((row.word, row.numbers)).split()
    if len(parts) <= width:
        raise DataError(
            f"{row.place}: {len(parts) - 1} numbers, the rows before have {width}", path=path, hint=_GET_AGAIN
        )
    return Row(row.place, b" ".join(parts[:-width]), b" ".join(parts[-width:]))


def _text_rows(path: Path) -> Iterator[Row]:
    with open_regular(path, hint=_FORMS) as file:
        for number, line in enumerate(iter(lambda: file.readline(_MOST_ROW_BYTES), b""), 1):
            if len(line) == _MOST_ROW_BYTES:
                raise DataError(f"not a file of word vectors (line {number} is too long)", path=path, hint=_FORMS)
            row = line.strip()
            if b"\t" in row:
                row = row.replace(b"\t", b" ")
            if not row or (number == 1 and _COUNTS.fullmatch(row)):
                continue
            word, _, numbers = row.partition(b" ")
            yield Row(f"line {number}", word, numbers)


def _json_rows(path: Path) -> Iterator[Row]:
    """Rows of a flat ``{word: [numbers]}``, found in the byte stream: parsing it whole would take gigabytes."""
    rest, number = b"", 0
    with open_regular(path, hint=_FORMS) as file:
        while chunk := file.read(_CHUNK_BYTES):
            rest += chunk
            if len(rest) > _CHUNK_BYTES + _MOST_ROW_BYTES:
                raise DataError(f"not a file of word vectors (entry {number + 1} is too long)", path=path, hint=_FORMS)
            end = 0
            for match in _JSON_ROW.finditer(rest):
                end, number = match.end(), number + 1
                yield Row(f"entry {number}", _json_word(match[1]), _json_numbers(match[2]))
            rest = rest[end:]
    if number and not _JSON_END.fullmatch(rest):
        raise DataError(f"ends in the middle of entry {number + 1}", path=path, hint=_GET_AGAIN)


def _json_word(quoted: bytes) -> bytes:
    if b"\\" not in quoted:
        return quoted
    try:
        return str(json.loads(b'"' + quoted + b'"')).encode("utf-8", "replace")
    except ValueError:
        return quoted


def _json_numbers(listed: bytes) -> bytes:
    numbers = listed.replace(b", ", b" ").replace(b",", b" ").strip()
    return b" ".join(numbers.split()) if b"\n" in numbers or b"  " in numbers else numbers
