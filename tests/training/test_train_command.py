"""``evcap train`` from films on disk to a checkpoint, with the tiny backbones of the feature tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from evcap_cli import plugins
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.commands import score, train
from evcap_cli.errors import UsageError
from evcap_cli.scoring.java import JavaError
from evcap_cli.training.recipe import load_recipe
from tests.commands.small import evcap
from tests.features.films import make_film
from tests.features.tiny import TINY
from tests.training import toy

Call = Callable[..., Result]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    known = {made.spec.name: made for made in TINY.values()}
    monkeypatch.setattr(plugins, "backbone_class", known.__getitem__)
    app = typer.Typer()
    train.register(app)
    score.register(app)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)

    return run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos to train on (one has no file, one is no video), two to test on."""
    root = tmp_path_factory.mktemp("root")
    captions = toy.captions(8)
    (root / "videos" / "clips").mkdir(parents=True)
    for split, videos in (("trainval", list(captions)[:6]), ("test", list(captions)[6:])):
        folder = root / "data" / "EmVidCap-L"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [f"{video}\t{text}" for video in videos for text in captions[video]]
        (folder / f"EmVideo_{split}_captions.csv").write_text("\n".join(["VideoID\tEmCaptions", *rows]) + "\n")
    for number in range(8):
        if number != 3:
            make_film(root / "videos" / "clips" / f"{number}.mp4", frames=12, sound=number != 5, seed=number)
    (root / "videos" / "clips" / "2.mp4").write_text("not a video")
    words = root / "EmotionEval" / "sentiment-words-E"
    words.mkdir(parents=True)
    for category, entries in toy.LEXICON.table.items():
        (words / f"{category}.txt").write_text("\n".join(entries))
    (root / "tiny.toml").write_text(toy.recipe_text(epochs=2))
    return root


def arguments(root: Path, run: Path, *more: object) -> list[Any]:
    kinds = [part for kind, made in TINY.items() for part in (f"--{kind}", made.spec.name)]
    common = ["--data", root, "--recipe", root / "tiny.toml", "--device", "cpu", "--workers", 1]
    return ["train", *kinds, *common, "-o", run, *more]


def no_java() -> str:
    raise JavaError("METEOR would take ten seconds")


