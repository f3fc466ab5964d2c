"""A run as a child process: what it says, how it fails, and that it never outlives what started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from evcap_experiments import training_process
from evcap_experiments.runs import TrainingRun

from evcap_cli.errors import TrainingError
from tests.commands.small import ROOT
from tests.media.processes import DEADLINE_SECONDS, gone, wait_until_gone


@pytest.fixture
def run(tmp_path: Path) -> TrainingRun:
    return TrainingRun(tmp_path / "run", 0, (), {"epochs": 2})


def instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """A child that does ``code`` in place of training; its first argument is the folder."""
    monkeypatch.setattr(training_process, "command", lambda run: [sys.executable, "-c", code, str(run.folder)])


@pytest.mark.slow
def test_its_lines_are_passed_on_and_its_scores_end_it(monkeypatch: pytest.MonkeyPatch, run: TrainingRun) -> None:
    instead(monkeypatch, "import sys; open(sys.argv[1] + '/test.json', 'w'); print('epoch 1', file=sys.stderr)")
    said: list[str] = []
    training_process.train(run, said.append)
    assert said == ["epoch 1"]
    assert run.done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('error: GloVe has width 50; give another', file=sys.stderr); sys.exit(2)", "GloVe has wid"),
        ("import sys; print('Traceback'); print('ValueError: odd'); sys.exit(1)", "ValueError: odd"),
        ("import sys; sys.exit(5)", "exit code 5"),
        ("pass", "wrote no test scores"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL, as happens when memory runs out"),
    ],
)
def test_a_failure_is_the_childs_own_line(
    monkeypatch: pytest.MonkeyPatch, run: TrainingRun, code: str, said: str
) -> None:
    instead(monkeypatch, code)
    shown: list[str] = []
    with pytest.raises(TrainingError) as caught:
        training_process.train(run, shown.append)
    assert said in str(caught.value)
    assert not [line for line in shown if line.startswith("error")], "the caller shows it, once"


@pytest.mark.slow
def test_the_child_finds_the_modules_that_are_found_here(
    monkeypatch: pytest.MonkeyPatch, run: TrainingRun, tmp_path: Path
) -> None:
    (tmp_path / "only_here.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    instead(monkeypatch, "import sys, only_here, evcap_cli; open(sys.argv[1] + '/test.json', 'w')")
    training_process.train(run, lambda line: None)


SLEEPING = "import sys, time, os; open(sys.argv[1] + '/pid', 'w').write(str(os.getpid())); print('on', flush=True)"


def wait_for(path: Path) -> int:
    end = time.monotonic() + DEADLINE_SECONDS
    while (not path.exists() or not path.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    return int(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("deaf", [False, True], ids=["it listens", "it does not"])
def test_ctrl_c_ends_the_child_before_it_ends_us(monkeypatch: pytest.MonkeyPatch, run: TrainingRun, deaf: bool) -> None:
    monkeypatch.setattr(training_process, "OWN_END_SECONDS", 0.1)
    monkeypatch.setattr(training_process, "STOP_SECONDS", 0.5)
    ears = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if deaf else ""
    instead(monkeypatch, f"{ears}{SLEEPING}; time.sleep(600)")

    def interrupt() -> None:
        wait_for(run.folder / "pid")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        training_process.train(run, lambda line: None)
    assert gone(int((run.folder / "pid").read_text()))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_the_child_ends_when_we_are_killed(run: TrainingRun) -> None:
    code = f"""if True:
        import sys
        from pathlib import Path
        from evcap_experiments import training_process
        from evcap_experiments.runs import TrainingRun
        code = {SLEEPING!r} + "; time.sleep(600)"
        training_process.command = lambda run: [sys.executable, "-c", code, str(run.folder)]
        training_process.train(TrainingRun(Path(sys.argv[1]), 0, (), {{}}), print)
    """
    path = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(run.folder)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    child = wait_for(run.folder / "pid")
    parent.kill()
    parent.wait()
    assert wait_until_gone(child)
