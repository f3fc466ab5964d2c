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


def test_one_line_that_is_not_utf_8_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("VideoID\tEmCaptions\nv1\tcaf\xe9\n".encode() + b"v1\tcaf\xe9 noir\n")
    found = read_captions(path)
    assert found.captions == {"v1": ["caf\xe9", "caf\xe9 noir"]}
    assert found.latin_1 == [3]


def test_many_odd_lines_are_one_warning_with_the_first_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("VideoID\tEmCaptions\n" + "v1\t\nv1\tok\n" * 7 + "v1\t...\n", "utf-8")
    first, second = read_captions(path).warnings
    assert first.startswith(f"{path}: lines 2, 4, 6, 8, 10, ... (7 in all): the caption is empty")
    assert second.startswith(f"{path}: line 16: no word is left")


def test_a_file_without_a_caption_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for text in ("VideoID\tEmCaptions\n", "VideoID\tEmCaptions\nv1\t\n"):
        path.write_text(text)
        with pytest.raises(DataError, match="holds no caption; copy or download it again"):
            read_captions(path)
    path.write_text("")
    with pytest.raises(DataError, match="line 1: the header"):
        read_captions(path)


def test_a_bare_folder_of_texts_does_not_make_a_lexicon_of_them(tmp_path: Path) -> None:
    write(tmp_path / "EmVideo_trainval_captions.csv", ROWS)
    (tmp_path / "youtube_mapping.txt").write_text("abc_def_1_9 vid7\n")
    (tmp_path / "glove.6B.300d.txt").write_text("the 0.1 0.2\n")
    (tmp_path / "34_emotion.txt").write_text("joy\n")
    assert DataRoot.open(tmp_path).lexicon.name == "evcap general"


def test_an_id_that_both_parts_use_stays_two_videos(root: Path) -> None:
    small = root / "data" / "EmVidCap-S"
    rows = [("vid10001", "another clip"), ("vid7", "seven")]
    write(small / "EmVideo_trainval_captions.csv", rows, separator=",", end="\r\n")
    opened = DataRoot.open(root, "both")
    assert opened.train["vid10001"] == ['a man says "hi , friend', "A happy  man"]
    assert "another clip" not in str(opened.train)
    assert any("vid10001 is another video in EmVidCap-L" in warning for warning in opened.warnings)
    (root / "data" / "MSVD" / "youtube_mapping.txt").write_text("abc_def_1_9 vid7\nxyz_2_8 vid10001\n")
    opened = DataRoot.open(root, "both")
    assert opened.train["xyz_2_8"] == ["another clip"]
    assert opened.train["vid10001"] == ['a man says "hi , friend', "A happy  man"]
    assert opened.aliases == {"vid7": "abc_def_1_9"}
    for name in ("xyz_2_8.avi", "10001.mp4"):
        (root / name).touch()
    found = opened.videos(root)
    assert found["xyz_2_8"].name == "xyz_2_8.avi"
    assert found["vid10001"].name == "10001.mp4"


def test_a_part_that_both_asks_for_and_is_not_there_is_told(tmp_path: Path) -> None:
    write(tmp_path / "EmVideo_trainval_captions.csv", ROWS)
    assert any(
        "no EmVidCap-S here; EmVidCap-L is used" in warning for warning in DataRoot.open(tmp_path, "both").warnings
    )


@pytest.mark.parametrize("test_id", ["vid80703", "80703"])
def test_the_leaked_video_is_told_whatever_form_its_id_has(tmp_path: Path, test_id: str) -> None:
    write(tmp_path / "EmVideo_trainval_captions.csv", [("vid80703", "a nurse"), ("vid10001", "a man")])
    write(tmp_path / "EmVideo_test_captions.csv", [(test_id, "a child"), ("vid30003", "a test")])
    opened = DataRoot.open(tmp_path)
    assert f"1 test video also in the training split: {test_id}" in opened.warnings
    assert opened.train["vid80703"] == ["a nurse"]
    assert "a child" not in str(opened.train)


def test_only_digits_lose_their_vid_so_that_msvd_names_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "vidXa-1_3_9.avi").touch()
    (tmp_path / "Xa-1_3_9.avi").touch()
    assert match_videos(["vid7"], tmp_path, {"vid7": "Xa-1_3_9"})["vid7"].name == "Xa-1_3_9.avi"
    assert match_videos(["vid7"], tmp_path, {"vid7": "vidXa-1_3_9"})["vid7"].name == "vidXa-1_3_9.avi"


def test_linked_folders_are_searched_once_and_hidden_files_are_not_videos(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "vid1.mp4").touch()
    (tmp_path / "far" / "loop").symlink_to(tmp_path / "far")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "videos" / "._vid2.mp4").touch()
    found = match_videos(["vid1", "vid2", "._vid2"], tmp_path / "videos")
    assert found == {"vid1": tmp_path / "videos" / "linked" / "vid1.mp4"}
