"""Word vectors in both forms, small and large, kept and not, whole and damaged."""

from __future__ import annotations

import errno
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import xxhash

from evcap_cli.app import run
from evcap_cli.data import glove, glove_cache, glove_rows
from evcap_cli.errors import DataError
from evcap_cli.features.cache import FeatureCache

VECTORS = {
    "the": [0.5, -1.0, 2e-3],
    "]": [1, 2, 3],
    'q"t': [4, 5, 6],
    "happy": [0.25, 0.125, -7.5],
    "\u00e9t\u00e9": [7, 8, 9],
}
FORMS = pytest.mark.parametrize("form", ["json", "text"])
WAYS = pytest.mark.parametrize("kept", [False, True], ids=["streamed", "kept"])


def written(tmp_path: Path, form: str) -> Path:
    path = tmp_path / ("GloVe_300.json" if form == "json" else "glove.6B.300d.txt")
    if form == "json":
        path.write_text(json.dumps(VECTORS), "utf-8")
    else:
        path.write_text("".join(f"{w} {' '.join(map(str, v))}\n" for w, v in VECTORS.items()), "utf-8")
    return path


@pytest.fixture
def keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glove, "CACHE_FROM_BYTES", 0)


def kept_files() -> list[Path]:
    return list(FeatureCache().entries())


def same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for word, vector in expected.items():
        assert found[word].dtype == np.float32
        np.testing.assert_array_equal(found[word], np.array(vector, dtype=np.float32))


@FORMS
@WAYS
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_both_forms_give_the_vectors_asked_for(
    tmp_path: Path, form: str, kept: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glove_rows, "_CHUNK_BYTES", chunk)
    monkeypatch.setattr(glove, "CACHE_FROM_BYTES", 0 if kept else 1 << 20)
    path = written(tmp_path, form)
    for _ in range(2):
        same(glove.read_glove(path, [*VECTORS, "zebra"], 3), VECTORS)
        same(glove.read_glove(path, ["happy", "zebra"], 3), {"happy": VECTORS["happy"]})
    assert len(kept_files()) == kept


@FORMS
@WAYS
def test_vectors_of_another_width_are_refused_with_both_numbers(
    tmp_path: Path, form: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glove, "CACHE_FROM_BYTES", 0 if kept else 1 << 20)
    path = written(tmp_path, form)
    if kept:
        glove.read_glove(path, ["happy"], 3)
    place = "line 1" if form == "text" else "entry 1"
    with pytest.raises(DataError) as caught:
        glove.read_glove(path, ["happy"], 300)
    assert str(caught.value) == (
        f"{path}: {place}: the vector of 'the' has 3 numbers, the model's words have 300; "
        "use vectors of width 300, or set word_width = 3 in the recipe"
    )


@WAYS
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("happy is not numbers\n", r"not a file of word vectors \(line 1: could not convert string to float: 'is'\)"),
        ("the 1 2 3\nhappy 1 2\n", "line 2: 2 numbers, the rows before have 3; copy or download"),
        ("the 1 2 3\nhappy 1 2 x\n", "line 2: could not convert"),
        ("the 1 2 3\nsad 1 2 3\n", "knows none of the words of this data set; give a glove"),
        ("", "no row of a word and its numbers"),
    ],
)
def test_a_file_that_cannot_serve_is_one_line_with_place_and_next_step(
    tmp_path: Path, text: str, why: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glove, "CACHE_FROM_BYTES", 0 if kept else 1 << 20)
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
    path = written(tmp_path, "json")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="ends in the middle of entry 5"):
        glove.read_glove(path, ["happy"], 3)


@WAYS
def test_other_habits_of_such_files_are_understood(tmp_path: Path, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glove, "CACHE_FROM_BYTES", 0 if kept else 1 << 20)
    path = tmp_path / "glove.txt"
    path.write_bytes(b"5 3\r\nthe 1 2 3 \r\nat home 4 5 6\r\nsad  7 8 9\r\n\r\ntab\t1\t2\t3\nsad 9 8 7\n")
    expected = {"the": [1, 2, 3], "at home": [4, 5, 6], "sad": [9, 8, 7], "tab": [1, 2, 3]}
    same(glove.read_glove(path, list(expected), 3), expected)


def test_a_large_file_is_parsed_once_and_a_changed_one_again(
    tmp_path: Path, keep_all: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "text")
    glove.read_glove(path, ["happy"], 3)
    builds: list[Path] = []
    build = glove_cache._build
    monkeypatch.setattr(glove_cache, "_build", lambda *given: (builds.append(given[0]), build(*given)))
    monkeypatch.setattr(glove, "_scanned", None)
    same(glove.read_glove(path, list(VECTORS), 3), VECTORS)
    moved = path.rename(tmp_path / "moved.txt")
    same(glove.read_glove(moved, list(VECTORS), 3), VECTORS)
    assert not builds
    moved.write_text(moved.read_text("utf-8").replace("0.25", "0.75"), "utf-8")
    assert glove.read_glove(moved, ["happy"], 3)["happy"][0] == 0.75
    assert builds == [moved]


