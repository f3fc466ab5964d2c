"""Whether training in bf16 costs quality: runs of the recipe ``study`` in fp32 and in bf16, with intervals.

    python -m tests.benchmarks.bf16_quality FOLDER [--seeds 3] [--model fusion]

Both learn from the same clips of the demo world with the same seeds and caption the same unseen clips in fp32.
Intervals of 95 % are over seeds and clips. A stopped run goes on with the same command.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from evcap_cli.demo.layout import TEST, read_world
from tests.benchmarks.small_data import Experiment, Results

LEFT_OUT = "needs a folder, a night and a processor with bf16 units"
FORMATS = ("fp32", "bf16")


def main() -> None:
    """Print commands, table and difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="fusion")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=400, help="to learn from")
    parser.add_argument("--unseen", type=int, default=480, help="clips of the exam")
    parser.add_argument("--train", default="--device cpu", help="options of every training, as one argument")
    parser.add_argument("--steps", type=int, default=0, help="of each training, in place of the recipe's epochs")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(given.folder.resolve(), shlex.split(given.train), range(given.seeds), given.steps)
    experiment.world("clips", "--videos", given.clips, "--seed", 21, "--test-share", 0)
    experiment.world("unseen", "--videos", given.unseen, "--seed", 5, "--test-share", 1)
    results = Results(read_world(experiment.folder / "unseen").of(TEST))
    for dtype in FORMATS:
        start = ("--model", given.model, "--backbone", "lite", "--recipe", "study", "--dtype", dtype)
        runs = experiment.runs(dtype, "clips", *start)
        results.add(dtype, {seed: experiment.captions(run, "unseen") for seed, run in runs.items()})
    print("\n".join(f"    {line}" for line in experiment.lines))
    print(f"\n{results.table()}\n\n{results.contrast('bf16', 'fp32')}")


if __name__ == "__main__":
    main()
