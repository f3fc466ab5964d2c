"""Processes forked from the one that runs the tests: PyTorch, which takes two seconds to load, is there already.

Their streams, signals and exit codes are those of any program. What shows how a fresh interpreter starts, what it
imports or leaves closed, needs one.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from evcap_cli import console, plugins
from evcap_cli.files import WholeFile

LOADED = ("torch._dynamo", "transformers.audio_utils")
"""What nearly every command loads, PyTorch along with it."""
HIDDEN_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""What a program does not show; pytest keeps all warnings for itself."""


class Forked:
    """A process, in a group of its own, that calls ``work`` and ends as a program would.

    Args:
        work: what it does.
        environment: variables of its environment beside those here.
        path: folders where it looks for modules and distributions first.
    """

    def __init__(
        self, work: Callable[[], object], environment: Mapping[str, str] | None = None, path: Sequence[Path] = ()
    ) -> None:
        for module in LOADED:
            importlib.import_module(module)
        self._streams = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115  closed with this object
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._run(work, environment or {}, path)
        while os.getpgid(self.pid) != self.pid:
            time.sleep(0.001)

    def _run(self, work: Callable[[], object], environment: Mapping[str, str], path: Sequence[Path]) -> NoReturn:
        code: object = 1
        try:
            os.setsid()
            for descriptor, stream in enumerate(self._streams, start=1):
                os.dup2(stream.fileno(), descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", 1)
            importlib.reload(warnings).resetwarnings()
            for kind in HIDDEN_WARNINGS:
                warnings.simplefilter("ignore", kind)
            os.environ.update(environment)
            if path:
                sys.path[:0] = map(str, path)
                importlib.invalidate_caches()
                plugins.registry.cache_clear()
            console._console = None
            work()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 1)

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code is None

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: its exit code, or the number of the signal that killed it below zero, and both streams."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        for stream in self._streams:
            stream.seek(0)
        out, err = (stream.read() for stream in self._streams)
        return self._code, out, err


def kill_at_commit(patch: pytest.MonkeyPatch, suffix: str, times: int) -> None:
    """From now on a process kills its group when it is about to rename a file to a name that ends in ``suffix``.

    Args:
        patch: how long "from now on" is; processes are to be forked within.
        suffix: which files count.
        times: the file of this number, counted from one, stays under its temporary name.
    """
    commit, names = WholeFile.commit, list[str]()

    def killing(self: WholeFile, **given: Any) -> None:
        if self.path.name.endswith(suffix):
            names.append(self.path.name)
            if len(names) == times:
                os.killpg(0, signal.SIGKILL)
        commit(self, **given)

    patch.setattr(WholeFile, "commit", killing)
