"""``evcap reproduce`` as a command: planned, run to the end, killed and run again, interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from evcap_experiments import training_process
from evcap_experiments.reproduction.table_plan import PlannedRow, plan_table
from safetensors import safe_open

from evcap_cli.training.run_state import FILE as STATE
from tests.commands.small import evcap, fork_evcap
from tests.experiments.roots import finish, opened, parse, write_root
from tests.media.processes import members

EPOCHS = 3
PAUSED = """
import os, sys, time
from pathlib import Path
flush, states = os.fsync, [{states}]
def paused(descriptor):
    if "train" in sys.argv:
        if Path(os.readlink(f"/proc/self/fd/{{descriptor}}")).parent.name == "state":
            states[0] -= 1
        elif states[0] == 0:
            Path({place!r}, "paused").touch()
            time.sleep(600)
    flush(descriptor)
os.fsync = paused
"""
"""A module that Python imports at its start: training stands still before the next file behind so many states."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("root"), films=True)


@pytest.fixture(autouse=True)
def no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR would take ten seconds a run."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def arguments(root: Path, table: str, folder: Path, *more: object) -> list[object]:
    small = ["--backbone", "lite", "--recipe", root / "tiny.toml", "--device", "cpu", "--workers", 1]
    return ["reproduce", table, "--data", root, *small, "-o", folder, *more]


def scores(folder: Path) -> dict:
    return json.loads((folder / "canet-lite-seed1" / "test.json").read_text())


def planned(root: Path, table: str, folder: Path, *more: str) -> list[PlannedRow]:
    """As the command plans it."""
    train = ["--data", str(root), "--recipe", str(root / "tiny.toml"), *more]
    return plan_table(table, opened(root), folder, train, parse, backbone="lite", seeds=(1,))  # type: ignore[arg-type]


def finished_epochs(run: Path) -> int:
    with safe_open(run / STATE, framework="pt") as file:
        return json.loads(file.metadata()["progress"])["epochs"]


@pytest.mark.slow
def test_interrupted_it_goes_on_to_the_scores_of_a_run_never_stopped(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Real training in real child processes: of the first row, the others are finished.

    Written are a state and a line of the log an epoch: it is stopped between the second state and its line.
    Other moments are those of ``tests/training/test_end_of_run.py``.
    """
    out, place = tmp_path / "out", tmp_path / "paused"
    run = out / "canet-lite-seed1"
    given = arguments(root, "table1", out, "--epochs", EPOCHS)
    for row in planned(root, "table1", out, "--epochs", str(EPOCHS))[1:]:
        finish(row.runs[0], 40.0)
    place.mkdir()
    (place / "sitecustomize.py").write_text(PAUSED.format(states=2, place=str(place)))
    process = fork_evcap(*given, first=[place])
    while not (place / "paused").exists() and process.running():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    code, _, shown = process.end()
    assert code == 130
    assert shown.splitlines()[-1] == f"interrupted: 3 runs finished, kept in {out}; run the same command to go on"
    while members(process.pid):  # decoding processes notice that they are alone, the training process is gone
        time.sleep(0.01)
    assert finished_epochs(run) == 2
    assert len((run / "log.jsonl").read_text().splitlines()) == 1
    table = json.loads((out / "table1.json").read_text())
    assert [row["state"] for row in table["rows"]] == ["to do"] + ["done"] * 3

    assert evcap(*given) == 0
    shown = capfd.readouterr()
    assert f"going on after epoch 2 of {EPOCHS}" in shown.err
    log = [json.loads(line)["epoch"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert log == list(range(1, EPOCHS + 1)), "none is missing, none is there twice"
    assert re.search(r"CANet \(reconstruction\)\n  printed +41\.9", shown.out)
    assert (out / "table1.html").exists()
    assert not list(out.rglob("*.tmp"))
    plain = ["train", "--model", "canet", "--data", root, *given[4:-4], "--epochs", EPOCHS, "-o", tmp_path / "plain"]
    assert evcap(*plain) == 0
    assert json.loads((tmp_path / "plain" / "test.json").read_text()) == scores(out)

    capfd.readouterr()
    assert evcap(*given) == 0
    assert "[1/4] CANet, seed 1: done" in capfd.readouterr().err


@pytest.mark.slow
def test_a_failing_row_is_one_line_and_the_next_one_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = "import sys; print('error: none.pt: no such file; check it', file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(training_process, "command", lambda run: [sys.executable, "-c", failing])
    out = tmp_path / "out"
    given = arguments(root, "table2", out)
    assert evcap(*given) == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    named = ["[1/3] SA-LSTM, seed 1", "[2/3] EPAN, seed 1", "[3/3] the paper, seed 1"]
    assert [line.split(":")[1].strip() for line in errors] == named
    assert all("none.pt" in line for line in errors)
    table = json.loads((out / "table2.json").read_text())
    assert [row["state"] for row in table["rows"]] == ["failed"] * 3
    assert "none.pt" in table["rows"][1]["reason"]

    finish(planned(root, "table2", out)[1].runs[0], 40.0)
    assert evcap(*given) == 3
    shown = capfd.readouterr()
    assert "[2/3] EPAN, seed 1: done" in shown.err
    assert re.search(r"EPAN\n  printed .*\n  ours +40\.0", shown.out)


@pytest.mark.slow
def test_the_dry_run_shows_commands_states_and_where_the_time_comes_from(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = arguments(root, "table2", tmp_path / "out", "--dry-run")
    assert evcap(*given) == 0
    shown = capfd.readouterr().out
    assert "SA-LSTM (clip features): to do" in shown
    assert shown.count("  to do  evcap train --backbone lite --data ") == 3
    # 5 videos of 2 captions, 1 video for validation, 8 captions a step
    step = r"\d+\.\d+ s"
    taken = rf"took {step} \(\S+\), {step} \(\S+\), {step} \(\S+\) here just now, 1 step an epoch"
    assert re.search(rf"time to go: about \d+ \w+ \(a training step .* {taken}", shown)
    assert not (tmp_path / "out").exists()

    run = tmp_path / "out" / "fusion-lite-seed1"
    run.mkdir(parents=True)
    (run / "log.jsonl").write_text('{"epoch": 1, "seconds": 600.0}\n')
    assert evcap(*given) == 0
    # one epoch of the measured run and two of each other
    assert "time to go: about 50 min (1 epoch measured in this folder, 600.0 s each" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["table9", "--data", "x"], "'table9' is not a table of the paper; first of all give table1 or table2"),
        (["--glove", "x", "table1", "--data", "x"], "'--glove' is not a table"),
        (["table1"], "no data set to train on"),
        (["table1", "--data", "nowhere"], "no such data root"),
        (["table1", "--data", "ROOT", "--wings", "2"], "No such option: --wings"),
        (["table1", "--data", "ROOT", "--lr", "much"], "Invalid value for '--lr'"),
        (["table1", "--data", "ROOT", "--select", "luck"], "'luck' is not one of 'cfs', 'loss', 'last', 'oracle'"),
        (["table1", "--data", "ROOT", "--subset", "M"], "Invalid value for '--subset'"),
        (["table1", "--data", "ROOT", "--backbone", "lyte", "--dry-run"], "unknown --backbone 'lyte'"),
    ],
)
def test_wrong_calls_are_one_line_before_any_work(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    called = [str(root) if part == "ROOT" else part for part in given]
    assert evcap("reproduce", *called, "-o", tmp_path / "out") == 2
    shown = capfd.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "out").exists()
