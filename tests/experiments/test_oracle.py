"""Oracle features: each stream has what it may and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from evcap_experiments.feature_captions import drop_audio
from evcap_experiments.oracle import oracle_features, run_oracle

from evcap_cli.demo.facts import ClipFacts
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.training.recipe import Recipe, TrainConfig

PLAIN = ClipFacts("vid50001", ("dog", "woman"), "chase", "park", "joy", "left", False, False, "joy", 4.0, 1)
HIDDEN = replace(PLAIN, hidden=True, mood="fear")


def _changed(first: ClipFacts, second: ClipFacts) -> set[str]:
    one, two = oracle_features(first).streams, oracle_features(second).streams
    return {kind for kind in one if not torch.equal(one[kind].values, two[kind].values)}


def test_features_are_a_function_of_the_facts() -> None:
    assert _changed(PLAIN, PLAIN) == set()
    assert _changed(PLAIN, replace(PLAIN, seed=2)) == {"appearance", "motion", "object", "audio"}


def test_a_hidden_emotion_is_in_the_audio_only() -> None:
    assert _changed(HIDDEN, replace(HIDDEN, emotion="anger")) == {"audio"}
    assert _changed(HIDDEN, replace(HIDDEN, mood="anger")) == {"appearance"}
    assert _changed(PLAIN, replace(PLAIN, emotion="anger", mood="anger")) == {"appearance", "object", "audio"}


def test_motion_says_what_and_where_objects_say_who_and_where() -> None:
    assert _changed(PLAIN, replace(PLAIN, subjects=("woman", "dog"))) == {"object"}
    assert _changed(PLAIN, replace(PLAIN, action="hug")) == {"motion"}
    assert _changed(PLAIN, replace(PLAIN, actor_side="right")) == {"motion", "object"}
    # the picture's contents are the same when roles and sides both change: only motion knows
    turned = replace(PLAIN, subjects=("woman", "dog"), actor_side="right")
    rows = [set(map(tuple, oracle_features(c).streams["object"].values.round().tolist())) for c in (PLAIN, turned)]
    assert "motion" in _changed(PLAIN, turned)
    assert len(rows[0] & rows[1]) > 0


def test_place_is_seen_in_the_whole_picture_only() -> None:
    assert _changed(PLAIN, replace(PLAIN, place="beach")) == {"appearance"}


def test_silent_clips_and_clips_without_their_audio_have_no_sound() -> None:
    assert len(oracle_features(replace(PLAIN, silent=True)).streams["audio"].values) == 0
    silent = drop_audio(oracle_features(PLAIN)).streams
    assert len(silent["audio"].values) == len(silent["audio"].times) == 0
    assert torch.equal(silent["motion"].values, oracle_features(PLAIN).streams["motion"].values)


def test_rows_fit_the_captioner() -> None:
    for clip in make_facts(40, 1):
        streams = oracle_features(clip).streams
        assert len(streams["appearance"].values) == len(streams["motion"].values) == 30
        assert 1 <= len(streams["object"].values) <= 16
        assert len(streams["audio"].values) <= 60
        assert all(float(s.times.max()) <= clip.seconds for s in streams.values() if len(s.times))


@pytest.mark.usefixtures("own_surroundings")
@pytest.mark.slow
def test_the_run_trains_captions_and_judges(tmp_path: Path) -> None:
    small = {
        "width": 16, "word_width": 16, "feed_forward": 16, "lstm_width": 16, "attention_width": 8, "alignment_width": 8
    }  # fmt: skip
    recipe = Recipe(train=TrainConfig(epochs=1, batch_size=64), model=small)
    result = run_oracle(tmp_path, recipe=recipe, train_clips=16, test_clips=12)
    assert len(result.captions) == 12
    assert result.rates["captioner"]["emotion"].total == 12
    assert (
        result.rates["captioner"]["emotion, hidden, without audio"].total
        == result.rates["captioner"]["emotion, hidden"].total
        > 0
    )
    assert set(result.rates) == {"captioner", "constant", "shuffled"}
    assert (tmp_path / "model.safetensors").exists()
