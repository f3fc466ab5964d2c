"""``evcap data check``: what it finds, what it advises, and when it says that training can start."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.root_files import write_lexicon
from tests.commands.small import evcap
from tests.data import fake_root
from tests.data.fake_root import Variant, build
from tests.training import toy

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
TRAIN_CAPTIONS = Path("EPAN/data/EmVidCap-L/EmVideo_trainval_captions.csv")
CLIP = Path("EPAN/data/EmVideo-L/features/clip_train.hdf5")
Check = Callable[..., tuple[int, dict]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An invented checkout with everything in it, in the folder where the test runs."""
    monkeypatch.chdir(tmp_path)
    return build(Path("EPAN"), Variant())


@pytest.fixture
def check(root: Path, capfd: pytest.CaptureFixture[str]) -> Check:
    def call(*arguments: object) -> tuple[int, dict]:
        code = evcap("data", "check", root, "--json", *arguments)
        told = capfd.readouterr()
        assert told.err == ""
        return code, json.loads(told.out)

    return call


def spoil(root: Path) -> None:
    """What the page shows: a video and its features gone, a line in Latin-1, a caption that is empty."""
    (root / "videos/TrainVal_clips/some emotion/10001.mp4").unlink()
    with h5py.File(CLIP, "r+") as file:
        del file["10001"]
    with TRAIN_CAPTIONS.open("ab") as lines:
        lines.write(b"vid50002\ta caf\xe9 at night\nvid50002\t\n")


