"""Kills at any moment: ``python -m tests.benchmarks.kills [--signals 100] [--seed 0] [--only caption train ...]``.

Every command runs undisturbed twice: files that both runs leave alike are what it promises. Then it gets SIGKILL and
SIGTERM in turn, at moments drawn from the seed, and runs again. At fault is an output that is torn, a process that
outlives its command, a SIGTERM that takes over ten seconds or ends with another code than 143 or more than one line,
a rerun that fails or leaves other bytes, and a temporary file or journal that the rerun leaves.
Prints a row a command and the number of faults; exits 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.measured import Measured, report
from tests.benchmarks.processes import decoders_of, evcap_command, leftovers
from tests.multimodal import tiny

SHARES = {
    "caption": 14,
    "caption without cache": 8,
    "caption by a ready-made model": 6,
    "caption into a tree": 12,
    "extract": 8,
    "train": 16,
    "score": 6,
    "demo": 6,
    "demo-world": 6,
    "merge": 4,
    "report": 4,
    "reproduce": 5,
    "study": 5,
}
"""Signals of a hundred that each command gets."""
GROWING = {"train", "reproduce", "study", "demo", "demo-world"}
"""Commands whose folder grows while they run: only their end is compared, not what a kill leaves."""
LEFT_OUT = "runs for an hour or more"
LEDGER_SECONDS = 14400
TERM_SECONDS = 10
ORPHAN_SECONDS = 10
LIMIT_SECONDS = 600
RECIPE = """
[train]
epochs = 3
batch_size = 16
store = "float32"
[model]
moments = 6
audio_steps = 6
word_width = 16
[model.fusion]
width = 16
feed_forward = 16
lstm_width = 16
attention_width = 16
alignment_width = 16
[model.sa-lstm]
word_width = 16
lstm_width = 16
"""


@dataclass
class Command:
    """One command line with its own working folder."""

    name: str
    arguments: list[str]
    ground: Path
    seconds: float = 0.0
    code: int = 0
    promised: dict[str, bytes] = field(default_factory=dict)
    """Files that two undisturbed runs leave alike; standard output under an empty name."""
    names: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    slowest_term: float = 0.0
    ended_first: int = 0

    def start(self, place: Path) -> subprocess.Popen[str]:
        place.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "EVCAP_CACHE_DIR": str(place.parent / f"{place.name}-cache"),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            evcap_command(*self.arguments),
            cwd=place,
            env=environment,
            stdout=(place.parent / f"{place.name}-stdout").open("w"),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, place: Path) -> tuple[int, str]:
        process = self.start(place)
        _, said = process.communicate(timeout=LIMIT_SECONDS)
        return process.returncode, said

    def files(self, place: Path) -> dict[str, bytes]:
        found = {
            path.relative_to(place).as_posix(): path.read_bytes()
            for path in place.rglob("*")
            if path.is_file() and "tfevents" not in path.name and not path.name.endswith((".tmp", ".lock"))
        }
        return {**found, "": (place.parent / f"{place.name}-stdout").read_bytes()}

    def learn(self, folder: Path) -> None:
        """Run twice undisturbed."""
        begun = time.monotonic()
        self.code, said = self.finish(folder / "first")
        self.seconds = time.monotonic() - begun
        if self.code:
            raise SystemExit(f"{self.name} does not work undisturbed ({self.code}): {said}")
        self.finish(folder / "second")
        first, second = self.files(folder / "first"), self.files(folder / "second")
        self.names = set(first)
        self.promised = {name: content for name, content in first.items() if second.get(name) == content}
        for place in ("first", "second"):
            self.clear(folder / place)

    def clear(self, place: Path) -> None:
        shutil.rmtree(place)
        shutil.rmtree(place.parent / f"{place.name}-cache", ignore_errors=True)

    def disturb(self, place: Path, signals: Sequence[signal.Signals], draw: random.Random) -> None:
        """Send each signal to a run of its own in ``place``, then run to the end and compare."""
        for number in signals:
            process = self.start(place)
            wait = draw.uniform(0.02, 1.0) * self.seconds
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                self.end(place, process, number)
            else:
                self.ended_first += 1
                process.communicate()
        code, said = self.finish(place)
        where = f"after {'+'.join(number.name for number in signals)}"
        if code != self.code:
            self.faults.append(f"{where}: the rerun ended with {code}: {said[-300:]}")
            return
        after = self.files(place)
        for name in sorted(self.promised.keys() | (self.names ^ after.keys())):
            if name in self.promised and after.get(name) != self.promised[name]:
                self.faults.append(f"{where}: {name or 'standard output'} differs")
            elif name not in self.promised:
                self.faults.append(f"{where}: {name} is {'new' if name in after else 'missing'}")
        self.faults += [f"{where}: left {name}" for name in leftovers(place)]
        self.faults += [
            f"{where}: left {name} in the cache" for name in leftovers(place.parent / f"{place.name}-cache")
        ]
        self.clear(place)

    def end(self, place: Path, process: subprocess.Popen[str], number: signal.Signals) -> None:
        begun = time.monotonic()
        process.send_signal(number)
        try:
            _, said = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.faults.append(f"{number.name}: still there after 60 s")
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return
        took = time.monotonic() - begun
        if number is signal.SIGTERM:
            self.slowest_term = max(self.slowest_term, took)
            if process.returncode not in (143, -signal.SIGTERM, self.code):
                self.faults.append(f"SIGTERM: exit code {process.returncode}: {said[-300:]}")
            if took > TERM_SECONDS:
                self.faults.append(f"SIGTERM: {took:.1f} s")
            if "Traceback" in said or "unexpected" in said:
                self.faults.append(f"SIGTERM: {said[-300:]}")
        deadline = time.monotonic() + ORPHAN_SECONDS
        while (left := decoders_of(str(place))) and time.monotonic() < deadline:
            time.sleep(0.1)
        if left:
            self.faults.append(f"{number.name}: processes {left} live on")
        if self.name not in GROWING:
            for name, content in self.files(place).items():
                if name and name in self.promised and content != self.promised[name]:
                    self.faults.append(f"{number.name}: {name} is torn")


def commands(ground: Path) -> list[Command]:
    """All commands, with small inputs made in ``ground``."""
    world, preds, recipe = ground / "world", ground / "preds.jsonl", ground / "small.toml"
    recipe.write_text(RECIPE, "utf-8")
    environment = {**os.environ, "EVCAP_CACHE_DIR": str(ground / "cache")}
    for made in (("demo-world", world, "--videos", 24, "--seed", 5), ("caption", world / "videos", "-o", preds)):
        subprocess.run(evcap_command(*made, "-q"), check=True, env=environment)
    videos, trained = world / "videos", ("--data", world, "--recipe", recipe)
    # one clip a batch: a batch of another size may move the last digit of a score
    ready_made = ("-c", tiny.smolvlm(ground / "model"), "--max-words", 3, "--batch-size", 1)
    small = ("--videos", 12, "--test-videos", 10, "--conflict-videos", 8, "--seeds", 1, "--epochs", 1)
    lines: dict[str, tuple[object, ...]] = {
        "caption": ("caption", videos, "-o", "out.srt", "-o", "out.jsonl", "-o", "report.html"),
        "caption without cache": ("caption", videos, "-o", "out.srt", "-o", "out.tsv", "--no-cache"),
        "caption into a tree": ("caption", videos, "-o", "tree/"),
        "caption by a ready-made model": ("caption", videos, *ready_made, "-o", "out.srt", "-o", "out.jsonl"),
        "extract": ("extract", videos, "--backbone", "lite", "-o", "features/"),
        "train": ("train", "--backbone", "lite", *trained, "-o", "run"),
        "score": ("score", preds, "--data", world, "--split", "all", "--bootstrap", 50, "--per-video", "per.jsonl"),
        "demo": ("demo", "demo", "--videos", 4),
        "demo-world": ("demo-world", "world", "--videos", 12, "--seed", 3),
        "merge": ("merge", preds, "-o", "all.srt"),
        "report": ("report", preds, "-o", "report.html"),
        "reproduce": ("reproduce", "table3", *trained, "--backbone", "lite", "--epochs", 1, "-o", "reproduced"),
        "study": ("study", "-o", "study", *small, "--recipe", recipe, "--only", "fusion,sa-lstm"),
    }
    return [Command(name, [*map(str, line)], ground) for name, line in lines.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(SHARES), nargs="*", default=list(SHARES))
    given = parser.parse_args()
    draw = random.Random(given.seed)
    faults = sent = 0
    print(f"{'command':<31}{'signals':>8}{'over before':>12}{'slowest SIGTERM':>17}  undisturbed")
    with tempfile.TemporaryDirectory() as name:
        ground = Path(name) / "ground"
        ground.mkdir()
        for command in commands(ground):
            if command.name not in given.only:
                continue
            folder = Path(name) / command.name.replace(" ", "-")
            folder.mkdir()
            command.learn(folder)
            left = max(1, round(SHARES[command.name] * given.signals / 100))
            count, turn = left, 0
            while left:
                in_a_row = min(left, draw.choice((1, 1, 2)))
                kinds = [(signal.SIGKILL, signal.SIGTERM)[(turn + n) % 2] for n in range(in_a_row)]
                command.disturb(folder / f"r{turn}", kinds, draw)
                left, turn = left - in_a_row, turn + in_a_row
            print(
                f"{command.name:<31}{count:>8}{command.ended_first:>12}{command.slowest_term:>15.1f} s"
                f"{command.seconds:>11.1f} s",
                flush=True,
            )
            for fault in command.faults:
                print(f"  FAULT {fault}", flush=True)
            faults, sent = faults + len(command.faults), sent + count - command.ended_first
    what = f"{sent} kills at any moment of {len(given.only)} commands, seed {given.seed}: faults"
    report(Measured("faults", what, (faults,), "", at_most=0.0))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
