from __future__ import annotations

from pathlib import Path

import pytest

from evcap_cli.data.emvidcap import DataRoot, hold_out, match_videos, read_captions
from evcap_cli.errors import DataError

ROWS = [("vid10001", 'a man says "hi , friend'), ("vid10001", "A happy  man"), ("vid20002", "the dog, a big one")]


def write(path: Path, rows: list[tuple[str, str]], *, separator: str = "\t", end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(("VideoID", "EmCaptions")), *(separator.join(row) for row in rows)]
    path.write_bytes((end.join(lines) + end).encode())
    return path


@pytest.mark.parametrize("separator", ["\t", ","])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_published_variant_reads_to_the_same_captions(tmp_path: Path, separator: str, end: str) -> None:
    found = read_captions(write(tmp_path / "a.csv", ROWS, separator=separator, end=end))
    assert found.captions == {
        "vid10001": ['a man says "hi , friend', "A happy  man"],
        "vid20002": ["the dog, a big one"],
    }
    assert found.warnings == []


def test_quotes_never_swallow_rows_and_spreadsheet_quoting_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('"VideoID","EmCaptions"\nv1,"a man says ""no"", sadly"\nv1,"an open quote\nv2,b\n', "utf-8")
    assert read_captions(path).captions == {"v1": ['a man says "no", sadly', '"an open quote'], "v2": ["b"]}


def test_a_wrong_header_and_a_row_without_separator_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id caption\nx\ty\n", "utf-8")
    with pytest.raises(DataError, match="line 1: the header"):
        read_captions(path)
    path.write_text("VideoID\tEmCaptions\nx\ty\n\nvid1 words\n", "utf-8")
    with pytest.raises(DataError, match="line 4: no tab"):
        read_captions(path)


def test_latin_1_and_empty_captions_are_read_with_a_warning_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"VideoID\tEmCaptions\nv1\tok\nv1\tcaf\xe9\nv1\t\n")
    found = read_captions(path)
    assert found.captions == {"v1": ["ok", "caf\xe9"]}
    assert [w.split(": ")[1] for w in found.warnings] == ["line 3", "line 4"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    large = tmp_path / "data" / "EmVidCap-L"
    write(large / "EmVideo_trainval_captions.csv", ROWS)
    write(large / "EmVideo_test_captions.csv", [("vid20002", "again"), ("vid30003", "a test")])
    small = tmp_path / "data" / "EmVidCap-S"
    write(small / "EmVideo_trainval_captions.csv", [("vid7", "seven")], separator=",", end="\r\n")
    words = tmp_path / "EmotionEval" / "sentiment-words-E"
    words.mkdir(parents=True)
    (words / "joy.txt").write_text("joy\nhappy\n")
    mapping = tmp_path / "data" / "MSVD" / "youtube_mapping.txt"
    mapping.parent.mkdir()
    mapping.write_text("abc_def_1_9 vid7\n")
    return tmp_path


def test_an_epan_checkout_is_found_its_way_in(root: Path) -> None:
    opened = DataRoot.open(root)
    assert list(opened.train) == ["vid10001", "vid20002"]
    assert list(opened.test) == ["vid20002", "vid30003"]
    assert opened.lexicon.words == ("happy", "joy")
    assert any("also in the training split: vid20002" in warning for warning in opened.warnings)


def test_subsets_are_told_by_their_folder(root: Path) -> None:
    assert DataRoot.open(root, "S").train == {"vid7": ["seven"]}
    assert set(DataRoot.open(root, "both").train) == {"vid7", "vid10001", "vid20002"}


def test_a_folder_with_only_the_caption_files_serves_with_the_general_lexicon(tmp_path: Path) -> None:
    write(tmp_path / "EmVideo_trainval_captions.csv", ROWS)
    opened = DataRoot.open(tmp_path)
    assert set(opened.train) == {"vid10001", "vid20002"}
    assert opened.test == {}
    assert opened.lexicon.name == "evcap general"


def test_nothing_found_says_how_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"EmVideo_trainval_captions\.csv") as caught:
        DataRoot.open(tmp_path)
    assert "demo-world" in str(caught.value)
    with pytest.raises(DataError, match="no such data root"):
        DataRoot.open(tmp_path / "none")


@pytest.mark.parametrize("name", ["TrainVal_clips/anger/vid10001.mp4", "10001.AVI", "a/b/c/vid10001.mkv"])
def test_videos_are_matched_by_stem_with_and_without_vid_at_any_depth(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    (tmp_path / "vid10001.txt").touch()
    assert match_videos(["vid10001", "vid2"], tmp_path) == {"vid10001": path}
    assert match_videos(["10001"], tmp_path) == {"10001": path}


def test_msvd_clips_are_matched_by_their_youtube_name(root: Path) -> None:
    clip = root / "videos" / "abc_def_1_9.avi"
    clip.parent.mkdir()
    clip.touch()
    assert DataRoot.open(root, "S").videos(root / "videos") == {"vid7": clip}


def test_holding_out_splits_by_video_and_depends_on_the_seed_only() -> None:
    videos = [f"v{n}" for n in range(50)]
    train, held = hold_out(videos, 0.1, seed=3)
    assert sorted(train + held) == sorted(videos)
    assert len(held) == 5
    assert hold_out(videos[::-1], 0.1, seed=3) == (train, held)
    assert hold_out(videos, 0.1, seed=4) != (train, held)
    assert hold_out(["a", "b"], 0.01, seed=0)[1] != []
    assert hold_out(["a"], 0.5, seed=0) == (["a"], [])
    assert hold_out(videos, 0, seed=0)[1] == []


def test_a_root_with_test_captions_only_is_read(tmp_path):
    (tmp_path / "EmVideo_test_captions.csv").write_text("VideoID\tEmCaptions\nvid1\ta happy dog\n")
    lexicon = tmp_path / "sentiment-words-E"
    lexicon.mkdir()
    (lexicon / "joy.txt").write_text("happy\n")
    root = DataRoot.open(tmp_path)
    assert not root.train
    assert root.test == {"vid1": ["a happy dog"]}
