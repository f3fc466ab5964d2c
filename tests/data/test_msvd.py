from __future__ import annotations

from pathlib import Path

import pytest

from evcap_cli.data.msvd import read_extra_captions
from evcap_cli.errors import DataError
from tests.data.fake_root import L_TRAIN, captions, msvd_table


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("place", ["data/MSVD/metadata", "MSVD/metadata", "EPAN/data/MSVD/metadata", "metadata", "."])
def test_a_data_root_gives_the_training_table_below_it(tmp_path: Path, place: str) -> None:
    for name, text in (("train", "a zebra"), ("val", "an owl"), ("test", "a yak")):
        write(tmp_path / place / f"{name}.csv", msvd_table([text]))
    assert read_extra_captions(tmp_path) == ["a zebra"]


def test_the_table_is_read_as_spreadsheets_write_it_english_rows_only(tmp_path: Path) -> None:
    texts = ["A zebra, striped.", 'she says ""no"" to him', "two\nlines", "caf\xe9"]
    path = write(tmp_path / "captions.csv", msvd_table(texts))
    assert read_extra_captions(path) == ["A zebra, striped.", 'she says "no" to him', "two\nlines", "caf\xe9"]


def test_caption_files_and_plain_text_serve_too(tmp_path: Path) -> None:
    assert read_extra_captions(write(tmp_path / "a.csv", captions(L_TRAIN))) == [text for _, text in L_TRAIN]
    plain = write(tmp_path / "a.txt", "a zebra, striped\r\n\n two otters \n")
    assert read_extra_captions(plain) == ["a zebra, striped", "two otters"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("EmVideo_test_captions.csv", captions(L_TRAIN), "holds test captions"),
        ("test.csv", msvd_table(["a zebra"]), "holds test captions"),
        ("train.csv", "id,words\n1,a zebra\n", "line 1: no column Description"),
        ("train.csv", msvd_table([]), "holds no English caption"),
        ("train.csv", msvd_table(["a zebra"]) + "\n100,abc,1,9\n", "line 6: a row of 4 columns, the header has 9"),
        ("a.txt", "\n", "holds no English caption"),
    ],
)
def test_what_cannot_serve_is_one_line_with_the_next_step(tmp_path: Path, name: str, text: str, why: str) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(DataError) as caught:
        read_extra_captions(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: {why}")
    assert caught.value.hint
    assert "\n" not in told


def test_an_open_quote_does_not_swallow_the_table_in_silence(tmp_path: Path) -> None:
    rows = [f"{n},abc,1,9,17,clean,30,English,a zebra" for n in range(40)]
    text = msvd_table([]).splitlines()[0] + '\n0,abc,1,9,17,clean,30,English,"a zebra\n' + "\n".join(rows) + "\n"
    with pytest.raises(DataError, match="a quote may be left open"):
        read_extra_captions(write(tmp_path / "train.csv", text))


def test_a_folder_or_file_that_is_not_there_says_what_is_wanted(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(DataError, match=r"data/MSVD/metadata/train\.csv"):
            read_extra_captions(path)
