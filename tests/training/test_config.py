from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evcap_cli import plugins
from evcap_cli.errors import PluginError, UsageError
from evcap_cli.network.config import FusionConfig
from evcap_cli.training.recipe import Recipe, TrainConfig, builtin_recipes, load_recipe

DIMS = {"appearance_dim": 8, "motion_dim": 8, "object_dim": 8, "audio_dim": 8, "vocabulary": 9}


def test_the_defaults_are_the_papers_set_up() -> None:
    train = TrainConfig()
    assert (train.learning_rate, train.batch_size, train.epochs, train.clip_norm) == (7e-4, 128, 30, 5.0)
    assert load_recipe("paper").train == train
    assert load_recipe("paper").captioner(**DIMS) == FusionConfig(**DIMS)


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
        ("[train]\nepochs = '3'\n", "epochs: should be a whole number, got '3'"),
        ("[train]\nselect = 'best'\n", "select must be one of cfs, loss, last, oracle"),
        ("[train]\nval_share = 1.5\n", "val_share"),
        ("[model]\nvocabulary = 5\n", "no field 'vocabulary'"),
        ("[model]\nwidth = '300'\n", "width: should be a whole number, got '300'"),
        ("[model]\nfine_grained = 1\n", "fine_grained: should be true or false, got 1"),
        ("[loss]\ntemperature = true\n", "temperature: should be a number, got True"),
        ("[loss]\nnce_denominator = 'some'\n", "nce_denominator must be one of all, negatives"),
        ("nonsense", "is not TOML"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        load_recipe(str(path))
    assert str(path) in str(caught.value)


def test_a_recipe_for_all_systems_has_parts_for_each(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    path.write_text(page.split("```toml\n")[1].split("```")[0])  # the recipe that the page shows
    dcgn, epan = (load_recipe(str(path), system) for system in ("dcgn", "epan"))
    assert (dcgn.system, dcgn.train.epochs, dcgn.model) == ("dcgn", 20, {"moments": 20, "slots": 50})
    assert (epan.model, load_recipe(str(path)).system) == ({"moments": 20}, "fusion")
    assert (epan.train.optimiser, epan.train.weight_decay) == ("adamax", 1e-5)
    path.write_text('system = "epan"\n[train]\noptimiser = "adam"\n')
    assert (load_recipe(str(path)).system, load_recipe(str(path)).train.optimiser) == ("epan", "adam")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[train]\noptimiser = "sgd"\n', "optimiser must be one of adam, adamax"),
        ('[train]\noptimiser = "adamax"\namsgrad = true\n', "amsgrad = true goes with optimiser adam"),
        ("[model.epna]\nslots = 3\n", r"\[model.epna\]: no system 'epna' is installed"),
        ('system = "epna"\n', "no system named 'epna' is installed"),
        ("system = 3\n", "system: should be text, got 3"),
        ("[model.epan]\nslots = 3\n", r"\[model\] has no field 'slots'"),
        ("[loss]\nalignment = 1.0\n", r"\[loss\] has no field 'alignment'"),
    ],
)
def test_mistakes_about_systems_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_recipe(str(path), None if "system" in text else "epan")


def test_a_recipe_of_a_plugin_that_is_wrong_names_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(plugins.system("epan"), name="own", recipe="[train]\nrate = 3\n")
    monkeypatch.setitem(plugins.registry().systems, "own", wrong)
    with pytest.raises(PluginError, match=r"the recipe of system 'own': \[train\] has no field 'rate'"):
        load_recipe("paper", "own")


@pytest.mark.slow
def test_printing_the_papers_recipe_loads_no_torch() -> None:
    code = "import sys; from evcap_cli.training.recipe import load_recipe; load_recipe('demo').to_toml();"
    subprocess.run([sys.executable, "-c", f"{code} sys.exit('torch' in sys.modules)"], check=True)


def test_a_system_that_reads_pictures_alone_needs_no_module_to_be_left_out() -> None:
    recipe = load_recipe("paper", "epan")
    assert recipe.reading(["appearance"]) == (recipe, [])
    assert recipe.without == ()
    streams = {kind: kind for kind in ("appearance", "motion", "object", "audio")}
    assert set(recipe.read(streams)) == {"appearance", "motion"}  # type: ignore[arg-type]
    assert set(recipe.read({"appearance": "a", "audio": "b"})) == {"appearance"}


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
    with pytest.raises(UsageError, match="epochs: should be greater than or equal to 0"):
        recipe.with_values(epochs=-1)


@pytest.mark.parametrize("name", builtin_recipes())
def test_what_the_command_line_changed_is_printed_too(name: str, tmp_path: Path) -> None:
    given = {"epochs": 7, "batch_size": 12, "learning_rate": 1e-5, "seed": 3, "select": "oracle", "early_stop": 4}
    recipe = load_recipe(name)
    off = {"fine_grained": False, "audio_visual": False} if recipe.system == "fusion" else {}
    recipe = recipe.with_values(**given, model=off)
    path = tmp_path / "printed.toml"
    path.write_text(recipe.to_toml())
    again = load_recipe(str(path))
    assert again.train == recipe.train
    assert {key: getattr(again.train, key) for key in given} == given
    assert again.captioner(**DIMS) == recipe.captioner(**DIMS)
    assert again.without == (("fine-grained", "audio-visual") if off else ())
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
