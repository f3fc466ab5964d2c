"""Other processes as tests see them: each function waits for what it says, however busy the machine is."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

DEADLINE_SECONDS = 120
"""Until a test gives up: far more than anything here takes."""
LOOK_SECONDS = 0.02


def gone(pid: int) -> bool:
    """Whether a process has ended, be it collected by its parent or not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def wait_until_gone(pid: int) -> bool:
    """Whether a process ends."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not gone(pid) and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
    return gone(pid)


def wait_until_idle(pid: int) -> None:
    """Until a process has used no processor time for a while."""
    end = time.monotonic() + DEADLINE_SECONDS
    before = None
    while (used := Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]) != before:
        before = used
        assert time.monotonic() < end
        time.sleep(25 * LOOK_SECONDS)


def resident_bytes(pid: int) -> int:
    """Memory that a process takes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def members(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _, of = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:3]
                if int(of) == group and state not in "ZX":
                    found.append(int(entry.name))
    return found


def opened_for_reading(pipe: Path) -> int:
    """Wait until somebody reads from a named pipe; the descriptor keeps it open, and the reader waiting."""
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        with suppress(OSError):
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(LOOK_SECONDS)
    raise AssertionError(f"nobody reads from {pipe}")
