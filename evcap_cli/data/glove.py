"""GloVe word vectors in the two forms people have: glove.6B.300d.txt, and EPAN's GloVe_300.json.

Both hold 400,000 rows of which a training run needs some thousand: the files are streamed, only those rows are kept.

Notation: D the width of the vectors.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evcap_cli.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

_CHUNK_BYTES = 1 << 24
_JSON_ROW = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*\[([^\]]*)\]')


def read_glove(path: Path, words: Collection[str], width: int) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors of those of ``words`` that the file knows, each (D,).

    Raises:
        DataError: no such file, another width than ``width`` (with the line), none of the words in it.
    """
    wanted = set(words)
    rows = _json_rows(path, wanted) if path.suffix.lower() == ".json" else _text_rows(path, wanted)
    found: dict[str, npt.NDArray[np.float32]] = {}
    try:
        for place, word, vector in rows:
            if len(vector) != width:
                raise DataError(
                    f"{place}: the vector of {word!r} has {len(vector)} numbers, the model's words have {width}",
                    path=path,
                    hint=f"use vectors of width {width}, or set word_width = {len(vector)} in the recipe",
                )
            found[word] = vector
    except OSError as problem:
        raise DataError(f"cannot read these word vectors ({problem.strerror})", path=path) from problem
    except ValueError as problem:
        raise DataError(f"not a file of word vectors ({problem})", path=path) from problem
    if wanted and not found:
        raise DataError(
            "knows none of the words of this data set", path=path, hint="give a glove .txt or GloVe_300.json"
        )
    return found


def _text_rows(path: Path, wanted: set[str]) -> Iterator[tuple[str, str, npt.NDArray[np.float32]]]:
    asked = {word.encode() for word in wanted}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            word, _, numbers = line.rstrip().partition(b" ")
            if word in asked:
                yield f"line {number}", word.decode(), np.array(numbers.split(), dtype=np.float32)


def _json_rows(path: Path, wanted: set[str]) -> Iterator[tuple[str, str, npt.NDArray[np.float32]]]:
    """Rows of a flat ``{word: [numbers]}``, found in the byte stream: parsing it whole would take gigabytes."""
    import json

    asked = {json.dumps(word)[1:-1].encode() for word in wanted} | {word.encode() for word in wanted}
    rest = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            rest += chunk
            end = 0
            for match in _JSON_ROW.finditer(rest):
                end = match.end()
                if match[1] in asked:
                    word = json.loads(b'"' + match[1] + b'"')
                    yield f"word {word!r}", word, np.array(match[2].split(b","), dtype=np.float32)
            rest = rest[end:]
