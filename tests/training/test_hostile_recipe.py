"""Whatever stands in a recipe: it is a recipe, or one line says what is wrong with which field."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.errors import EvcapError, UsageError
from evcap_cli.training.recipe import Recipe, TrainConfig, load_recipe
from evcap_cli.training.run_preparation import prepare
from tests.training import toy

VALUES = (
    *("true", "false", "0", "-1", "1", "7", "1000000000", "1" + "0" * 18, "1" + "0" * 400, "0.5", "-0.5", "1e300"),
    *("nan", "inf", "-inf", "''", "'5'", "'" + "x" * 100_000 + "'", "[]", "[1]", "{}", "{ a = 1 }", "2026-01-01"),
    *("[" * 500 + "]" * 500, "{ epan = 3 }", "'\\u0000'", '"\\u001b[31m"'),
)
DIMS: dict[str, Any] = {"appearance_dim": 8, "motion_dim": 6, "object_dim": 7, "audio_dim": 5, "vocabulary": 8}


def complaint(path: Path, system: str) -> str | None:
    try:
        load_recipe(str(path), system).captioner(**DIMS)
    except EvcapError as problem:
        return str(problem)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("system", ["fusion", "dcgn", "canet", "sa-lstm"])
def test_hostile_values_in_every_field(system: str, tmp_path: Path) -> None:
    rng = random.Random(system)
    path = tmp_path / "recipe.toml"
    plain = load_recipe("paper", system).to_toml()
    refused = tried = 0
    for line in [line for line in plain.split("\n") if " = " in line]:
        for value in rng.sample(VALUES, 4):
            path.write_text(plain.replace(line, f"{line.partition(' = ')[0]} = {value}", 1))
            tried += 1
            said = complaint(path, system)
            assert said is None or ("\n" not in said and len(said) < 1000), (line, value[:50])
            refused += said is not None
    assert tried > 120
    assert refused > tried / 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nlearning_rate = nan\n", "learning_rate: should be a finite number"),
        ("[train]\nbeam_size = 1000000000\n", "beam_size: should be less than or equal to 256, got 1000000000"),
        ("[train]\nmax_words = 1000000000\n", "max_words: should be less than or equal to 1000"),
        ("[model]\nencoder_layers = 1000000\n", "encoder_layers: should be less than or equal to 64, got 1000000"),
        ("[model]\ndropout = 2\n", "dropout: should be less than or equal to 1, got 2"),
        ("[loss]\ntemperature = 0\n", "temperature: should be greater than 0, got 0"),
        ("[train]\nseed = " + "9" * 30, "seed: is a number with too many digits"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("train = 3\n", "unknown table"),
        ("[[train]]\nepochs = 3\n", "unknown table"),
        ("[train]\nepochs = 3\nepochs = 4\n", "is not TOML"),
    ],
)
def test_values_out_of_range_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        load_recipe(str(path))
    assert str(path) in str(caught.value)


def test_a_recipe_may_come_from_a_pipe_and_in_any_usual_encoding(tmp_path: Path) -> None:
    text = "[train]\nepochs = 3\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "recipe.toml").write_text(text, encoding)
        assert load_recipe(str(tmp_path / "recipe.toml")).train.epochs == 3
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert load_recipe(str(pipe)).train.epochs == 3
    writer.join()
    (tmp_path / "recipe.toml").write_bytes(b"[train]\n# \xe9\n")
    with pytest.raises(UsageError, match="line 2 is not UTF-8"):
        load_recipe(str(tmp_path / "recipe.toml"))


def test_longer_captions_than_the_model_holds_are_refused_before_training() -> None:
    recipe = Recipe(TrainConfig(epochs=1, max_words=16), dict(toy.MODEL), name="long")
    with pytest.raises(UsageError, match=r"long: .* max_words 16 is more than the 15"):
        prepare(recipe, toy.captions(), toy.LEXICON, toy.source())


@pytest.mark.slow
def test_a_model_too_large_for_any_machine_is_refused_before_it_is_built() -> None:
    recipe = Recipe(TrainConfig(epochs=1), {**toy.MODEL, "encoder_layers": 64, "width": 1 << 14}, name="large")
    with pytest.raises(
        UsageError, match=r"large: the recipe's model cannot be built: it would have [0-9,]+ parameters"
    ):
        prepare(recipe, toy.captions(), toy.LEXICON, toy.source())
