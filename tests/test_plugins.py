"""Plugins come in one at a time; a broken one costs nothing but itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evcap_cli import plugins
from evcap_cli.errors import EXIT_NOTHING_DONE, EXIT_SOME_FAILED, EXIT_USAGE, PluginError
from tests.features.films import make_film
from tests.forked import Forked

GOOD = """
from evcap_cli import Backbone, BackboneSpec, FrameInput, hookimpl

class Grid(Backbone):
    spec = BackboneSpec(name="{name}", kind="appearance", dim=64, version="1", input=FrameInput(size=(8, 8)))
    def load(self, weights, device, dtype): ...
    def extract(self, batch):
        return batch.mean(1).flatten(1)

@hookimpl
def register_backbones(register):
    register(Grid)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder on the path that looks like installed distributions."""
    return tmp_path


def install(site: Path, distribution: str, module: str, source: str) -> None:
    (site / f"{module}.py").write_text(source)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[evcap]\n{module.replace('_', '-')} = {module}\n")


def run_code(site: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a forked process that sees what is installed in ``site``."""
    given = {"PYTHONPATH": python_path(site), **environment}
    process = Forked(lambda: exec(code, {"__name__": "__main__"}), given, [site])
    return subprocess.CompletedProcess(code, *process.end())


def run_code_afresh(site: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Like ``run_code``, in a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": python_path(site)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def python_path(site: Path) -> str:
    root = Path(plugins.__file__).parents[1]
    return os.pathsep.join([str(site), str(root), str(root / "plugins")])


def evcap(site: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process that sees what is installed in ``site``."""
    given = list(map(str, arguments))
    return run_code(site, f"import sys; from evcap_cli.app import run; sys.exit(run({given!r}))", **environment)


NAMES = "from evcap_cli import plugins; print(*sorted(plugins.registry().backbones))"


@pytest.mark.slow
def test_a_strangers_backbone_comes_in_by_its_entry_point(site: Path) -> None:
    install(site, "evcap-grid", "evcap_grid", GOOD.format(name="grid"))
    answer = run_code(site, NAMES)
    assert "grid" in answer.stdout.split()
    assert "lite-appearance" in answer.stdout.split()
    assert answer.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "import nowhere",
        "raise SystemExit(3)",
        "from evcap_cli import hookimpl\n@hookimpl\ndef register_backbones(register):\n    raise ValueError('oops')",
        "from evcap_cli import hookimpl\n@hookimpl\ndef register_everything(register): ...",
        "from evcap_cli import hookimpl\n@hookimpl\ndef register_backbones(wrong_argument): ...",
        "def broken(:",
    ],
)
def test_a_broken_plugin_is_named_and_skipped(site: Path, source: str) -> None:
    install(site, "evcap-grid", "evcap_grid", GOOD.format(name="grid"))
    install(site, "evcap-broken", "evcap_broken", source)
    answer = run_code(site, NAMES)
    assert answer.returncode == 0
    assert "grid" in answer.stdout.split()
    assert len(answer.stderr.splitlines()) == 1
    assert "evcap-broken" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
def test_the_command_line_names_a_broken_plugin_whatever_command_follows(site: Path) -> None:
    install(site, "evcap-broken", "evcap_broken", "import a_module_that_nobody_has")
    done = run_code_afresh(site, "from evcap_cli.app import run; run(['--version'])")
    assert done.stdout.startswith("evcap ")
    assert "evcap-broken" in done.stderr


@pytest.mark.slow
def test_next_to_a_broken_plugin_everything_works_with_one_warning(site: Path, tmp_path: Path) -> None:
    film = make_film(tmp_path / "a film.mp4", frames=4)
    install(site, "evcap-grid", "evcap_grid", GOOD.format(name="grid"))
    install(site, "evcap-broken", "evcap_broken", "import a_module_that_nobody_has")
    listed = evcap(site, "plugins")
    assert listed.returncode == EXIT_SOME_FAILED
    assert "a_module_that_nobody_has" in listed.stdout
    assert "grid" in listed.stdout
    done = evcap(site, "extract", film, "--appearance", "grid", "--motion", "lite-motion")
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "evcap-broken" in warnings[0]


NONSENSE = {
    "float('nan') * batch.mean(1).flatten(1)": "not a finite number",
    "batch.flatten(1)": "returned shape",
    "batch.mean(1).flatten(1).tolist()": "not a tensor",
    "self.no_such_thing(batch)": "no_such_thing",
}


@pytest.mark.parametrize("answer", NONSENSE)
@pytest.mark.slow
def test_a_plugin_that_returns_nonsense_fails_each_video_in_one_line_by_its_name(
    site: Path, tmp_path: Path, answer: str
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for seed, name in enumerate(("a.mp4", "b.mp4")):
        make_film(films / name, frames=4, seed=seed)
    install(site, "evcap-odd", "evcap_odd", GOOD.format(name="odd").replace("batch.mean(1).flatten(1)", answer))
    done = evcap(site, "extract", films, "--appearance", "odd")
    assert done.returncode == EXIT_NOTHING_DONE
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 2
    for line, name in zip(sorted(errors), ("a.mp4", "b.mp4"), strict=True):
        assert name in line
        assert "backbone odd" in line
        assert NONSENSE[answer] in line
        assert "evcap plugins" in line
    assert "Traceback" not in done.stderr
    checked = evcap(site, "plugins", "check", "odd")
    assert checked.returncode == EXIT_NOTHING_DONE
    assert "FAIL" in checked.stdout


@pytest.mark.slow
def test_the_check_of_a_healthy_plugin_says_so_and_a_wrong_call_is_one_line(site: Path) -> None:
    good = GOOD.format(name="grid").replace("version=", 'license="MIT", version=')
    install(site, "evcap-grid", "evcap_grid", good)
    done = evcap(site, "plugins", "check", "grid")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[0].startswith("pass  registration")
    assert done.stdout.splitlines()[-1] == "grid: 19 passed, 0 failed, 3 not applicable"
    for arguments in (("nowhere",), ("grid", "--weights", "other=x"), ("grid", "--option", "other.x=1")):
        wrong = evcap(site, "plugins", "check", *arguments)
        assert wrong.returncode == EXIT_USAGE
        assert len(wrong.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_half_registered_plugin_leaves_nothing_behind(site: Path) -> None:
    install(site, "evcap-half", "evcap_half", GOOD.format(name="half") + "    raise RuntimeError('too late')\n")
    answer = run_code(site, NAMES)
    assert "half" not in answer.stdout.split()
    assert "too late" in answer.stderr


@pytest.mark.slow
def test_two_plugins_of_one_name_are_both_named(site: Path) -> None:
    install(site, "evcap-one", "evcap_one", GOOD.format(name="grid"))
    install(site, "evcap-two", "evcap_two", GOOD.format(name="grid"))
    answer = run_code(site, "from evcap_cli import plugins; plugins.backbone_class('grid')")
    assert answer.returncode != 0
    last = answer.stderr.splitlines()[-1]
    assert "evcap-one" in last
    assert "evcap-two" in last
    chosen = run_code(site, "from evcap_cli import plugins; plugins.backbone_class('grid')", EVCAP_PLUGINS="evcap-two")
    assert chosen.returncode == 0


@pytest.mark.slow
def test_only_named_plugins_are_loaded_when_asked(site: Path) -> None:
    install(site, "evcap-grid", "evcap_grid", GOOD.format(name="grid"))
    assert "grid" not in run_code(site, NAMES, EVCAP_PLUGINS="").stdout.split()
    assert "lite-appearance" in run_code(site, NAMES, EVCAP_PLUGINS="").stdout.split()
    answer = run_code(site, NAMES, EVCAP_PLUGINS="evcap-grid,evcap-typo")
    assert "grid" in answer.stdout.split()
    assert "evcap-typo" in answer.stderr


@pytest.mark.slow
def test_registering_imports_no_torch(site: Path) -> None:
    code = "import sys; from evcap_cli import plugins; plugins.registry(); "
    code += "print('torch' in sys.modules, 'av' in sys.modules)"
    assert run_code_afresh(site, code).stdout.split() == ["False", "False"]


def test_a_missing_backbone_says_what_is_installed() -> None:
    with pytest.raises(PluginError) as caught:
        plugins.backbone_class("dinov9")
    assert "lite-appearance" in str(caught.value)
    assert "pip install" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.slow
def test_what_could_bring_a_missing_backbone_is_named(site: Path) -> None:
    for distribution, hint in (
        ("", "for example: pip install evcap-dinov9"),
        ("evcap-far-sight", "; pip install evcap-far-sight"),
        ("evcap", "; pip install -U evcap"),
    ):
        with pytest.raises(PluginError) as caught:
            plugins.backbone_class("dinov9", distribution)
        assert str(caught.value).endswith(hint)
    install(site, "evcap-broken", "evcap_broken", "import nowhere")
    code = "from evcap_cli import plugins; plugins.backbone_class('dinov9')"
    assert "evcap-broken may bring it and is broken" in run_code(site, code).stderr.splitlines()[-1]
    assert "EVCAP_PLUGINS keeps plugins out" in run_code(site, code, EVCAP_PLUGINS="").stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_backbone_is_traced_to_its_distribution(site: Path) -> None:
    install(site, "evcap-grid", "evcap_grid", GOOD.format(name="grid"))
    code = "from evcap_cli import plugins; "
    code += "print([plugins.distribution_of('backbone', n) for n in ('grid', 'lite-audio', 'nowhere')])"
    assert run_code(site, code).stdout.strip() == "['evcap-grid', 'evcap', '']"


def test_the_contract_is_importable_from_one_place() -> None:
    import evcap_cli

    for name in evcap_cli.__all__:
        assert getattr(evcap_cli, name) is not None
    with pytest.raises(AttributeError):
        evcap_cli.nothing  # noqa: B018


def test_no_module_of_the_packages_is_named_like_a_test() -> None:
    """Pytest would keep a compiled copy of it that pip does not know: a folder stays behind when evcap is replaced."""
    root = Path(__file__).parents[1]
    modules = [*(root / "evcap_cli").rglob("*.py"), *(root / "plugins").glob("evcap_*/**/*.py")]
    assert len(modules) > 300
    assert [path.name for path in modules if path.stem.startswith("test_") or path.stem.endswith("_test")] == []
