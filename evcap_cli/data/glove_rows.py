"""The rows of a file of word vectors as they stand in it: text a line, or entries of one JSON object.

Files are streamed. A row is split into its word and the bytes of its numbers only; ``parsed`` reads the numbers of the
rows that are requested.

Notation: D the width of the vectors.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container, Iterator
from functools import partial
from io import BufferedReader
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from evcap_cli.errors import DataError
from evcap_cli.reading.regular import open_regular

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BUFFER_BYTES: Final = 1 << 18
_MOST_ROW_BYTES: Final = 1 << 20
"""Of a word and its numbers: a hundred times what is usual."""
_JSON_HEAD: Final = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*:\s*\[')
_JSON_END: Final = re.compile(rb"[\s,}]*")
_COUNTS: Final = re.compile(rb"\d+\s+\d+\s*")
"""The first line of some files: how many rows and columns follow (word2vec's habit)."""
_PACKED: Final = (".zip", ".gz", ".bz2", ".xz", ".7z")
_GET_AGAIN: Final = "copy or download the file again"
_FORMS: Final = "evcap reads glove.6B.300d.txt and GloVe_300.json"


class Row(NamedTuple):
    """One row.

    Args:
        number: counted from 1, lines that hold none included.
        word: in text up to the first space. numbers: what stands after it.
        json: whether the file is JSON.
    """

    number: int
    word: bytes
    numbers: bytes
    json: bool = False

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{'entry' if self.json else 'line'} {self.number}"

    @property
    def width(self) -> int:
        """How many numbers."""
        return len(self.fields())

    def fields(self) -> list[str]:
        """The numbers as text, after the rest of the word where there are spaces in it."""
        return self.numbers.decode("utf-8", "replace").split("," if self.json else None)


def first_row(path: Path) -> Row:
    """The first row of a file, read as numbers too, so that another kind of file is found out.

    Raises:
        DataError: there is none.
        OSError: the file cannot be read.
    """
    if path.suffix.lower() in _PACKED:
        raise DataError("is packed", path=path, hint=f"unpack it first: {_FORMS}")
    row = next(glove_rows(path), None)
    if row is None or not row.width:
        raise DataError("not a file of word vectors (no row of a word and its numbers)", path=path, hint=_FORMS)
    parsed(path, row, row.width)
    return row


def glove_rows(path: Path, words: Container[bytes] | None = None) -> Iterator[Row]:
    """The rows of ``words``, and of a text file the last one, which shows whether the file is whole.

    Args:
        path: of the file.
        words: as ``Row`` has them; None: all rows.

    Raises:
        DataError: a JSON file that ends in the middle of a row.
        OSError: the file cannot be read.
    """
    return (_json_rows if path.suffix.lower() == ".json" else _text_rows)(path, words)


def parsed(path: Path, row: Row, width: int) -> tuple[str, npt.NDArray[np.float32]]:
    """A row's word, with the spaces in it that some words of glove.840B have, and its vector, (D,).

    Raises:
        DataError: fewer numbers than ``width``, or something that is no finite number; the row is named.
    """
    import numpy as np

    fields = row.fields()
    if len(fields) < width:
        cause = f"{row.place}: {len(fields)} numbers, the rows before have {width}"
        raise DataError(cause, path=path, hint=_GET_AGAIN)
    cut = len(fields) - width
    try:
        vector = np.array(list(map(float, fields[cut:])))
        if not np.isfinite(vector).all():
            raise ValueError(f"{vector[~np.isfinite(vector)][0]} among the numbers")
    except ValueError as problem:
        raise DataError(f"not a file of word vectors ({row.place}: {problem})", path=path, hint=_FORMS) from problem
    return " ".join((row.word.decode("utf-8", "replace"), *fields[:cut])), vector.astype(np.float32)


def _text_rows(path: Path, words: Container[bytes] | None) -> Iterator[Row]:
    last = None
    with BufferedReader(open_regular(path, hint=_FORMS).detach(), _BUFFER_BYTES) as file:
        for number, line in enumerate(iter(partial(file.readline, _MOST_ROW_BYTES), b""), 1):
            if len(line) == _MOST_ROW_BYTES:
                raise DataError(f"not a file of word vectors (line {number} is too long)", path=path, hint=_FORMS)
            parts = line.split(None, 1)
            if parts and not (number == 1 and _COUNTS.fullmatch(line)):
                last = Row(number, parts[0], parts[1] if len(parts) == 2 else b"")
                if words is None or last.word in words:
                    yield last
    if last is not None:
        yield last


def _json_rows(path: Path, words: Container[bytes] | None) -> Iterator[Row]:
    """Rows of a flat ``{word: [numbers]}``, found in the bytes: parsing it whole would take gigabytes."""
    with open_regular(path, hint=_FORMS) as file:
        if not os.fstat(file.fileno()).st_size:  # which cannot be mapped
            return
        with mmap(file.fileno(), 0, access=ACCESS_READ) as text:
            number = at = 0
            while head := _JSON_HEAD.search(text, at, at + _MOST_ROW_BYTES):
                end = text.find(b"]", head.end(), head.end() + _MOST_ROW_BYTES)
                if end < 0:
                    break
                number, at, word = number + 1, end + 1, _json_word(head[1])
                if words is None or word in words:
                    yield Row(number, word, text[head.end() : end], json=True)
            if len(text) - at > _MOST_ROW_BYTES:
                cause = f"not a file of word vectors (entry {number + 1} is too long)"
                raise DataError(cause, path=path, hint=_FORMS)
            if number and not _JSON_END.fullmatch(text, at):
                raise DataError(f"ends in the middle of entry {number + 1}", path=path, hint=_GET_AGAIN)


def _json_word(quoted: bytes) -> bytes:
    if b"\\" not in quoted:
        return quoted
    try:
        return str(json.loads(b'"' + quoted + b'"')).encode("utf-8", "replace")
    except ValueError:
        return quoted
