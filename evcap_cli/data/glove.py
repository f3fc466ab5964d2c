"""GloVe word vectors in the two forms people have: glove.6B.300d.txt, and EPAN's GloVe_300.json.

Both hold 400,000 rows of which a training run needs some thousand. A large file is read whole once and kept in the
cache (``glove_cache.py``), from which later runs take just their words; a small one, or a large one where nothing
can be kept, is streamed and only the rows asked for are parsed. ``glove_rows.py`` knows the forms.

Notation: D the width of the vectors.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.data.glove_rows import first_row, glove_rows, parsed
from evcap_cli.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CACHE_FROM_BYTES = 1 << 24
"""Smaller files are read in a moment: nothing is kept of them."""
_DEPTH: Final = 3
_NAMES: Final = ("GloVe_*.json", "glove*.txt")


def read_glove(
    path: Path, words: Collection[str], width: int, *, cache_dir: Path | None = None, cache: bool = True
) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors of those of ``words`` that the file knows, each (D,); the last row of a word counts.

    Args:
        path: text, a word and its numbers a line, or JSON, ``{word: [numbers]}``.
        words: that are asked for.
        width: D that the model wants.
        cache_dir: where a large file is kept; None: evcap's usual cache.
        cache: False keeps nothing and streams the file.

    Raises:
        DataError: no such file, a damaged one, another width than ``width`` (with the line), none of the words in it.
    """
    from evcap_cli.data import glove_cache

    try:
        first = first_row(path)
        if first.width != width:
            raise DataError(
                f"{first.place}: the vector of {first.text!r} has {first.width} numbers, "
                f"the model's words have {width}",
                path=path,
                hint=f"use vectors of width {width}, or set word_width = {first.width} in the recipe",
            )
        large = cache and path.stat().st_size >= CACHE_FROM_BYTES
        kept = glove_cache.read(path, words, cache_dir) if large else None
        found = _scanned(path, words, width) if kept is None else kept
    except OSError as problem:
        raise _unreadable(path, problem) from problem
    if words and not found:
        raise DataError(
            "knows none of the words of this data set", path=path, hint="give a glove .txt or GloVe_300.json"
        )
    return found


def _unreadable(path: Path, problem: OSError) -> DataError:
    cause = f"cannot read these word vectors ({problem.strerror})"
    return DataError(cause, path=path, hint="check the path given with --glove")


@dataclass(frozen=True)
class WordVectors:
    """A file of word vectors and where what was read of it is kept; see ``read_glove``."""

    path: Path
    cache_dir: Path | None = None
    cache: bool = True

    def width(self) -> int:
        """D of the file.

        Raises:
            DataError: no such file, or a damaged one.
        """
        try:
            return first_row(self.path).width
        except OSError as problem:
            raise _unreadable(self.path, problem) from problem

    def read(self, words: Collection[str], width: int) -> dict[str, npt.NDArray[np.float32]]:
        """Vectors of those of ``words`` that the file knows, each (D,).

        Raises:
            DataError: see ``read_glove``.
        """
        return read_glove(self.path, words, width, cache_dir=self.cache_dir, cache=self.cache)


def find_glove(root: Path) -> list[Path]:
    """Files of word vectors in a data root, told by their names; EPAN's form first."""
    found = (path for name in _NAMES for depth in range(_DEPTH + 1) for path in sorted(root.glob("*/" * depth + name)))
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _scanned(path: Path, words: Collection[str], width: int) -> dict[str, npt.NDArray[np.float32]]:
    """The rows asked for, parsed; the others are only passed by."""
    asked = {word.encode() for word in words}
    rows = {row.word: row for row in glove_rows(path) if row.word in asked}
    values = parsed(path, list(rows.values()), width)
    return {row.text: vector for row, vector in zip(rows.values(), values, strict=True)}
