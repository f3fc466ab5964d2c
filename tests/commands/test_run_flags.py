"""Options of a run are declared once: every command has those that mean something to it, with the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from evcap_cli.app import build
from evcap_cli.commands.run_flags import CaptionFlags, FeatureFlags
from evcap_cli.devices import Dtype
from evcap_cli.features.options import FeatureOptions
from tests.commands.small import evcap

SHARED = {"--backbone", "--appearance", "--motion", "--object", "--audio", "--weights", "--option", "--audio-track"}
SHARED |= {"--device", "--dtype", "--timeout", "--decoder-memory", "--cache-dir", "--config", "--quiet", "--verbose"}
SEARCH = {"--beam-size", "--length-penalty", "--rerank"}
ENGINE = {"--engine", "--ray-address", "--workers-per-node", "--gpus-per-worker", "--cpus-per-worker", "--worker-wait"}


@pytest.fixture(scope="module")
def commands() -> dict[str, set[str]]:
    found: Any = typer.main.get_command(build())
    return {
        name: {flag for parameter in command.params for flag in parameter.opts}
        for name, command in found.commands.items()
    }


@pytest.mark.parametrize(
    ("name", "there", "absent"),
    [
        ("caption", SHARED | SEARCH | ENGINE | {"--segment", "--workers", "--max-words", "--no-cache"}, set()),
        ("explain", SHARED | SEARCH | {"--no-cache"}, ENGINE | {"--segment", "--sampling", "--workers", "--max-words"}),
        (
            "extract",
            SHARED | ENGINE | {"--segment", "--sampling", "--workers", "--batch-size"},
            SEARCH | {"--no-cache"},
        ),
        (
            "label",
            SHARED | SEARCH | {"--segment", "--sampling", "--workers", "--max-words", "--no-cache", "--style"},
            {"--no-emotion", "--shard"},
        ),
        ("train", SHARED | ENGINE | {"--sampling", "--workers", "--no-cache"}, SEARCH | {"--segment"}),
    ],
)
def test_a_command_has_the_options_that_mean_something_to_it(
    commands: dict[str, set[str]], name: str, there: set[str], absent: set[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert there <= commands[name]
    assert not absent & commands[name]
    assert evcap(name, "--help") == 0
    assert f"<{'|'.join(get_args(Dtype))}>" in capfd.readouterr().out


def test_nothing_typed_is_the_options_as_they_are() -> None:
    assert FeatureFlags().options() == FeatureOptions()
    options = CaptionFlags().caption_options("demo")
    assert {name: getattr(options, name) for name in vars(FeatureOptions())} == vars(FeatureOptions())


def test_the_engine_of_config_is_that_of_all_commands_that_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evcap_cli.engines.options.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").touch()
    Path("evcap.toml").write_text('[engine]\nengine = "ray"\nworkers-per-node = 2\n')
    for command in (["caption", "-o", "out.srt"], ["extract"], ["label", "-c", "demo", "-o", "root"]):
        assert evcap(*command, "a.mp4", "--config", "evcap.toml") == 2
        assert "--engine ray needs Ray; pip install 'evcap[ray]'" in capsys.readouterr().err
        assert evcap(*command, "a.mp4", "--config", "evcap.toml", "--engine", "local", "--dry-run") == 0
    # it works in its own process, and the table is not in its way
    assert evcap("explain", "b.mp4", "--config", "evcap.toml") == 2
    assert "engine" not in capsys.readouterr().err
    Path("evcap.toml").write_text("[engine]\nwrokers = 2\n")
    assert evcap("caption", "a.mp4", "-o", "out.srt", "--config", "evcap.toml") == 2
    assert "[engine] has no option 'wrokers'; it has engine, ray_address" in capsys.readouterr().err
    Path("evcap.toml").write_text('[engine]\nworkers-per-node = "two"\n')
    assert evcap("caption", "a.mp4", "-o", "out.srt", "--config", "evcap.toml") == 2
    assert "[engine] workers-per-node" in capsys.readouterr().err


def test_the_file_of_config_is_held_to_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evcap.toml").write_text('[extract]\ndtype = "fp8"\n')
    assert evcap("extract", ".", "--config", "evcap.toml") == 2
    line = capfd.readouterr().err
    assert "[extract] dtype" in line
    assert "fp8" in line or "fp16" in line