@pytest.mark.parametrize("where", ["header", "vectors", "words", "end", "all"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, keep_all: None, where: str) -> None:
    path = written(tmp_path, "text")
    glove.read_glove(path, ["happy"], 3)
    (entry,) = kept_files()
    data = bytearray(entry.read_bytes())
    whole = bytes(data)
    if where == "header":
        data[20] ^= 1
    elif where == "vectors":
        data[4096 + 12 * 3] ^= 1  # the first number of "happy"
    elif where == "words":
        data[-1] ^= 1
    elif where == "end":
        del data[-40:]
    else:
        data = bytearray()
    entry.write_bytes(data)
    same(glove.read_glove(path, ["happy"], 3), {"happy": VECTORS["happy"]})
    assert entry.read_bytes() == whole


def forge(entry: Path, key: str, words: list[str], vectors: np.ndarray, sums: np.ndarray | None = None) -> None:
    """An entry with valid digests, whatever its arrays are."""
    listed = "\n".join(words).encode()
    sums = np.array([xxhash.xxh3_64_intdigest(v.tobytes()) for v in vectors], np.uint64) if sums is None else sums
    about = {"key": key, "index": glove_cache._index_digest(listed, sums, vectors.shape[-1])}
    header, end = {"__metadata__": {"about": json.dumps(about), "checksum": "x"}}, 0
    arrays = {"vectors": vectors, "sums": sums, "words": np.frombuffer(listed, np.uint8)}
    names = {"<f4": "F32", "<f2": "F16", "<f8": "F64", "<u8": "U64", "<i8": "I64", "|u1": "U8"}
    for name, array in arrays.items():
        header[name] = {
            "dtype": names[array.dtype.str],
            "shape": array.shape,
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    text = json.dumps(header).encode().ljust(4088)
    entry.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in arrays.values()))


ROWS = np.ones((1, 3), np.float32)


@pytest.mark.parametrize(
    ("words", "vectors", "sums"),
    [
        (["happy"], np.full((1, 3), np.inf, np.float32), None),
        (["happy"], np.full((1, 3), np.nan, np.float32), None),
        (["happy"], ROWS.astype(np.float64), None),
        (["happy"], ROWS.astype(np.float16), None),
        (["happy"], np.ones((1, 4), np.float32), None),
        (["happy"], np.ones((1, 0), np.float32), None),
        (["a", "b", "happy"], ROWS, None),
        (["happy"], ROWS, np.zeros(1, np.int64)),
        (["happy"], ROWS[0], np.zeros(3, np.uint64)),
    ],
)
def test_an_entry_with_valid_digests_and_other_values_is_made_again(
    tmp_path: Path, keep_all: None, words: list[str], vectors: np.ndarray, sums: np.ndarray | None
) -> None:
    path = written(tmp_path, "text")
    glove.read_glove(path, ["happy"], 3)
    (entry,) = kept_files()
    whole = entry.read_bytes()
    forge(entry, glove_cache.key_of(path), words, vectors, sums)
    same(glove.read_glove(path, ["happy"], 3), {"happy": VECTORS["happy"]})
    assert entry.read_bytes() == whole


def test_a_pipe_or_device_in_place_of_word_vectors_is_refused_without_waiting(tmp_path: Path) -> None:
    for suffix in (".txt", ".json"):
        os.mkfifo(tmp_path / f"pipe{suffix}")
        (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
        for kind in ("pipe", "device"):
            with pytest.raises(DataError, match=f"{kind}{suffix}: is a {kind}, not a file"):
                glove.read_glove(tmp_path / f"{kind}{suffix}", ["happy"], 3)


def test_a_row_without_an_end_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glove_rows, "_CHUNK_BYTES", 1 << 16)
    for suffix in (".txt", ".json"):
        path = tmp_path / f"endless{suffix}"
        with path.open("wb") as file:
            file.write(b'{"happy": [1, ' if suffix == ".json" else b"happy 1 ")
            file.truncate(20 << 30)
        with pytest.raises(DataError, match="is too long"):
            glove.read_glove(path, ["happy"], 3, cache=False)


def test_the_cache_commands_look_after_word_vectors_too(
    tmp_path: Path, keep_all: None, capfd: pytest.CaptureFixture[str]
) -> None:
    glove.read_glove(written(tmp_path, "text"), ["happy"], 3)
    assert run(["cache", "info"]) == 0
    assert "word vectors glove.6B.300d.txt: 1" in capfd.readouterr().out
    assert run(["cache", "verify"]) == 0
    assert "1 entry, 0 damaged" in capfd.readouterr().err
    assert run(["cache", "prune", "--all"]) == 0
    assert kept_files() == []


def test_a_cache_that_cannot_be_written_costs_time_only(
    tmp_path: Path, keep_all: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    path = written(tmp_path, "text")
    same(glove.read_glove(path, list(VECTORS), 3, cache_dir=tmp_path / "file" / "cache"), VECTORS)
    assert "word vectors cannot be kept and each run reads them anew" in capsys.readouterr().err


def test_an_entry_that_has_no_room_leaves_nothing_behind(
    tmp_path: Path, keep_all: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "text")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4100, limits[1]))  # the header fits, the vectors do not
    try:
        same(glove.read_glove(path, list(VECTORS), 3), VECTORS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"cannot write ({os.strerror(errno.EFBIG)})" in capsys.readouterr().err
    assert [path for path in FeatureCache().folder.rglob("*") if path.is_file()] == []


def test_files_of_word_vectors_are_found_by_name(tmp_path: Path) -> None:
    deep = tmp_path / "data" / "Embeddings" / "GloVe"
    deep.mkdir(parents=True)
    paths = [written(deep, "json"), written(tmp_path, "text")]
    (tmp_path / "glove.txt.d").mkdir()
    assert glove.find_glove(tmp_path) == paths
