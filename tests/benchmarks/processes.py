"""What harnesses share: evcap as a process, and what a process may leave: files, decoders, children."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SET_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of <sys/prctl.h>


def evcap_command(*arguments: object) -> list[str]:
    """evcap of this tree, as a command."""
    code = "import sys; sys.path[:0] = sys.argv[1:3]; del sys.argv[1:3]; from evcap_cli.app import main; main()"
    return [sys.executable, "-c", code, str(ROOT), str(ROOT / "plugins"), *map(str, arguments)]


def leftovers(folder: Path) -> list[str]:
    """Temporary files and journals below ``folder``, relative to it."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.name.endswith((".tmp", ".partial")) or ".tmp." in path.name
    )


def decoders_of(word: str) -> list[int]:
    """Processes of evcap whose working folder or command line names ``word``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            folder = (entry / "cwd").readlink().as_posix()
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if ("evcap" in command or "java" in command) and any(word in text for text in (command, folder, environment)):
            found.append(int(entry.name))
    return found


def adopt_orphans() -> bool:
    """Make this process the parent of whatever its children leave, as daemons of Ray are; only Linux can."""
    return sys.platform == "linux" and ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def end_children() -> None:
    """Kill all children and wait for them, so that their processor time counts; those that they leave, too."""
    while found := {
        int(pid) for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()
    }:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
