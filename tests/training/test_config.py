from __future__ import annotations

from pathlib import Path

import pytest

from evcap_cli.captioner.config import CaptionerConfig
from evcap_cli.errors import UsageError
from evcap_cli.training.config import Recipe, TrainConfig, builtin_recipes, load_recipe

DIMS = {"appearance_dim": 8, "motion_dim": 8, "object_dim": 8, "audio_dim": 8, "vocabulary": 9}


def test_the_defaults_are_the_papers_set_up() -> None:
    train = TrainConfig()
    assert (train.learning_rate, train.batch_size, train.epochs, train.clip_norm) == (7e-4, 128, 30, 5.0)
    assert load_recipe("paper").train == train
    assert load_recipe("paper").captioner(**DIMS) == CaptionerConfig(**DIMS)


@pytest.mark.parametrize("name", builtin_recipes())
def test_built_in_recipes_give_a_model_and_survive_printing(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "printed.toml"
    path.write_text(recipe.to_toml())
    again = load_recipe(str(path))
    assert again.train == recipe.train
    assert again.captioner(**DIMS) == recipe.captioner(**DIMS)


def test_the_demo_recipe_is_small() -> None:
    assert load_recipe("demo").captioner(**DIMS).width <= 160


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nepoch = 3\n", "no field 'epoch'"),
        ("[trian]\n", "unknown table"),
        ("[train]\nepochs = '3'\n", "epochs must be a int"),
        ("[train]\nselect = 'best'\n", "select must be one of cfs, loss, last, oracle"),
        ("[train]\nval_share = 1.5\n", "val_share"),
        ("[model]\nvocabulary = 5\n", "no field 'vocabulary'"),
        ("[model]\nwidth = '300'\n", "width must be a int"),
        ("[model]\nfine_grained = 1\n", "fine_grained must be a bool"),
        ("[loss]\ntemperature = true\n", "temperature must be a float"),
        ("[loss]\nnce_denominator = 'some'\n", "nce_denominator must be one of all, negatives"),
        ("nonsense", "not a recipe"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        load_recipe(str(path))
    assert str(path) in str(caught.value)


def test_numbers_that_do_not_go_together_are_named() -> None:
    with pytest.raises(UsageError, match="width 7 must be divisible"):
        Recipe(model={"width": 7}).captioner(**DIMS)
    with pytest.raises(UsageError, match="cannot read"):
        load_recipe("nowhere.toml")


def test_the_command_line_overrides_a_recipe() -> None:
    recipe = load_recipe("demo").with_values(epochs=2, learning_rate=None, model={"fine_grained": False})
    assert recipe.train.epochs == 2
    assert recipe.train.learning_rate == load_recipe("demo").train.learning_rate
    assert not recipe.captioner(**DIMS).fine_grained
    with pytest.raises(UsageError, match="epochs must not be negative"):
        recipe.with_values(epochs=-1)


@pytest.mark.parametrize("name", builtin_recipes())
def test_what_the_command_line_changed_is_printed_too(name: str, tmp_path: Path) -> None:
    given = {"epochs": 7, "batch_size": 12, "learning_rate": 1e-5, "seed": 3, "select": "oracle", "early_stop": 4}
    recipe = load_recipe(name).with_values(**given, model={"fine_grained": False, "audio_visual": False})
    path = tmp_path / "printed.toml"
    path.write_text(recipe.to_toml())
    again = load_recipe(str(path))
    assert again.train == recipe.train
    assert {key: getattr(again.train, key) for key in given} == given
    assert again.captioner(**DIMS) == recipe.captioner(**DIMS)
    assert again.without == ("fine-grained", "audio-visual")
    assert again.to_toml() == recipe.to_toml()


def test_modules_without_their_streams_are_left_out_and_streams_without_a_module_are_not_read() -> None:
    recipe = load_recipe("paper")
    assert recipe.reading(["appearance", "motion", "object", "audio"]) == (recipe, [])
    fitting, off = recipe.reading(["appearance", "motion", "audio"])
    assert (off, fitting.without) == (["fine-grained"], ("fine-grained",))
    assert recipe.reading(["appearance", "object"])[1] == ["fine-grained", "audio-visual"]
    streams = {kind: kind for kind in ("appearance", "motion", "object", "audio")}
    assert recipe.read(streams) == streams  # type: ignore[arg-type]
    assert set(fitting.read(streams)) == {"appearance", "motion", "audio"}  # type: ignore[arg-type]
