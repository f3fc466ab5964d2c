"""Systems are listed without torch, loaded on use, and come with a recipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evcap_cli import plugins
from evcap_cli.errors import EXIT_USAGE, PluginError
from evcap_cli.systems.contract import CaptionModel
from evcap_cli.systems.fusion import Fusion
from evcap_cli.systems.spec import SystemSpec
from tests.network import small
from tests.test_plugins import install, run_code

BUNDLED = {"fusion", "epan", "dcgn", "canet", "sa-lstm"}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path


def test_the_bundled_systems_come_in_like_a_strangers() -> None:
    assert set(plugins.systems()) >= BUNDLED
    assert {plugins.distribution_of("system", name) for name in BUNDLED} == {"evcap"}
    assert "evcap-systems" in {loaded.name for loaded in plugins.registry().loaded}


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_a_system_is_a_caption_model_with_a_configuration_and_a_recipe(name: str) -> None:
    spec = plugins.system(name)
    model = spec.load()
    assert issubclass(model, CaptionModel)
    tables = spec.recipe_tables()
    assert set(tables) == {"train", "model", "loss"}
    config = model.Config(5, None, None, None, 9, **tables["model"]) if name != "fusion" else small.config()
    assert model.Config.from_dict(config.to_dict()) == config
    assert spec.about
    assert "\n" not in spec.about


def test_recipes_carry_the_published_optimisers() -> None:
    for name in ("epan", "dcgn", "canet"):
        train = plugins.system(name).recipe_tables()["train"]
        assert train == {"optimiser": "adamax", "learning_rate": 7e-4, "weight_decay": 1e-5, "clip_norm": 5.0}
    train = plugins.system("sa-lstm").recipe_tables()["train"]
    assert (train["optimiser"], train["amsgrad"], train["length_penalty"]) == ("adam", True, 0.0)


def test_the_reconstruction_is_shown_as_one() -> None:
    assert plugins.system("canet").shown == "CANet (reconstruction)"
    assert plugins.system("fusion").shown == "fusion"


@pytest.mark.slow
def test_listing_systems_loads_no_torch() -> None:
    code = "import sys; from evcap_cli import plugins; print(*plugins.systems(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


def test_the_fusion_system_is_the_captioner_with_the_same_weights_and_words() -> None:
    made = small.model()
    system = Fusion(made.config, small.LEXICON)
    assert list(system.state_dict()) == list(made.state_dict())


@pytest.mark.parametrize(
    ("factory", "complaint"),
    [
        ("evcap_cli.nowhere:Model", "cannot be loaded"),
        ("evcap_cli.systems.epan:Nobody", "cannot be loaded"),
        ("no colon", "cannot be loaded"),
        ("evcap_cli.systems.epan:EpanConfig", "is not a CaptionModel"),
    ],
)
def test_a_system_that_cannot_be_loaded_says_so_by_name(factory: str, complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint) as caught:
        SystemSpec("odd", "odd", factory=factory).load()
    assert "'odd'" in str(caught.value)
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize("recipe", ["[train", "[trian]\nepochs = 3", "epochs = 3"])
def test_a_recipe_that_is_none_is_refused_by_name(recipe: str) -> None:
    with pytest.raises(PluginError, match="'odd'"):
        SystemSpec("odd", "odd", factory="a:B", recipe=recipe).recipe_tables()


@pytest.mark.slow
def test_a_strangers_system_and_a_clash_are_named(site: Path) -> None:
    source = (
        "from evcap_cli import SystemSpec, hookimpl\n@hookimpl\ndef register_systems(register):\n"
        "    register('{name}', SystemSpec('{name}', 'a system', factory='nowhere:Model'))\n"
    )
    install(site, "evcap-mine", "evcap_mine", source.format(name="mine"))
    install(site, "evcap-other", "evcap_other", source.format(name="epan"))
    listed = run_code(site, "from evcap_cli import plugins; print(*plugins.systems())")
    assert "mine" in listed.stdout.split()
    clash = run_code(site, "from evcap_cli import plugins; plugins.system('epan')")
    assert "evcap-other" in clash.stderr.splitlines()[-1]
