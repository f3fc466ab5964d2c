"""What ``evcap --help`` costs next to the imports that it cannot do without (goal: at most 2.7 times as much).

Processor time of fresh interpreters, byte code at hand as after an installation, taken in turn: a busy machine slows
both alike.

Run: ``python -m tests.benchmarks.startup [--rounds 9]``
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, ratios, table

ROOT = Path(__file__).parents[2]


def run(code: str, byte_code: str) -> None:
    """``code`` in a fresh interpreter, which keeps byte code in the folder ``byte_code``."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": byte_code, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)


def children() -> float:
    """Processor time of the processes that ended, in seconds."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the times, taken in turn so that a busy machine slows both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    codes = {
        "import typer, rich": "import typer, rich",
        "evcap --help": "import sys; sys.argv = ['evcap', '--help']; from evcap_cli.app import main; main()",
    }
    with tempfile.TemporaryDirectory() as byte_code:
        taken = in_turn({name: partial(run, code, byte_code) for name, code in codes.items()}, rounds, children)
    print(table(taken))
    report(
        Measured(
            "help",
            '`evcap --help` against `python -c "import typer, rich"`, processor time of whole processes',
            ratios(taken, "evcap --help", "import typer, rich"),
            at_most=2.7,
        )
    )


if __name__ == "__main__":
    main()
