"""``evcap train --features``: on published HDF5 files and on our own exports, without any video; then captioning."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import h5py
import jsonschema
import numpy as np
import pytest

from evcap_cli import plugins
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.commands import train as command
from evcap_cli.training.recipe import load_recipe
from tests.commands.small import ROOT, evcap, records
from tests.features.films import make_film
from tests.features.tiny import TINY
from tests.training import toy


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tiny backbones beside the bundled ones, METEOR without Java, a working folder and a cache of its own."""
    for cls in TINY.values():
        monkeypatch.setitem(plugins.registry().backbones, cls.spec.name, cls)
        monkeypatch.setitem(plugins.registry().origin, ("backbone", cls.spec.name), f"evcap-{cls.spec.name}")
    monkeypatch.setattr("evcap_cli.scoring.score_texts._meteor", toy.meteor)
    monkeypatch.setenv("EVCAP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def captions_file(path: Path, captions: dict[str, list[str]], mark: str = "\t") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{video}{mark}{text}" for video, texts in captions.items() for text in texts]
    path.write_text("\n".join([f"VideoID{mark}EmCaptions", *rows]) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten videos of EmVidCap-L to train on, two to test on; no video file anywhere."""
    root = tmp_path / "EPAN"
    captions = {
        f"vid1000{n}" if n < 10 else f"vid2000{n - 10}": texts for n, texts in enumerate(toy.captions(12).values())
    }
    videos = list(captions)
    captions_file(root / "data/EmVidCap-L/EmVideo_trainval_captions.csv", {v: captions[v] for v in videos[:10]})
    captions_file(root / "data/EmVidCap-L/EmVideo_test_captions.csv", {v: captions[v] for v in videos[10:]})
    for category, words in toy.LEXICON.table.items():
        file = root / "EmotionEval/sentiment-words-E" / f"{category}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(words))
    (tmp_path / "tiny.toml").write_text(toy.recipe(epochs=2).to_toml())
    return root


TRAIN, TEST = [f"1000{n}" for n in range(10)], ["20000", "20001"]


def write(path: Path, keys: Iterable[str], width: int, rows: int = 9) -> Path:
    """A file of the published layout, written with h5py alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key in keys:
            draw = np.random.default_rng([int.from_bytes(key.encode()) % 2**32, width])
            file[key] = draw.normal(size=(rows, width)).astype(np.float32)
    return path


def published(root: Path, name: str, width: int, splits: Iterable[str] = ("train", "test")) -> None:
    for split in splits:
        write(root / f"data/EmVideo-L/features/{name}_{split}.hdf5", TRAIN if split == "train" else TEST, width)


def train(root: Path, *more: object, features: Path | None = None, run: str = "run") -> int:
    given = ["--data", root, "--features", features or root, "--recipe", "tiny.toml", "--device", "cpu"]
    return evcap("train", *given, "-o", run, *more)


@pytest.mark.slow
def test_published_features_train_the_preset_and_say_what_is_missing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(root, "CLIP", 512)
    published(root, "3D-ResNext101", 2048)
    assert train(root, "--backbone", "clip") == 0
    said = capsys.readouterr().err
    assert "no object (fasterrcnn) and no audio (hubert); trained without fine-grained and audio-visual" in said
    assert "the paper's rows are not shown" in said
    made = Checkpoint.from_pretrained("run")
    assert {kind: (record["name"], record["version"], record["dim"]) for kind, record in made.backbones.items()} == {
        "appearance": ("CLIP", "hdf5", 512),
        "motion": ("3D-ResNext101", "hdf5", 2048),
    }
    assert made.sampling == "epan"
    assert (made.model.config.fine_grained, made.model.config.audio_visual) == (False, False)
    assert json.loads(Path("run/test.json").read_text())["videos"] == 2
    assert "appearance features by CLIP: unknown (feature files)" in Path("run/README.md").read_text()
    assert train(root, "--backbone", "clip") == 0
    assert "going on after epoch 2 of 2" in capsys.readouterr().err


@pytest.mark.slow
def test_files_are_named_one_by_one_and_what_is_asked_for_must_be_there(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(root, "look", 7)
    published(root, "flow", 5)
    assert train(root, "--appearance", "look", "--motion", "flow", "--epochs", 1) == 0
    assert set(Checkpoint.from_pretrained("run").backbones) == {"appearance", "motion"}
    capsys.readouterr()
    assert train(root, "--appearance", "look", "--motion", "walk", run="other") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {root}: no motion features called walk here")
    assert "there are: flow, look; name one with --motion" in error
    assert train(root, "--backbone", "resnet", run="other") == 2
    assert "no appearance features called resnet here" in capsys.readouterr().err
    (root / "empty").mkdir()
    assert train(root, "--appearance", "look", features=root / "empty", run="other") == 2
    assert "there is no .hdf5 file here" in capsys.readouterr().err
    assert train(root, "--appearance", "look", features=root / "nowhere", run="other") == 2
    assert "no such folder" in capsys.readouterr().err
    assert not Path("other/log.jsonl").exists()


@pytest.mark.slow
def test_features_of_another_width_than_the_backbones_are_refused_unless_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(root, "clip", 768)
    assert train(root, "--backbone", "clip") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "appearance features are 768 wide, those of clip are 512; to train on them as they are" in error
    assert "--appearance clip" in error
    assert train(root, "--appearance", "clip", "--epochs", 0, "--no-test") == 0
    write(root / "data/EmVideo-L/features/clip_test.hdf5", TEST, 512)
    assert train(root, "--appearance", "clip", "--epochs", 0, run="mixed") == 2
    assert "clip_test.hdf5: '20000' is 512 wide, 768 is expected" in capsys.readouterr().err


@pytest.mark.slow
def test_videos_without_rows_are_left_out_and_a_test_split_without_features_is_told_at_once(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(root, "look", 7, ["train"])
    with h5py.File(root / "data/EmVideo-L/features/look_train.hdf5", "a") as file:
        del file["10003"]
        file["10003"] = np.zeros((0, 7), np.float32)
        del file["10004"]
    assert train(root, "--appearance", "look", "--epochs", 1) == 0
    said = capsys.readouterr().err
    assert "vid10003: " in said
    assert "its appearance features have no row" in said
    assert "3 videos have no features and are left out: vid10004, vid20000, vid20001" in said
    nothing = said.index("no video of the test split is there: nothing will be scored at the end")
    assert nothing < said.index("epoch 1/1")
    assert not Path("run/test.json").exists()
    assert train(root, "--appearance", "look", "--select", "oracle", run="oracle") == 2
    assert "which --select oracle needs; use --select cfs" in capsys.readouterr().err
    assert train(root, "--appearance", "look", "--select", "oracle", "--no-test", run="oracle") == 2
    assert "leave out --no-test" in capsys.readouterr().err


def test_features_of_other_videos_are_named_before_any_work(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root / "features/look_train.hdf5", ["77", "78"], 7)
    assert train(root, "--appearance", "look") == 2
    assert "none of the 10 training videos has features here (the first is vid10000)" in capsys.readouterr().err
    assert evcap("train", "--data", root, "--features", root, "--videos", root, "--backbone", "clip") == 2
    assert "--features and --videos exclude each other" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("subset", "videos"), [("L", 10), ("S", 2), ("both", 12)])
def test_both_parts_of_the_data_set_find_their_features(root: Path, subset: str, videos: int) -> None:
    small = {f"vid{n}": [f"a happy dog number {n} runs"] for n in (1, 2)}
    captions_file(root / "data/EmVidCap-S/EmVideo_trainval_captions.csv", small, ",")
    captions_file(root / "data/EmVidCap-S/EmVideo_test_captions.csv", {"vid3": ["a sad dog"]}, ",")
    clips = ["mv89psg6zh4_33_46", "abc_1_2", "xyz_5_9"]
    mapping = root / "data/MSVD/youtube_mapping.txt"
    mapping.parent.mkdir(parents=True)
    mapping.write_text("".join(f"{clip} vid{n + 1}\n" for n, clip in enumerate(clips)))
    published(root, "look", 7)
    write(root / "data/MSVD/features/look_train.hdf5", clips[:2], 7)
    write(root / "data/MSVD/features/look_test.hdf5", clips[2:], 7)
    assert train(root, "--appearance", "look", "--epochs", 1, "--subset", subset) == 0
    data = Checkpoint.from_pretrained("run").training["data"]
    assert data["videos"] + data["held_out"] == videos
    assert json.loads(Path("run/test.json").read_text())["videos"] == {"L": 2, "S": 1, "both": 3}[subset]


@pytest.mark.slow
def test_an_export_of_our_own_gives_a_checkpoint_that_captions_videos(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "clips").mkdir()
    for number, key in enumerate([*TRAIN[:4], *TEST]):
        make_film(root / "clips" / f"{key}.mp4", frames=12, seed=number)
    kinds = [part for kind, cls in TINY.items() for part in (f"--{kind}", cls.spec.name)]
    assert evcap("extract", root / "clips", *kinds, "--device", "cpu", "-o", root / "features" / "all.hdf5") == 0
    assert train(root, *kinds, "--epochs", 1) == 0
    made = Checkpoint.from_pretrained("run")
    assert set(made.backbones) == set(TINY)
    assert {record["version"] for record in made.backbones.values()} == {"1"}
    assert made.sampling == "moments"
    assert (made.model.config.fine_grained, made.model.config.audio_visual) == (True, True)
    assert evcap("caption", root / "clips", "-c", "run", "-o", "out.jsonl", "--device", "cpu") == 0
    captioned = {record["id"]: record["captions"][0]["text"] for record in records(Path("out.jsonl"))}
    tested = [json.loads(line) for line in Path("run/test.jsonl").read_text().splitlines()]
    # the same features, by way of the file and by way of the video
    assert {line["video_id"]: line["caption"] for line in tested} == {f"vid{key}": captioned[key] for key in TEST}


def written(path: Path, kind: str, backbone: str, width: int = 6) -> None:
    """A file that says what it is, as evcap writes it, by h5py alone."""
    write(path, [*TRAIN, *TEST], width)
    record = {"name": backbone, "options": {}, "version": "1", "dim": width, "weights_digest": ""}
    with h5py.File(path, "a") as file:
        file.attrs["evcap"] = json.dumps({"kind": kind, "backbone": record, "sampling": "moments"})


@pytest.mark.slow
def test_files_that_evcap_wrote_are_found_without_a_name(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "clips").mkdir()
    for number, key in enumerate([*TRAIN[:4], *TEST]):
        make_film(root / "clips" / f"{key}.mp4", frames=12, seed=number)
    kinds = [part for kind, cls in TINY.items() for part in (f"--{kind}", cls.spec.name)]
    assert evcap("extract", root / "clips", *kinds, "--device", "cpu", "-o", "features/") == 0
    assert train(root, *kinds, "--epochs", 1, features=Path("features"), run="named") == 0
    assert train(root, "--epochs", 1, features=Path("features"), run="found") == 0
    named, found = (Checkpoint.from_pretrained(run) for run in ("named", "found"))
    assert found.backbones == named.backbones
    assert found.backbones.keys() == TINY.keys()
    assert Path("found/model.safetensors").read_bytes() == Path("named/model.safetensors").read_bytes()
    # a file of others next to them is not taken for a stream
    write(Path("features/look_train.hdf5"), TRAIN, 7)
    assert train(root, "--epochs", 1, features=Path("features"), run="found") == 0


@pytest.mark.slow
def test_two_files_that_could_serve_are_both_named_and_one_of_them_is_chosen(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = root / "features"
    for kind, backbone in (("appearance", "one"), ("appearance", "two:b"), ("motion", "flow"), ("audio", "sound")):
        written(folder / f"{backbone.replace(':', '-')}.hdf5", kind, backbone)
    written(folder / "other-sound.hdf5", "audio", "other")
    assert train(root, "--epochs", 1) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        f"error: {root}: one.hdf5 and two-b.hdf5 both hold appearance features;"
        " name one of them: --appearance one or --appearance two:b"
    )
    assert train(root, "--appearance", "two:b", "--epochs", 1) == 2
    assert "other-sound.hdf5 and sound.hdf5 both hold audio features" in capsys.readouterr().err
    # EPAN reads no sound, so nothing is unclear
    recipe = toy.recipe("epan", epochs=1).to_toml()
    Path("tiny.toml").write_text(recipe)
    assert train(root, "--appearance", "two:b") == 0
    backbones = Checkpoint.from_pretrained("run").backbones
    assert {kind: record["name"] for kind, record in backbones.items()} == {"appearance": "two:b", "motion": "flow"}


@pytest.mark.slow
def test_two_files_of_one_backbone_are_one_stream(root: Path) -> None:
    written(root / "features/first.hdf5", "appearance", "one")
    written(root / "features/second.hdf5", "appearance", "one")
    for path, keys in ((root / "features/first.hdf5", TRAIN[:5]), (root / "features/second.hdf5", TRAIN[5:])):
        with h5py.File(path, "a") as file:
            for key in keys:
                del file[key]
    assert train(root, "--epochs", 1) == 0
    data = Checkpoint.from_pretrained("run").training["data"]
    assert data["videos"] + data["held_out"] == 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["motion", None])
def test_without_appearance_the_files_that_are_there_are_listed(
    root: Path, capsys: pytest.CaptureFixture[str], kind: str | None
) -> None:
    path = root / "features/flow.hdf5"
    written(path, kind, "flow") if kind else write(path, TRAIN, 7)
    assert train(root, "--epochs", 1) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"error: {root}: no appearance features here; there are: flow; name one with --appearance"
    assert train(root, "--motion", "flow") == 2
    assert "no appearance features here" in capsys.readouterr().err


@pytest.mark.slow
def test_captioning_with_published_features_needs_the_users_word_for_a_backbone(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(root, "ResNet101", 12)
    assert train(root, "--appearance", "ResNet101", "--epochs", 1) == 0
    film = make_film(root / "film.mp4", frames=12)
    capsys.readouterr()
    assert evcap("caption", film, "-c", "run", "-o", "out.jsonl", "--device", "cpu") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "run: was trained on feature files, not on a backbone: appearance ResNet101 (12 wide)" in error
    assert "for example --appearance resnet" in error
    assert evcap("caption", film, "-c", "run", "-o", "out.jsonl", "--device", "cpu", "--motion", "tiny-motion") == 2
    assert "was trained on feature files" in capsys.readouterr().err
    given = ["caption", film, "-c", "run", "--device", "cpu", "--appearance"]
    assert evcap(*given, "tiny-appearance", "-o", "out.jsonl") == 0
    assert "run was trained on feature files: that appearance tiny-appearance gives the same" in capsys.readouterr().err
    record = records(Path("out.jsonl"))[0]
    assert record["backbones"] == {"appearance": "tiny-appearance"}
    assert record["checkpoint"]["stand_ins"] == {"appearance": "tiny-appearance"}
    jsonschema.validate(record, json.loads((ROOT / "docs/record.schema.json").read_text()))
    assert evcap(*given, "lite-appearance", "-o", "other.jsonl") == 2
    assert "reads appearance features 12 wide, lite-appearance gives" in capsys.readouterr().err


@pytest.mark.slow
def test_words_of_extra_captions_join_the_vocabulary_and_the_identity_of_the_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Path] = []

    def read(path: Path) -> list[str]:
        asked.append(path)
        return ["A Zebra gallops!", "the zebra's stripes", "a man walks"]

    monkeypatch.setattr("evcap_cli.data.msvd.read_extra_captions", read)
    published(root, "look", 7)
    given = ["--appearance", "look", "--epochs", 1, "--no-test"]
    assert train(root, *given, run="plain") == 0
    assert train(root, *given, "--extra-captions", "MSVD", run="more") == 0
    assert asked == [Path("MSVD")]
    plain, more = (Checkpoint.from_pretrained(run) for run in ("plain", "more"))
    assert set(more.vocabulary.words) - set(plain.vocabulary.words) == {"zebra", "gallops", "zebras", "stripes"}
    assert more.training["data"] == {**plain.training["data"], "extra_captions": 3}
    assert f"{len(more.vocabulary) - 4} words, 4 of them from the extra captions alone" in capsys.readouterr().err
    assert "words of 3 extra captions" in Path("more/README.md").read_text()
    assert train(root, *given, run="more") == 2
    assert "holds a run with other data or settings" in capsys.readouterr().err


@pytest.mark.slow
def test_a_recipe_that_was_printed_goes_on_where_its_options_began(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(root, "look", 7)
    options = ["--without", "audio-visual", "--epochs", 1, "--batch-size", 6, "--lr", 1e-3, "--early-stop", 3]
    assert train(root, "--appearance", "look", "--no-test", *options) == 0
    capsys.readouterr()
    assert evcap("train", "--recipe", "tiny.toml", *options, "--print-config") == 0
    Path("printed.toml").write_text(capsys.readouterr().out)
    given = ["--data", root, "--features", root, "--appearance", "look", "--device", "cpu", "--no-test", "-o", "run"]
    assert evcap("train", *given, "--recipe", "printed.toml") == 0
    assert "going on after epoch 1 of 1" in capsys.readouterr().err
    assert load_recipe("printed.toml").without == ("audio-visual",)
    # the folder keeps the recipe that was used, with what the features left out
    assert load_recipe("run/recipe.toml").without == ("fine-grained", "audio-visual")
    assert evcap("train", *given, "--recipe", "run/recipe.toml") == 0
    assert "going on after epoch 1 of 1" in capsys.readouterr().err


def test_overwrite_removes_what_an_earlier_run_left() -> None:
    from evcap_cli.training.final_scores import CAPTIONS, SCORES
    from evcap_cli.training.run_log import FILE

    page = {"report.html", "validation/clips.json", "validation/captions.jsonl"}
    assert {FILE, SCORES, CAPTIONS, "state", "tensorboard", *page} == set(command.STALE)
