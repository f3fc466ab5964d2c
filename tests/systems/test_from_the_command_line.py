"""Every bundled system through training, checkpoint and captioning, on the public path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

from evcap_cli import plugins
from evcap_cli.captioning.record_fields import emotion_of
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.errors import CheckpointError, DataError, UsageError
from evcap_cli.training.evaluation import caption_clips
from evcap_cli.training.loop import Loop
from evcap_cli.training.recipe import Recipe, load_recipe
from evcap_cli.training.run_preparation import prepare
from evcap_cli.training.run_state import load_state
from evcap_cli.training.trainer import Trainer, TrainResult
from evcap_cli.training.training_tables import FeatureTable
from tests.commands.small import ROOT, evcap, records
from tests.experiments.roots import write_root
from tests.training import toy

SYSTEMS = sorted(toy.MODELS)
KEPT = {"epan": "exp_inf", "sa-lstm": "max_exp_avg_sq"}
"""What their optimisers remember beside Adam's."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("root"), films=True)


@pytest.fixture(autouse=True)
def no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR would take ten seconds a run."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def trainer(run: Path, recipe: Recipe) -> Trainer:
    return Trainer(recipe, toy.captions(), toy.LEXICON, toy.source(), run, tensorboard=False)


def fit(run: Path, system: str, **train: Any) -> TrainResult:
    return trainer(run, toy.recipe(system, **train)).fit()


def weights(result: TrainResult | Checkpoint) -> dict[str, torch.Tensor]:
    made = result.checkpoint if isinstance(result, TrainResult) else result
    return made.model.state_dict()


def test_every_bundled_system_has_a_small_recipe() -> None:
    bundled = [name for name in plugins.systems() if plugins.distribution_of("system", name) == "evcap"]
    assert sorted(bundled) == SYSTEMS


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_learns_and_its_checkpoint_captions_as_it_did_in_training(tmp_path: Path, system: str) -> None:
    made = trainer(tmp_path, toy.recipe(system, epochs=6, select="last", learning_rate=3e-2, self_critical_epochs=0))
    result = made.fit()
    first, *_, last = (entry["loss"] for entry in result.history)
    assert {"total", "cross_entropy"} <= first.keys()
    assert last["total"] < first["total"]
    assert last["cross_entropy"] < first["cross_entropy"]
    again = Checkpoint.from_pretrained(tmp_path)
    assert (again.system, type(again.model)) == (system, plugins.system(system).load())
    assert (again.model.config, again.digest) == (made.prepared.config, result.checkpoint.digest)
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(result).items())
    table = FeatureTable.build(toy.source(24).read(list(toy.unseen())), 6, again.model.config)
    clips = range(len(table))
    told = [
        caption_clips(m, table, clips, again.vocabulary, again.lexicon, made.beam)
        for m in (made.prepared.model, again.model)
    ]
    assert told[0] == told[1]
    assert any(told[0].values())
    card = (tmp_path / "README.md").read_text()
    assert f"system: {plugins.system(system).shown}, " in card
    assert load_recipe(str(tmp_path / "recipe.toml")).system == system


