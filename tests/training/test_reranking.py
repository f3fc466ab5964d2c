"""Re-ranking in recipes and checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.errors import CheckpointError
from evcap_cli.search.beam_search import BeamConfig
from evcap_cli.search.rerank import Rerank
from evcap_cli.training.final_scores import _key
from evcap_cli.training.recipe import TrainConfig
from evcap_cli.training.run_preparation import prepare
from evcap_cli.training.trainer import Trainer
from tests.checkpoints.test_checkpoint import made
from tests.training import toy

ON = {"rerank_consensus": 0.5, "rerank_emotion": 0.2, "rerank_candidates": 6}


def trainer(run: Path, **train: Any) -> Trainer:
    recipe = toy.recipe(epochs=1, **train)
    return Trainer(recipe, toy.captions(), toy.LEXICON, toy.source(), run, tensorboard=False, device="cpu")


@pytest.mark.slow
def test_a_trained_checkpoint_searches_as_its_recipe_says(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", **ON)
    assert run.beam.rerank == Rerank(0.5, 0.2, 6)
    run.fit()
    loaded = Checkpoint.from_pretrained(tmp_path / "run")
    assert loaded.beam == run.beam
    assert json.loads((tmp_path / "run" / "config.json").read_text())["beam"]["rerank"] == {
        "consensus": 0.5,
        "emotion": 0.2,
        "candidates": 6,
    }


@pytest.mark.slow
def test_a_checkpoint_without_it_says_so(tmp_path: Path) -> None:
    made().save_pretrained(tmp_path)
    beam = json.loads((tmp_path / "config.json").read_text())["beam"]
    off = {"consensus": 0.0, "emotion": 0.0, "candidates": 10}
    assert beam == {"size": 3, "max_words": 15, "length_penalty": 1.6, "rerank": off}
    assert Checkpoint.from_pretrained(tmp_path).beam.rerank == Rerank()
    assert not Checkpoint.from_pretrained("demo").beam.rerank.on


@pytest.mark.parametrize("broken", [{"consensus": -1}, {"mood": 1}, {"candidates": "ten"}, 3, {"emotion": "much"}])
def test_settings_that_make_no_sense_in_a_checkpoint_are_refused_in_one_line(tmp_path: Path, broken: Any) -> None:
    made().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["beam"]["rerank"] = broken
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json does not say how to search") as caught:
        Checkpoint.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_defaults_of_a_search_come_back_as_they_were() -> None:
    for beam in (BeamConfig(), BeamConfig(4, 9, 0.5, rerank=Rerank(1.0, 0.0, 3))):
        assert BeamConfig.from_dict(json.loads(json.dumps(beam.to_dict()))) == beam


@pytest.mark.parametrize(
    ("train", "why"),
    [
        ({"rerank_emotion": -0.1}, "rerank_emotion: should be greater than or equal to 0"),
        ({"rerank_candidates": 1}, "candidates"),
        ({"rerank_consensus": "a"}, "rerank_consensus"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(train: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        TrainConfig(**train)


@pytest.mark.slow
def test_a_run_that_chooses_otherwise_is_another() -> None:
    def fingerprint(**train: Any) -> str:
        return prepare(toy.recipe(**train), toy.captions(), toy.LEXICON, toy.source()).fingerprint

    assert len({fingerprint(), fingerprint(rerank_consensus=0.5), fingerprint(rerank_emotion=0.5)}) == 3


def test_scores_of_another_order_are_other_scores(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = _key(run, {"vid1": ["a man walks"]}, 10)
    assert _key(run, {"vid1": ["a man walks"]}, 10) == before
    run.beam = replace(run.beam, rerank=Rerank(0.5))
    assert _key(run, {"vid1": ["a man walks"]}, 10) != before
