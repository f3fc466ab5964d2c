"""How long ``evcap --help`` takes next to the imports that it cannot do without (budget: under 4 times as long).

Run: ``python -m tests.benchmarks.startup [--rounds 9]``
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, ratios, table

ROOT = Path(__file__).parents[2]


def run(code: str) -> None:
    """``code`` in a fresh interpreter."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)


def main() -> None:
    """Print the times, taken in turn so that a busy machine slows both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    codes = {
        "import typer, rich": "import typer, rich",
        "evcap --help": "import sys; sys.argv = ['evcap', '--help']; from evcap_cli.app import main; main()",
    }
    taken = in_turn({name: partial(run, code) for name, code in codes.items()}, rounds)
    print(table(taken))
    report(
        Measured(
            "help",
            '`evcap --help` against `python -c "import typer, rich"`, whole processes',
            ratios(taken, "evcap --help", "import typer, rich"),
            at_most=4.0,
        )
    )


if __name__ == "__main__":
    main()