@pytest.mark.slow
@pytest.mark.parametrize(("system", "precision"), [*((system, "auto") for system in KEPT), ("epan", "bf16")])
def test_a_run_stopped_inside_an_epoch_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, precision: str
) -> None:
    whole = fit(tmp_path / "whole", system, precision=precision)
    step = Loop._step

    def stops(self: Loop, batch: Any, rate: float, epoch: int, number: int) -> Any:
        if (epoch, number) == (2, 1):
            raise KeyboardInterrupt
        return step(self, batch, rate, epoch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", stops)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "cut", system, precision=precision)
    fingerprint = trainer(tmp_path / "cut", toy.recipe(system, precision=precision)).prepared.fingerprint
    state = load_state(tmp_path / "cut", fingerprint)
    assert state is not None
    assert all(KEPT[system] in kept for kept in state.optimiser.values())
    resumed = fit(tmp_path / "cut", system, precision=precision)
    assert all(torch.equal(tensor, weights(resumed)[name]) for name, tensor in weights(whole).items())
    assert ("mixed precision (bf16)" in (tmp_path / "cut" / "README.md").read_text()) == (precision == "bf16")


@pytest.mark.slow
def test_a_folder_holds_one_system(tmp_path: Path) -> None:
    fit(tmp_path, "canet", epochs=1)
    with pytest.raises(UsageError, match="other data or settings"):
        fit(tmp_path, "epan", epochs=1)


@pytest.mark.slow
def test_mixed_precision_trains_a_system_with_losses_outside_its_forward_pass(tmp_path: Path) -> None:
    history = fit(tmp_path, "dcgn", epochs=2, precision="bf16").history
    assert history[1]["loss"]["total"] < history[0]["loss"]["total"]


def vectors(folder: Path, width: int) -> Path:
    path = folder / f"glove{width}.txt"
    path.write_text(f"happy {' '.join(['0.5'] * width)}\n")
    return path


def test_word_vectors_fill_what_a_system_has_and_a_width_of_its_own_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def begun(recipe: Recipe, width: int) -> Any:
        data = (recipe, toy.captions(), toy.LEXICON, toy.source())
        return prepare(*data, glove=vectors(tmp_path, width))

    made = begun(toy.recipe("canet"), 16)
    row = made.vocabulary.words.index("happy")
    assert made.model.word_tables().keys() == {"vocabulary"}
    assert made.model.word_tables()["vocabulary"][row].tolist() == [0.5] * 16
    own = Recipe(toy.recipe("sa-lstm").train, {k: v for k, v in toy.MODELS["sa-lstm"].items() if k != "word_width"})
    own = Recipe(own.train, own.model, name="own", system="sa-lstm")
    capsys.readouterr()
    kept = begun(own, 300)
    assert "sa-lstm has words of width 468, " in capsys.readouterr().err
    assert not (kept.model.word_tables()["vocabulary"][row] == 0.5).any()
    with pytest.raises(DataError, match="set word_width = 300 in the recipe"):
        begun(toy.recipe("sa-lstm"), 300)
    with pytest.raises(DataError, match="set word_width = 300 in the recipe"):
        begun(toy.recipe("epan"), 300)


def test_word_vectors_are_part_of_a_run_by_their_content_and_not_by_their_name(tmp_path: Path) -> None:
    def fingerprint(glove: Path | None) -> str:
        return prepare(toy.recipe("canet"), toy.captions(), toy.LEXICON, toy.source(), glove=glove).fingerprint

    first = vectors(tmp_path, 16)
    with_first, without = fingerprint(first), fingerprint(None)
    moved = first.rename(tmp_path / "others.txt")
    moved.write_text(f"{moved.read_text()}unused {' '.join(['1'] * 16)}\n")
    first.write_text(moved.read_text().replace("0.5", "0.25"))
    assert fingerprint(moved) == with_first
    assert len({with_first, without, fingerprint(first)}) == 3


def test_a_checkpoint_of_a_system_that_is_not_installed_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path, "canet", epochs=0)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"distribution": "evcap"', '"distribution": "evcap-nets"', 1))
    monkeypatch.delitem(plugins.registry().systems, "canet")
    with pytest.raises(CheckpointError, match=r"holds a 'canet' model.*; pip install evcap-nets$") as caught:
        Checkpoint.from_pretrained(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_caption_tells_the_emotion_where_the_system_perceives_none() -> None:
    felt = emotion_of(["the", "sad", "man", "is", "happy"], None, toy.LEXICON)
    assert felt is not None
    assert (felt.category, felt.probability, felt.words, dict(felt.top)) == ("sadness", None, ("sad", "happy"), {})
    assert emotion_of(["the", "man"], None, toy.LEXICON) is None
    seen = emotion_of(["the", "sad", "man"], [0.75, 0.25], toy.LEXICON)
    assert seen is not None
    assert (seen.category, seen.probability, seen.words) == ("joy", 0.75, ("sad",))


@pytest.mark.parametrize(("system", "perceives"), [("dcgn", True), ("canet", False)])
@pytest.mark.slow
def test_from_films_to_a_checkpoint_to_captions_of_every_format(
    root: Path, tmp_path: Path, system: str, perceives: bool
) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    small = ["--backbone", "lite", "--recipe", root / "tiny.toml", "--device", "cpu", "--workers", 1]
    longer = ["--epochs", 12, "--lr", 0.03, "--select", "last"]  # until captions have words
    assert evcap("train", "--model", system, "--data", root, *small, *longer, "-o", run, "--cache-dir", cache) == 0
    assert set(Checkpoint.from_pretrained(run).backbones) == {"appearance", "motion"}
    assert json.loads((run / "test.json").read_text())["system"] == system
    outputs = [part for name in ("out.jsonl", "out.html", "out.tsv", "out.srt") for part in ("-o", tmp_path / name)]
    assert evcap("caption", root / "videos", "-c", run, "--cache-dir", cache, *outputs) == 0
    schema = json.loads((ROOT / "docs" / "record.schema.json").read_text())
    found = records(tmp_path / "out.jsonl")
    rows = [line.split("\t")[-2:] for line in (tmp_path / "out.tsv").read_text().splitlines()]
    assert (len(found), len(rows)) == (7, 8)
    for record in found:
        jsonschema.validate(record, schema)
        (caption,) = record["captions"]
        said = any(word in toy.LEXICON.word_ids for word in caption["text"].split())
        assert (caption["emotion"] is not None) == (perceives or said)
        if caption["emotion"] is not None:
            assert (caption["emotion"]["probability"] is not None) == perceives
            shown = f"{caption['emotion']['probability']:.4f}" if perceives else ""
            assert [caption["emotion"]["category"], shown] in rows
    assert any(record["captions"][0]["emotion"] for record in found)
    assert evcap("score", run / "test.jsonl", "--data", root, "--no-meteor") == 0


def said_by(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert evcap("train", *arguments) == 2
    told = capfd.readouterr().err
    assert len(told.splitlines()) == 1
    return told


@pytest.mark.slow
def test_a_wrong_choice_of_a_system_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = ", ".join(sorted({*plugins.systems(), "multimodal"}))
    assert f"unknown --model 'gpt'; this evcap trains: {names}" in said_by(capfd, "--model", "gpt")
    assert "epan has no modules to leave out" in said_by(capfd, "--model", "epan", "--without", "audio-visual")
    assert "one of: fine-grained, audio-visual" in said_by(capfd, "--model", "fusion", "--without", "objects")
    assert "is a recipe of fusion, not of epan" in said_by(capfd, "--model", "epan", "--recipe", "paper-literal")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[model.epna]\nwidth = 30\n")
    assert "no system 'epna' is installed" in said_by(capfd, "--model", "epan", "--recipe", wrong)
    wrong.write_text("[model]\nwidth = 30\n")
    assert "[model] has no field 'width'" in said_by(capfd, "--model", "sa-lstm", "--recipe", wrong)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_printed_recipe_names_its_system_and_means_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], system: str
) -> None:
    path = tmp_path / "printed.toml"
    for recipe in ("paper", "demo"):
        given = ["--model", system, "--recipe", recipe, "--epochs", 7]
        assert evcap("train", *given, "--print-config") == 0
        path.write_text(capfd.readouterr().out)
        assert evcap("train", "--recipe", path, "--print-config") == 0
        assert capfd.readouterr().out == path.read_text()
        before, after = load_recipe(recipe, system).with_values(epochs=7), load_recipe(str(path))
        sizes = dict.fromkeys(("appearance_dim", "motion_dim", "object_dim", "audio_dim"), 8) | {"vocabulary": 9}
        assert (after.system, after.train) == (system, before.train)
        assert after.captioner(**sizes) == before.captioner(**sizes)


def test_the_run_folder_is_named_after_the_system(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def stops(path: Path) -> None:
        asked.append(path)
        raise UsageError("that is all this test wants to know")

    monkeypatch.setattr("evcap_cli.files.check_writable", stops)
    assert evcap("train", "--model", "epan", "--backbone", "lite", "--data", root) == 2
    assert asked[0].parent.name.startswith("epan-lite-")
