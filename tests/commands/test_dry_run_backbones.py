"""A dry run refuses what the run itself would refuse of backbones, and reads no weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from evcap_cli.app import run
from evcap_cli.errors import EXIT_USAGE
from tests.features.films import make_film

WRONG = {
    "--weights resnet=random:0": "--weights names 'resnet', which is not in use; in use: ",
    "--option clip.size=3": "--option names 'clip', which is not in use; in use: ",
    "--option lite-audio.nothing=1": "lite-audio has no option 'nothing'",
    "--weights nonsense": "--weights 'nonsense' is not NAME=VALUE",
    "--option nonsense": "--option 'nonsense' is not NAME.KEY=VALUE",
}


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_film(tmp_path / "a.mp4", frames=4)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("command", ["caption", "extract"])
def test_a_dry_run_refuses_what_the_run_refuses(
    film: Path, capfd: pytest.CaptureFixture[str], command: str, wrong: str
) -> None:
    call = [
        command,
        str(film),
        *wrong.split(),
        "-o",
        str(film.with_name("out.srt" if command == "caption" else "f.hdf5")),
    ]
    said = []
    for arguments in (call, [*call, "--dry-run"]):
        assert run(arguments) == EXIT_USAGE
        told = capfd.readouterr()
        assert told.out == ""
        said.append(told.err)
    assert said[0] == said[1]
    assert WRONG[wrong] in said[1]


@pytest.mark.slow
def test_a_dry_run_refuses_backbones_that_the_checkpoint_was_not_trained_on(
    film: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["caption", str(film), "-o", "out.srt", "--dry-run", "--appearance", "clip"]) == EXIT_USAGE
    assert "demo: was trained with appearance backbone lite-appearance, not with clip" in capfd.readouterr().err
    assert run(["caption", str(film), "-o", "out.srt", "--dry-run", "--backbone", "lite"]) == 0


def test_a_dry_run_reads_no_weights(film: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for weights in ("resnet=random:0", "resnet=nowhere.safetensors"):
        assert run(["extract", str(film), "--appearance", "resnet", "--weights", weights, "--dry-run"]) == 0
    assert capfd.readouterr().out.splitlines()[1] == "1 video: appearance resnet"


@pytest.mark.parametrize("command", ["caption", "extract"])
def test_the_help_says_how_weights_are_drawn(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert "random:SEED" in capfd.readouterr().out
