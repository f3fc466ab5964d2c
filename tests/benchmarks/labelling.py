"""``evcap label`` next to ``evcap caption``: ``python -m tests.benchmarks.labelling [--clips 24] [--rounds 3]``.

Clips of the demo world. The bundled checkpoint with an empty feature cache and with a full one, and a multimodal model
of random weights: tiny, so that next to nothing is shared by the captions of a clip. Budgets: one caption a video at
most 1.1 times the time of ``caption``, five below twice.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from evcap_cli.demo.layout import write_world
from evcap_cli.demo.make_facts import make_facts
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, ratios, table
from tests.commands.small import evcap
from tests.multimodal import tiny

SEED = 5


def alternatives(folder: Path, videos: Path, captioner: str, *, warm: bool) -> dict[str, Callable[[], object]]:
    """The three commands, each into an output that is not there yet."""

    def work(*arguments: object, out: str) -> None:
        for path in (folder / out, folder / f"{out}.partial"):
            shutil.rmtree(path, ignore_errors=True)
            if path.is_file():
                path.unlink()
        if not warm:
            shutil.rmtree(folder / "cache", ignore_errors=True)
        cache = ("--cache-dir", folder / "cache") if captioner == "demo" else ()
        code = evcap(*arguments, videos, "-c", captioner, "-o", folder / out, "-q", "--device", "cpu", *cache)
        if code:
            raise SystemExit(f"{arguments[0]} ended with {code}")

    return {
        "caption": partial(work, "caption", *(["--no-emotion"] if captioner != "demo" else []), out="out.jsonl"),
        "label, one a video": partial(work, "label", "--captions", "1", out="one"),
        "label, five a video": partial(work, "label", "--captions", "5", out="five"),
    }


def main() -> None:
    """Print a table and the two ratios of each captioner."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        videos = write_world(folder / "world", make_facts(given.clips, SEED), workers=1).root / "videos"
        model = tiny.folder_of("qwen3_vl", folder / "model")
        cases = {
            "demo, empty cache": ("demo", False),
            "demo, full cache": ("demo", True),
            "qwen3_vl, random": (str(model), True),
        }
        for name, (captioner, warm) in cases.items():
            taken = in_turn(alternatives(folder, videos, captioner, warm=warm), given.rounds, time.process_time)
            print(f"{name}\n{table(taken)}")
            for which, budget in (("label, one a video", 1.1), ("label, five a video", 2.0)):
                what = (
                    f"`evcap label`, {which.removeprefix('label, ')}, against `evcap caption`, {name}, processor time"
                )
                row = f"{name.replace(', ', '/')}/{which.split()[1]}"
                report(Measured(row, what, ratios(taken, which, "caption"), at_most=budget))


if __name__ == "__main__":
    main()
