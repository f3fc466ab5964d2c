"""What ``report.html`` adds to an epoch of a training on the demo world (budget: 2 %), pictures included.

One run of ``evcap train``; every call that keeps or writes something for the page is timed in it, by the wall and in
processor time of this process, and set against the wall time of its epoch. Pictures are decoded once, after the first
epoch, by a process of their own: that part is wall time only.

Run: ``python -m tests.benchmarks.run_report`` (``--data ROOT`` takes a demo world that is there)
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evcap_cli import app
from evcap_cli.training import run_report
from evcap_cli.training.run_report import RunReport
from tests.benchmarks.measured import PERCENT, Measured, report

CLIPS, EPOCHS = 120, 3


def timed(call: Callable[..., Any], name: str, into: dict[str, list[tuple[float, float]]]) -> Callable[..., Any]:
    """``call``, whose wall and processor seconds go to ``into``."""

    def wrapped(*arguments: Any, **options: Any) -> Any:
        wall, own = time.perf_counter(), time.process_time()
        found = call(*arguments, **options)
        into.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - own))
        return found

    return wrapped


def main() -> None:
    """Print a line an epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a demo world that is there")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    RunReport.keep = timed(RunReport.keep, "keep", found)  # type: ignore[method-assign]
    RunReport.write = timed(RunReport.write, "write", found)  # type: ignore[method-assign]
    run_report.pictures = timed(run_report.pictures, "pictures", found)
    with tempfile.TemporaryDirectory() as place:
        data, run = options.data or Path(place, "world"), Path(place, "run")
        if options.data is None:
            assert app.run(["demo-world", str(data), "--videos", str(CLIPS), "--workers", "1", "-q"]) == 0
        train = ["train", "--backbone", "lite", "--recipe", "demo", "--data", str(data), "--no-test", "-q"]
        assert app.run([*train, "-o", str(run), "--epochs", str(options.epochs), "--device", "cpu"]) == 0
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        size = (run / "report.html").stat().st_size
    (decoding, _), *_ = found["pictures"]
    print(f"pictures, once: {decoding:.2f} s; the page: {size / 1e3:.0f} kB")
    shares = []
    for entry, keep, write in zip(log, found["keep"], found["write"], strict=False):
        once = decoding if entry["epoch"] == 1 else 0.0
        wall, own = keep[0] + write[0] - once, keep[1] + write[1]
        shares.append(100 * wall / entry["seconds"])
        print(
            f"epoch {entry['epoch']}: {entry['seconds']:.2f} s, the page {wall:.3f} s of the wall"
            f" ({wall / entry['seconds']:.2%}), {own:.3f} s of this process ({own / entry['seconds']:.2%})"
        )
    world = options.data or f"demo world of {CLIPS} clips"
    what = f"`report.html` of a run, {world}, recipe `demo`: of the time of an epoch"
    report(
        Measured("first", f"{what}, the first of {len(shares)}", (shares[0],), PERCENT, at_most=2.0),
        *([Measured("later", f"{what}, the others", tuple(shares[1:]), PERCENT, at_most=2.0)] if shares[1:] else []),
        Measured("pictures", "its pictures, once a run", (decoding,), "s"),
    )


if __name__ == "__main__":
    main()
