"""``evcap train --init`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evcap_cli.checkpoints.checkpoint import Checkpoint
from tests.commands.small import evcap, records, save_checkpoint
from tests.experiments.roots import write_root


@pytest.fixture
def no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR would take ten seconds a run."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


@pytest.mark.slow
@pytest.mark.usefixtures("no_java")
def test_a_checkpoint_is_trained_further_on_other_videos_and_captions_them(tmp_path: Path) -> None:
    old, run = save_checkpoint(tmp_path / "old"), tmp_path / "run"
    root = write_root(tmp_path / "root", films=True)
    common = ["--data", root, "--device", "cpu", "--workers", 1, "--cache-dir", tmp_path / "cache"]
    few = ["--epochs", 1, "--batch-size", 8]
    again = ["train", "--init", old, *common, *few, "--freeze", "encoder", "-o", run]
    assert evcap(*again) == 0
    first, made = Checkpoint.from_pretrained(old), Checkpoint.from_pretrained(run)
    assert made.vocabulary.words[: len(first.vocabulary)] == first.vocabulary.words
    assert "girl" in made.vocabulary
    assert (
        made.training["init"] | {"name": "old", "digest": first.digest, "freeze": ["encoder"]} == made.training["init"]
    )
    before = (run / "model.safetensors").read_bytes()
    assert evcap(*again) == 0
    assert (run / "model.safetensors").read_bytes() == before
    assert evcap("caption", root / "videos" / "1.mp4", "-c", run, "-o", tmp_path / "out.jsonl", *common[2:]) == 0
    assert records(tmp_path / "out.jsonl")[0]["checkpoint"]["digest"] == made.digest
    # a run of its own features goes on from feature files of them, too
    assert evcap("extract", root / "videos", "--backbone", "lite", "-o", f"{tmp_path / 'features'}/", *common[2:]) == 0
    files = ["--features", tmp_path / "features", "--no-test"]
    assert evcap("train", "--init", run, *common, *few, *files, "-o", tmp_path / "third") == 0
    third = json.loads((tmp_path / "third" / "config.json").read_text())["training"]
    assert [one["name"] for one in third["init"]["earlier"]] == ["old"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--init", "demo", "--model", "epan"], "demo: holds a fusion+ model, not epan"),
        (
            ["--init", "demo", "--backbone", "clip"],
            "was trained with appearance backbone lite-appearance, not with clip",
        ),
        (["--init", "demo", "--audio", "hubert"], "was trained with audio backbone lite-audio, not with hubert"),
        (["--init", "demo", "--without", "fine-grained"], "was trained with fine_grained true, not false"),
        (["--init", "demo", "--recipe", "wide.toml"], "was trained with lstm_width 320, not 64 (recipe wide)"),
        (["--init", "demo", "--recipe", "epan.toml"], "is a recipe of epan, not of fusion"),
        (
            ["--init", "demo", "--freeze", "head"],
            "no part 'head' to freeze; its parts: encoder, emotion, decoder, words",
        ),
        (["--init", "nowhere"], "nowhere: no such checkpoint folder"),
        (["--init", "old", "-o", "old"], "--init and -o are the same folder"),
        (["--freeze", "encoder"], "--freeze is of runs that start from a checkpoint"),
        (["--refit-normalisation"], "--refit-normalisation is of runs that start from a checkpoint"),
    ],
)
def test_what_does_not_go_together_is_one_line_that_names_both(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    given: list[str],
    expected: str,
) -> None:
    write_root(tmp_path / "root")
    save_checkpoint(tmp_path / "old")
    (tmp_path / "wide.toml").write_text("[model]\nlstm_width = 64\n")
    (tmp_path / "epan.toml").write_text('system = "epan"\n')
    monkeypatch.chdir(tmp_path)
    assert evcap("train", "--data", "root", *given) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if "warning: " not in line]
    assert len(lines) == 1
    assert expected in lines[0]


@pytest.mark.slow
def test_a_printed_recipe_is_what_the_run_trains_with(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("train", "--init", "demo", "--epochs", 3, "--print-config") == 0
    printed = capfd.readouterr().out
    assert "learning_rate = 0.0012\n" in printed
    assert "self_critical_epochs = 0\n" in printed
    assert "epochs = 3\n" in printed
    assert "lstm_width = 320\n" in printed
    (tmp_path / "own.toml").write_text(printed)
    assert evcap("train", "--init", "demo", "--recipe", tmp_path / "own.toml", "--print-config") == 0
    assert capfd.readouterr().out == printed
