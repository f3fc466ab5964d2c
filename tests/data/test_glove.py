"""Word vectors in both forms, whole and damaged."""

from __future__ import annotations

import json
import os
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
FORMS = pytest.mark.parametrize("form", ["json", "text"])


def written(tmp_path: Path, form: str) -> Path:
    path = tmp_path / ("GloVe_300.json" if form == "json" else "glove.6B.300d.txt")
    if form == "json":
        path.write_text(json.dumps(VECTORS), "utf-8")
    else:
        path.write_text("".join(f"{w} {' '.join(map(str, v))}\n" for w, v in VECTORS.items()), "utf-8")
    return path


def same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for word, vector in expected.items():
        assert found[word].dtype == np.float32
        np.testing.assert_array_equal(found[word], np.array(vector, dtype=np.float32))


@FORMS
def test_both_forms_give_the_requested_vectors(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, form)
    same(glove.read_glove(path, [*VECTORS, "zebra"], 3), VECTORS)
    same(glove.read_glove(path, ["happy", "zebra"], 3), {"happy": VECTORS["happy"]})


@FORMS
def test_vectors_of_another_width_are_refused_with_both_numbers(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, form)
    place = "line 1" if form == "text" else "entry 1"
    with pytest.raises(DataError) as caught:
        glove.read_glove(path, ["happy"], 300)
    assert str(caught.value) == (
        f"{path}: {place}: the vector of 'the' has 3 numbers, the model's words have 300; "
        "use vectors of width 300, or set word_width = 3 in the recipe"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("happy is not numbers\n", r"not a file of word vectors \(line 1: could not convert string to float: 'is'\)"),
        ("the 1 2 3\nhappy 1 2\n", "line 2: 2 numbers, the rows before have 3; copy or download"),
        ("happy 1 2 3\nthe 1 2\n", "line 2: 2 numbers, the rows before have 3; copy or download"),
        ("the 1 2 3\nhappy 1 2 x\n", "line 2: could not convert"),
        ("the 1 2 3\nhappy 1 nan 3\n", "line 2: nan among the numbers"),
        ("the 1 2 3\nsad 1 2 3\n", "knows none of the words of this data set; give a glove"),
        ("", "no row of a word and its numbers"),
    ],
)
def test_a_file_that_cannot_serve_is_one_line_with_place_and_next_step(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=why) as caught:
        glove.read_glove(path, ["happy"], 3)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.hint


def test_files_that_are_not_there_packed_or_cut_short_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        glove.read_glove(tmp_path / "none.txt", ["sad"], 3)
    (tmp_path / "glove.6B.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="is packed; unpack it first"):
        glove.read_glove(tmp_path / "glove.6B.zip", ["sad"], 3)
    (tmp_path / "glove.json").touch()
    with pytest.raises(DataError, match="no row of a word and its numbers"):
        glove.read_glove(tmp_path / "glove.json", ["sad"], 3)
    path = written(tmp_path, "json")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="ends in the middle of entry 5"):
        glove.read_glove(path, ["happy"], 3)


def test_other_habits_of_such_files_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_bytes(
        b"5 3\r\nthe 1 2 3 \r\nat home 4 5 6\r\nsad  7 8 9\r\n\r\ntab\t1\t2\t3\nsad .5 -8e-1 0.04655999690294266\n"
    )
    expected = {"the": [1, 2, 3], "at home": [4, 5, 6], "sad": [0.5, -0.8, 0.04655999690294266], "tab": [1, 2, 3]}
    same(glove.read_glove(path, list(expected), 3), expected)


def test_a_pipe_or_device_in_place_of_word_vectors_is_refused_without_waiting(tmp_path: Path) -> None:
    for suffix in (".txt", ".json"):
        os.mkfifo(tmp_path / f"pipe{suffix}")
        (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
        for kind in ("pipe", "device"):
            with pytest.raises(DataError, match=f"{kind}{suffix}: is a {kind}, not a file"):
                glove.read_glove(tmp_path / f"{kind}{suffix}", ["happy"], 3)


@pytest.mark.slow
def test_a_row_without_an_end_is_no_row(tmp_path: Path) -> None:
    for suffix in (".txt", ".json"):
        path = tmp_path / f"endless{suffix}"
        with path.open("wb") as file:
            file.write(b'{"happy": [1, ' if suffix == ".json" else b"happy 1 ")
            file.truncate(20 << 30)
        with pytest.raises(DataError, match="is too long"):
            glove.read_glove(path, ["happy"], 3)


def test_files_of_word_vectors_are_found_by_name(tmp_path: Path) -> None:
    deep = tmp_path / "data" / "Embeddings" / "GloVe"
    deep.mkdir(parents=True)
    paths = [written(deep, "json"), written(tmp_path, "text")]
    (tmp_path / "glove.txt.d").mkdir()
    assert glove.find_glove(tmp_path) == paths