@pytest.mark.slow
def test_from_films_to_a_checkpoint_with_test_scores(
    call: Call, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evcap_cli.scoring.java.find_java", no_java)
    run = tmp_path / "run"
    result = call(*arguments(root, run))
    assert result.exit_code == 0
    said = result.stderr
    assert "1 video was not found and is left out: vid3" in said
    assert said.index("test split: 2 videos") < said.index("this run, epoch")
    assert "the paper's rows are not shown: this is not EmVidCap-L's test split (2 videos here, 382 there)" in said
    assert "2.mp4" in said
    checkpoint = Checkpoint.from_pretrained(run)
    assert {kind: record["name"] for kind, record in checkpoint.backbones.items()} == {
        kind: made.spec.name for kind, made in TINY.items()
    }
    assert checkpoint.training["epochs"] == 2
    tested = json.loads((run / "test.json").read_text())
    assert tested["videos"] == 2
    assert "| metric | held-out videos | test split (2 videos) |" in (run / "README.md").read_text()
    scored = call("score", run / "test.jsonl", "--data", root, "--json", "--no-meteor")
    metrics = json.loads(scored.stdout)["metrics"]
    assert metrics == tested["metrics"]


@pytest.mark.slow
def test_the_same_command_again_goes_on_and_overwrite_starts_anew(call: Call, root: Path, tmp_path: Path) -> None:
    assert call(*arguments(root, tmp_path, "--no-test", "--epochs", 1)).exit_code == 0
    before = Checkpoint.from_pretrained(tmp_path).digest
    again = call(*arguments(root, tmp_path, "--no-test", "--epochs", 1))
    assert "going on after epoch 1 of 1" in again.stderr
    assert (Checkpoint.from_pretrained(tmp_path).model.state_dict().keys()) != set()
    assert Checkpoint.from_pretrained(tmp_path).digest == before
    with pytest.raises(UsageError, match="other data or settings"):
        call(*arguments(root, tmp_path, "--no-test", "--seed", 9))
    assert call(*arguments(root, tmp_path, "--no-test", "--seed", 9, "--epochs", 1, "--overwrite")).exit_code == 0


@pytest.mark.slow
def test_the_page_of_a_run_shows_its_videos_and_decodes_them_once(
    call: Call, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evcap_cli.media.decoder import Decoder
    from evcap_cli.output.html_report import pictures_at
    from evcap_cli.training import run_report, shown_clips

    assert call(*arguments(root, tmp_path, "--no-test", "--epochs", 1)).exit_code == 0
    kept = shown_clips.read_clips(tmp_path)
    assert kept is not None
    (clip,) = kept.clips
    film = root / "videos" / "clips" / f"{clip.video_id.removeprefix('vid')}.mp4"
    with Decoder() as decoder:
        timeline = decoder.open(film)
        middle = float(timeline.end) / 2
        assert list(pictures_at(decoder, film, [middle], shown_clips.PICTURE_SIDE)) == [(0, clip.picture)]
    assert clip.picture is not None
    assert f'src="{clip.picture.source}"' in (tmp_path / "report.html").read_text()
    monkeypatch.setattr(run_report, "pictures", lambda *_: 1 / 0)
    again = call(*arguments(root, tmp_path, "--no-test", "--epochs", 2))
    assert "is not up to date" not in again.stderr
    assert shown_clips.read_clips(tmp_path) == kept
    assert len(shown_clips.read_captions(tmp_path)) == 2
    assert call(*arguments(root, tmp_path, "--no-test", "--epochs", 0, "--overwrite")).exit_code == 0
    assert not (tmp_path / "report.html").exists()
    assert not any((tmp_path / "validation").iterdir())


def test_print_config_prints_a_recipe_that_reads_back(call: Call, tmp_path: Path) -> None:
    printed = call("train", "--recipe", "demo", "--epochs", 3, "--without", "audio-visual", "--print-config")
    path = tmp_path / "printed.toml"
    path.write_text(printed.stdout)
    recipe = load_recipe(str(path))
    assert recipe.train.epochs == 3
    assert recipe.model["audio_visual"] is False


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--backbone", "lite"], "no data set"),
        (["--data", "nowhere"], "no backbone"),
        (["--backbone", "lite", "--data", "nowhere"], "no such data root"),
        (["--backbone", "lyte", "--data", "nowhere"], "lyte"),
        (["--model", "gpt"], "gpt"),
        (["--recipe", "none.toml"], "cannot read this recipe"),
    ],
)
def test_wrong_calls_are_found_before_any_work(call: Call, given: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call("train", *given)


@pytest.mark.parametrize("option", ["--without", "--subset", "--select"])
def test_options_of_fixed_values_list_them(option: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("train", "--backbone", "lite", "--data", "nowhere", option, "luck") == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: Invalid value for '{option}': 'luck' is not one of '")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_modules_that_are_off_need_no_backbone(call: Call, root: Path, tmp_path: Path) -> None:
    off = ["--without", "audio-visual", "--epochs", 0, "--no-test", "--weights", "tiny-audio=/nowhere.safetensors"]
    assert call(*arguments(root, tmp_path, *off)).exit_code == 0
    assert set(Checkpoint.from_pretrained(tmp_path).backbones) == {"appearance", "motion", "object"}


def test_a_folder_without_the_videos_is_named(call: Call, root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of the training videos"):
        call(*arguments(root, tmp_path / "run", "--videos", tmp_path))


@pytest.mark.slow
def test_word_vectors_are_where_training_starts_from(call: Call, root: Path, tmp_path: Path) -> None:
    width = toy.MODEL["word_width"]
    vectors = {"happy": [0.5] * width, "girl": [-1.25] * width}
    path = tmp_path / "glove.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in vectors.items()))
    run = tmp_path / "run"
    called = call(*arguments(root, run, "--glove", path, "--epochs", 0, "--no-test"))
    assert "word vectors for 2 of" in called.stderr
    made = Checkpoint.from_pretrained(run)
    table = made.model.decoder.embedding.weight
    for word, row in vectors.items():
        assert table[made.vocabulary.words.index(word)].tolist() == row
    assert made.model.emotion.vectors.words[made.lexicon.words.index("happy")].tolist() == vectors["happy"]