def test_the_page_shows_what_is_printed(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spoil(root)
    assert evcap("data", "check", "EPAN") == 0
    shown = re.search(r"\$ evcap data check EPAN\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    assert capfd.readouterr() == (shown[1], "")


def test_everything_there_is_ready_and_counted(check: Check) -> None:
    code, found = check()
    assert code == 0
    assert found["ready"]
    rows = {(file["part"], file["split"]): (file["captions"], file["videos"]) for file in found["captions"]}
    assert rows == {("L", "train"): (4, 3), ("L", "test"): (2, 2), ("S", "train"): (2, 2), ("S", "test"): (1, 1)}
    published = {(file["part"], file["split"]): tuple(file["published"]) for file in found["captions"]}
    assert published["L", "train"] == (19398, 1134)
    assert published["L", "test"] == (6527, 382)
    assert published["S", "train"] == (9462, 240)
    assert published["S", "test"] == (5622, 134)
    assert found["in_both_splits"] == ["vid80703"]
    assert not any(part["missing"] for part in found["videos"])
    assert sum(part["wanted"] for part in found["videos"]) == 8
    (clip,) = found["features"]
    assert (clip["width"], clip["covered"], clip["missing"]) == (6, {"train": 5, "test": 3}, [])
    assert found["word_vectors"] == [{"file": "data/Embeddings/GloVe/GloVe_300.json", "width": 3}]
    assert found["extended"] > found["vocabulary"] > 0
    assert {advice["level"] for advice in found["advice"]} == {"note"}
    assert found["worth"]["captions"] == 6


def test_what_is_missing_is_named_in_full(root: Path, check: Check) -> None:
    spoil(root)
    code, found = check()
    assert code == 0
    train = found["captions"][0]
    assert (train["latin_1"], train["empty"]) == ([6], [7])
    assert [part["missing"] for part in found["videos"]] == [["vid10001"], [], [], []]
    assert found["features"][0]["missing"] == ["vid10001"]


def test_verbose_names_all_and_otherwise_the_first_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(f"vid1{n:04}", "a man waves") for n in range(40)]
    fake_root.write(Path("root/EmVideo_trainval_captions.csv"), fake_root.captions(rows).encode())
    Path("clips").mkdir()
    Path("clips/10000.mp4").touch()
    assert evcap("data", "check", "root", "--videos", "clips") == 0
    told = capfd.readouterr().out
    assert "1 of 40 found; missing: vid10001, vid10002, vid10003, vid10004, vid10005, ...\n" in told
    assert "evcap train --backbone clip --data root --videos clips\n" in told
    assert evcap("data", "check", "root", "--videos", "clips", "-v") == 0
    assert "vid10038, vid10039\n" in capfd.readouterr().out


def test_training_can_start_from_features_alone(root: Path, check: Check) -> None:
    shutil.rmtree(root / "videos")
    code, found = check()
    assert code == 0
    assert found["video_folder"] is None
    assert check("--features", "clip")[0] == 0
    assert check("--features", CLIP.parent)[0] == 0


def written(path: Path, kind: str) -> None:
    """A file of the training videos that says what it is, as evcap writes it."""
    fake_root.features(path, {key: fake_root.table(f"vid{key}") for key in ("10001", "50002", "80703")})
    record = {"name": path.stem, "options": {}, "version": "1", "dim": fake_root.WIDTH, "weights_digest": ""}
    with h5py.File(path, "a") as file:
        file.attrs["evcap"] = json.dumps({"kind": kind, "backbone": record, "sampling": "moments"})


def without_videos_and_features(root: Path) -> None:
    shutil.rmtree(root / "videos")
    for path in root.rglob("*.hdf5"):
        path.unlink()


def published(path: Path) -> None:
    fake_root.features(path, {key: fake_root.table(f"vid{key}") for key in ("10001", "50002", "80703")})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "options"),
    [
        ({"own": "appearance", "flow": "motion"}, []),
        ({"own": "appearance", "own2": "appearance"}, ["--appearance", "own"]),
        ({"look": None}, ["--appearance", "look"]),
    ],
)
def test_the_command_of_the_report_finds_the_features_that_are_there(
    root: Path, check: Check, files: dict[str, str | None], options: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    without_videos_and_features(root)
    for name, kind in files.items():
        path = CLIP.with_name(f"{name}.hdf5")
        written(path, kind) if kind else published(path)
    code, found = check()
    assert (code, found["feature_folder"], found["feature_options"]) == (0, "EPAN", options)
    assert evcap("data", "check", "EPAN", "--subset", "L") == 0
    line = capfd.readouterr().out.splitlines()[-1]
    command = shlex.split(line.partition("Training can start: evcap ")[2])
    assert command == ["train", *options, "--data", "EPAN", "--features", "EPAN"]
    Path("tiny.toml").write_text(toy.recipe(epochs=0).to_toml())
    assert evcap(*command, "--recipe", "tiny.toml", "--no-test", "--device", "cpu", "-o", "run") == 0


@pytest.mark.parametrize(("name", "kind"), [("flow", "motion"), ("sound", "audio"), ("3D-ResNext101_train", None)])
def test_features_without_an_appearance_stream_stop_training(
    root: Path, check: Check, name: str, kind: str | None
) -> None:
    without_videos_and_features(root)
    path = CLIP.with_name(f"{name}.hdf5")
    written(path, kind) if kind else published(path)
    code, found = check()
    assert code == 1
    stops = [advice["text"] for advice in found["advice"] if advice["level"] == "stop"]
    assert stops == ["EPAN: no appearance features, which all captioners read"]


def test_neither_videos_nor_features_is_exit_code_1_with_the_way_out(root: Path, check: Check) -> None:
    shutil.rmtree(root / "videos")
    for path in root.rglob("*.hdf5"):
        path.unlink()
    code, found = check()
    assert code == 1
    stops = [advice for advice in found["advice"] if advice["level"] == "stop"]
    assert ["neither videos nor features" in advice["text"] for advice in stops] == [True]
    assert "--videos" in stops[0]["step"]


def features_cut(root: Path) -> None:
    CLIP.write_bytes(CLIP.read_bytes()[:-600])


def features_narrow(root: Path) -> None:
    fake_root.features(CLIP, {"10001": fake_root.table("vid10001", 5), "50002": fake_root.table("vid50002", 6)})


def features_without_rows(root: Path) -> None:
    for path in root.rglob("*.hdf5"):
        with h5py.File(path) as file:
            keys = list(file)
        fake_root.features(path, {key: fake_root.table("vid1")[:0] for key in keys})


def wrong_header(root: Path) -> None:
    TRAIN_CAPTIONS.write_text("id caption\nvid1\ta man\n")


def no_training_captions(root: Path) -> None:
    for path in root.rglob("EmVideo_trainval_captions.csv"):
        path.unlink()


def lexicon_of_bytes(root: Path) -> None:
    (root / "EmotionEval/sentiment-words-E/joy.txt").write_bytes(b"jo\xff")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (features_cut, f"{CLIP}: is truncated; copy or download it again"),
        (features_narrow, f"{CLIP}: '50002' is 6 wide, 5 is expected"),
        (features_without_rows, "no training video has clip features"),
        (wrong_header, f"{TRAIN_CAPTIONS}: line 1: the header must be VideoID and EmCaptions"),
        (no_training_captions, "no training captions here"),
        (lexicon_of_bytes, "joy.txt: line 1 is not UTF-8"),
    ],
)
def test_what_stops_training_is_told_with_its_file_and_exit_code_1(
    root: Path, check: Check, break_it: Callable[[Path], None], why: str
) -> None:
    break_it(root)
    code, found = check("--features", "clip")
    assert code == 1
    assert not found["ready"]
    stops = [advice["text"] for advice in found["advice"] if advice["level"] == "stop"]
    assert any(why in text for text in stops), stops


