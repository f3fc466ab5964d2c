"""What ``--init`` adds to the start of a training run (budget: 5 %), in processor time of the whole process.

Both runs read the same cached features and end before the first step; the machine may be busy.

Run: ``python -m tests.benchmarks.init_start [--rounds 5]``
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, ratios, table

ROOT = Path(__file__).parents[2]
CLIPS = 24


def evcap(*arguments: object) -> None:
    """One command in a process of its own."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
    call = [sys.executable, "-m", "evcap_cli", *map(str, arguments), "-q"]
    subprocess.run(call, check=True, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


def processor_seconds() -> float:
    """Of the processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Print the table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].replace("%", "%%"))
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        world = Path(place, "world")
        evcap("demo-world", world, "--videos", CLIPS, "--workers", 1)
        common = ["--data", world, "--epochs", 0, "--no-test", "--overwrite", "--cache-dir", Path(place, "cache")]
        runs = {
            "from nothing": lambda: evcap(
                "train", "--backbone", "lite", "--recipe", "demo", *common, "-o", f"{place}/a"
            ),
            "--init demo": lambda: evcap("train", "--init", "demo", *common, "-o", f"{place}/b"),
        }
        begun = time.perf_counter()
        seconds = in_turn(runs, rounds, processor_seconds)
    print(table(seconds))
    what = "the start of `evcap train --init demo` against that of a run from nothing, to before the first step"
    sizes = f"{CLIPS} clips with cached features, processor time of the whole process"
    report(Measured("start", f"{what}, {sizes}", ratios(seconds, "--init demo", "from nothing"), at_most=1.05))
    print(f"{time.perf_counter() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
