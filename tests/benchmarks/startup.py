"""How long ``evcap --help`` takes next to the imports that it cannot do without; prints the ratio (budget: under 4).

Run: ``python -m tests.benchmarks.startup``
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 9
ROOT = Path(__file__).parents[2]


def seconds(code: str) -> float:
    """One run of ``code`` in a fresh interpreter."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
    environment = {**os.environ, "PYTHONPATH": path}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the table: the fastest of several runs each, taken in turns so that a busy machine slows both."""
    codes = {
        "import typer, rich": "import typer, rich",
        "evcap --help": "import sys; sys.argv = ['evcap', '--help']; from evcap_cli.app import main; main()",
    }
    taken = [{name: seconds(code) for name, code in codes.items()} for _ in range(ROUNDS)]
    bare, ours = (min(times[name] for times in taken) for name in codes)
    print(f"import typer, rich  {bare * 1000:6.0f} ms")
    print(f"evcap --help        {ours * 1000:6.0f} ms   ratio {ours / bare:.2f} (budget 4)")


if __name__ == "__main__":
    main()