def test_features_that_are_asked_for_must_be_there(check: Check) -> None:
    code, found = check("--features", "clip", "--features", "resnext")
    assert code == 1
    assert [stream["problem"] for stream in found["features"]] == [None, "no resnext_<split>.hdf5 below EPAN"]


def test_a_damaged_feature_file_that_nobody_asked_for_is_a_warning(root: Path, check: Check) -> None:
    features_cut(root)
    code, found = check()
    assert code == 0
    assert any("is truncated" in advice["text"] and advice["level"] == "warning" for advice in found["advice"])


def test_lists_that_differ_from_the_lexicon_and_odd_word_vectors_are_told(root: Path, check: Check) -> None:
    (root / "EmotionEval/179_words.txt").write_text("joy\nhappy\n")
    (root / "data/Embeddings/GloVe/GloVe_300.json").write_text("[]")
    _, found = check()
    told = [advice["text"] for advice in found["advice"] if advice["level"] == "warning"]
    assert any("EmotionEval/179_words.txt and the word lists differ in 5 words: glad, sad" in text for text in told)
    assert any("GloVe_300.json: not a file of word vectors" in text for text in told)
    assert found["word_vectors"][0]["width"] is None


def test_lists_with_capitals_and_of_several_words_do_not_differ_from_the_lexicon(root: Path, check: Check) -> None:
    shutil.rmtree(root / "EmotionEval")
    write_lexicon(root / "EmotionEval", Lexicon({"Joy": ("happy",), "Mixed feelings": ("torn",)}))
    _, found = check()
    assert found["lexicon"]["categories"] == 2
    assert not [advice["text"] for advice in found["advice"] if "differ" in advice["text"]]


def test_a_subset_that_is_not_there_and_missing_names_of_clips_are_told(root: Path, check: Check) -> None:
    (root / "data/MSVD/youtube_mapping.txt").unlink()
    shutil.rmtree(root / "data/EmVidCap-L")
    _, found = check("--subset", "L")
    told = [advice["text"] for advice in found["advice"]]
    assert any("no EmVidCap-L here; EmVidCap-S is used" in text for text in told)
    assert any("no youtube_mapping.txt" in text for text in told)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere"], "nowhere: no such data root"),
        (["EPAN/videos"], "EPAN/videos: neither EmVideo_trainval_captions.csv nor"),
        (["EPAN", "--videos", "nowhere"], "nowhere: no such video folder"),
        (["EPAN", "--subset", "M"], "Invalid value for '--subset': 'M' is not one of"),
    ],
)
def test_no_data_set_at_all_is_one_line_and_exit_code_2(
    root: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    assert root.is_dir()
    assert evcap("data", "check", *arguments) == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"error: {why}")
    assert told.err.count("\n") == 1


def test_the_root_of_the_environment_serves(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVCAP_DATA", str(root))
    assert evcap("data", "check") == 0
