from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evcap_cli.data import glove
from evcap_cli.errors import DataError

VECTORS = {
    "the": [0.5, -1.0, 2e-3],
    "]": [1, 2, 3],
    'q"t': [4, 5, 6],
    "happy": [0.25, 0.125, -7.5],
    "\u00e9t\u00e9": [7, 8, 9],
}


def written(tmp_path: Path, form: str) -> Path:
    path = tmp_path / ("GloVe_300.json" if form == "json" else "glove.6B.300d.txt")
    if form == "json":
        path.write_text(json.dumps(VECTORS), "utf-8")
    else:
        path.write_text("".join(f"{w} {' '.join(map(str, v))}\n" for w, v in VECTORS.items()), "utf-8")
    return path


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_both_forms_give_the_vectors_asked_for(
    tmp_path: Path, form: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glove, "_CHUNK_BYTES", chunk)
    found = glove.read_glove(written(tmp_path, form), [*VECTORS, "zebra"], 3)
    assert found.keys() == VECTORS.keys()
    for word, vector in VECTORS.items():
        np.testing.assert_array_equal(found[word], np.array(vector, dtype=np.float32))


@pytest.mark.parametrize("form", ["json", "text"])
def test_vectors_of_another_width_are_refused_with_both_numbers(tmp_path: Path, form: str) -> None:
    with pytest.raises(DataError, match=r"has 3 numbers, the model's words have 300"):
        glove.read_glove(written(tmp_path, form), ["happy"], 300)


def test_a_file_of_something_else_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("happy is not numbers\n")
    with pytest.raises(DataError, match="not a file of word vectors"):
        glove.read_glove(path, ["happy"], 3)
    with pytest.raises(DataError, match="none of the words"):
        glove.read_glove(path, ["sad"], 3)
    with pytest.raises(DataError, match="cannot read"):
        glove.read_glove(tmp_path / "none.txt", ["sad"], 3)
