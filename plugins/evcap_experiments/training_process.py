"""Runs as child processes: ``evcap train`` as anybody would call it, so that what it promises holds here too.

Its lines are passed on as they come. When this process is stopped, in whatever way, the child stops.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from evcap_cli.errors import TrainingError

if TYPE_CHECKING:
    from evcap_experiments.runs import TrainingRun

OWN_END_SECONDS: Final = 1.0
"""A Ctrl-C at the terminal reaches the child too: so long it may take to end by itself."""
STOP_SECONDS: Final = 10.0
"""After a SIGTERM of ours, which it heeds sooner, until it is killed; its last epoch is on disk in any case."""
_ERROR: Final = "error: "
_SET_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


def command(run: TrainingRun) -> list[str]:
    """What is run."""
    return [sys.executable, "-m", "evcap_cli", "train", *run.arguments]


def train(run: TrainingRun, show: Callable[[str], None]) -> None:
    """Train one run to its end; where it was begun before, it goes on after its last finished epoch.

    Args:
        run: which.
        show: gets the child's output line by line, errors left out.

    Raises:
        TrainingError: it failed; the cause is the child's own line.
        KeyboardInterrupt: passed on after the child has ended.
        WriteError: the folder cannot be written to.
    """
    run.begin()
    # the same modules as here, whatever made them importable, and none of the folder that we happen to be in
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
    child = subprocess.Popen(
        command(run),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        env=surroundings,
        preexec_fn=_stop_with_parent(),
    )
    problem, last = "", ""
    try:
        for line in child.stdout or ():
            text = line.rstrip()
            if text.startswith(_ERROR):
                problem = text.removeprefix(_ERROR)
            elif text:
                last = text
                show(text)
        code = child.wait()
    finally:
        _stop(child)
    if code == 0 and run.done:
        return
    if code == 0:
        problem = "it wrote no test scores: none of the test videos could be used"
    elif code < 0:
        problem = f"it was killed by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL:
            problem += ", as happens when memory runs out; try a smaller --batch-size"
    elif not problem:
        problem = f"it ended with exit code {code}" + (f"; its last line: {last}" if last else "")
    raise TrainingError(problem)


def _stop(child: subprocess.Popen[str]) -> None:
    """End the child if it still runs: by itself, by SIGTERM, by force."""
    try:
        for seconds, way in ((OWN_END_SECONDS, signal.SIGTERM), (STOP_SECONDS, signal.SIGKILL)):
            if child.poll() is not None:
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=seconds)
                return
            child.send_signal(way)
    except KeyboardInterrupt:  # somebody is in a hurry
        child.kill()
        raise
    finally:
        if child.poll() is None:
            child.wait()


def _stop_with_parent() -> Callable[[], None] | None:
    """On Linux the kernel ends the child when this process dies, even of a kill that nothing can catch."""
    if sys.platform != "linux":
        return None
    import ctypes

    ask = ctypes.CDLL(None).prctl  # looked up before the fork
    return lambda: ask(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
