"""On what machine and code a benchmark ran, and how much else the machine did meanwhile."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path

CODE = ("evcap_cli", "plugins", "tests/benchmarks", "pyproject.toml")
"""What a figure depends on: a commit that touches nothing of it leaves figures as good as they were."""
SAMPLE_SECONDS = 5.0
STAT = Path("/proc/stat")


def machine_facts() -> dict[str, str]:
    """What a ratio may depend on."""
    facts = {
        "cpu": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }
    if threads := os.environ.get("OMP_NUM_THREADS"):
        facts["OMP_NUM_THREADS"] = threads
    if shutil.which("nvidia-smi"):
        names = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
        facts |= {"gpu": " + ".join(names)} if names else {}
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _said(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def code_version(root: Path) -> str:
    """The last commit that touched ``CODE``; with uncommitted changes, a ``+`` and their digest."""
    commit = _said("git", "log", "-1", "--format=%h", "--abbrev=9", "--", *CODE, folder=root)
    changes = _said("git", "diff", "HEAD", "--", *CODE, folder=root)
    for name in _said("git", "ls-files", "--others", "--exclude-standard", "--", *CODE, folder=root).splitlines():
        changes += name + hashlib.sha256((root / name).read_bytes()).hexdigest()
    return (commit or "unknown") + (f"+{hashlib.sha256(changes.encode()).hexdigest()[:4]}" if changes else "")


def busy_seconds() -> float | None:
    """Processor seconds that all processes of the machine have spent since it started; None where nobody says."""
    try:
        user, nice, system, _, _, irq, soft, *_ = map(int, STAT.read_text().splitlines()[0].split()[1:])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def load_now() -> float:
    """Processors that are busy while this process sleeps.

    The system's load average would go on counting our own benchmark for minutes after its end.
    """
    before, begun = busy_seconds(), time.perf_counter()
    if before is None:
        return os.getloadavg()[0]
    time.sleep(SAMPLE_SECONDS)
    return max((busy_seconds() or 0.0) - before, 0.0) / (time.perf_counter() - begun)
