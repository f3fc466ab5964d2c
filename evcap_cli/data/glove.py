"""GloVe word vectors in the two forms people have: glove.6B.300d.txt, and EPAN's GloVe_300.json.

Both hold 400,000 rows of which a training run needs some thousand. The file is streamed and only the requested rows are
parsed; ``glove_rows.py`` reads the forms.

Notation: D the width of the vectors.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.data.emvidcap import below
from evcap_cli.data.glove_rows import first_row, glove_rows, parsed
from evcap_cli.errors import DataError, reason_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NAMES: Final = ("GloVe_*.json", "glove*.txt")


def read_glove(path: Path, words: Collection[str], width: int) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors of those of ``words`` that the file has, each (D,); the last row of a word counts.

    Args:
        path: text, a word and its numbers a line, or JSON, ``{word: [numbers]}``.
        words: the requested ones.
        width: D of the model.

    Raises:
        DataError: no such file, a damaged one, another width than ``width`` (with the line), none of the words in it.
    """
    found = {}
    try:
        row = first_row(path)
        if row.width != width:
            raise DataError(
                f"{row.place}: the vector of {row.word.decode('utf-8', 'replace')!r} has {row.width} numbers, "
                f"the model's words have {width}",
                path=path,
                hint=f"use vectors of width {width}, or set word_width = {row.width} in the recipe",
            )
        requested = set(words)
        starts = {start.encode() for word in requested for start in (word, word.partition(" ")[0])}
        for row in glove_rows(path, starts):
            word, vector = parsed(path, row, width)
            if word in requested:
                found[word] = vector
    except OSError as problem:
        raise _unreadable(path, problem) from problem
    if words and not found:
        raise DataError(
            "knows none of the words of this data set", path=path, hint="give a glove .txt or GloVe_300.json"
        )
    return found


def glove_width(path: Path) -> int:
    """D of a file.

    Raises:
        DataError: no such file, or a damaged one.
    """
    try:
        return first_row(path).width
    except OSError as problem:
        raise _unreadable(path, problem) from problem


def find_glove(root: Path) -> list[Path]:
    """Files of word vectors in a data root, found by their names; EPAN's form first."""
    return list(dict.fromkeys(path for name in _NAMES for path in below(root, name)))


def _unreadable(path: Path, problem: OSError) -> DataError:
    cause = f"cannot read these word vectors ({reason_of(problem)})"
    return DataError(cause, path=path, hint="check the path given with --glove")
