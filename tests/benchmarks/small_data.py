"""Captioners from few or machine-made captions: the experiments of docs/your-own.md, with intervals.

    python -m tests.benchmarks.small_data labels FOLDER    a system trained on the demo checkpoint's labels of unseen
                                                           clips, next to one trained on true captions of these clips
                                                           and to the labelling checkpoint itself
    python -m tests.benchmarks.small_data shift FOLDER     ``train --init demo`` on a few clips of another world, next
                                                           to training from nothing; what is left of the old world

Every step is a command of evcap that goes on where it was, so a stopped experiment does too. Intervals of 95 % are over
seeds and clips (crossed, ``study/crossed_bootstrap.py``); the checkpoint that is there before has no seeds.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from evcap_experiments.caption_judging import judge
from evcap_experiments.rates import markdown_table
from evcap_experiments.study.conditions import MEASURES
from evcap_experiments.study.crossed_bootstrap import RESAMPLINGS, Series, clip_replicates, difference, mean

from evcap_cli.data.caption_text import normalise
from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.demo.facts import ClipFacts
from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.layout import TEST, read_world
from evcap_cli.demo.variant_wording import wording_of
from evcap_cli.scoring.metric_parts import measure
from evcap_cli.scoring.resampling import replicates
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.processes import evcap_command

LEFT_OUT = "needs a folder and a night"
BATCH = 64
"""Captions a step, as the recipe has it."""
METRICS = {"cfs": "CFS", "acc_sw": "Acc_sw"}
RIGHT = {
    "emotion": ("emotion right", 0),
    "action with roles": ("two subjects: roles and action right", 2),
    "any role": ("two subjects: both and action, any role", 2),
}
"""Measure -> its title, and the number of subjects of the clips that it is taken of (0: any)."""


@dataclass
class Experiment:
    """Where its files are, and how its runs are trained.

    Args:
        folder: of everything.
        train: options of every ``evcap train``.
        seeds: of the runs.
        steps: of every run, as whole epochs; 0: the epochs of the recipe or the checkpoint.
    """

    folder: Path
    train: Sequence[str]
    seeds: Sequence[int]
    steps: int = 0
    lines: list[str] = field(default_factory=list)

    def evcap(self, *arguments: object) -> None:
        """One command, shown in the report."""
        self.lines.append(shlex.join(["evcap", *map(str, arguments)]))
        cache = ["--cache-dir", self.folder / "cache"] if arguments[0] in ("train", "caption", "label") else []
        subprocess.run(evcap_command(*arguments, *cache), check=True, cwd=self.folder)

    def world(self, name: str, *options: object) -> None:
        """Draw a demo world."""
        self.evcap("demo-world", name, *options)

    def runs(self, name: str, data: str, *start: object) -> dict[int, Path]:
        """Train a system with every seed, from nothing or from ``start``; with ``steps`` each for about as many."""
        options: list[object] = [*(start or ("--backbone", "lite", "--recipe", "demo")), "--data", data, *self.train]
        if self.steps:
            captions = DataRoot.open(self.folder / data).train
            # a tenth of the videos is held out
            an_epoch = 0.9 * sum(map(len, captions.values())) / BATCH
            options += ["--epochs", round(self.steps / an_epoch) or 1]
        for seed in self.seeds:
            self.evcap("train", *options, "--no-test", "--seed", seed, "-o", f"{name}-{seed}")
        return {seed: self.folder / f"{name}-{seed}" for seed in self.seeds}

    def captions(self, checkpoint: str | Path, world: str) -> dict[str, str]:
        """Captions of a world's test split; kept as long as the checkpoint is the same file."""
        name = Path(checkpoint).name
        out = self.folder / f"{name}-on-{world}.jsonl"
        self.evcap("caption", f"{world}/videos/Test", "-c", name if str(checkpoint) != name else checkpoint, "-o", out)
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        return {row["id"]: row["captions"][0]["text"] for row in rows if row["captions"]}


class Results:
    """Captions of systems by seed, judged on the clips of one world."""

    def __init__(self, clips: Sequence[ClipFacts]) -> None:
        self.clips = clips
        self.lexicon = wording_of(variant=clips[0].variant).lexicon
        self.series: dict[str, dict[str, Series]] = {}

    def add(self, system: str, by_seed: Mapping[int, Mapping[str, str]]) -> None:
        """Measure a system's captions, by seed."""
        references = {clip.id: [normalise(text) for text in write_captions(clip)] for clip in self.clips}
        found: dict[str, list[tuple[float, np.ndarray]]] = {}
        for captions in by_seed.values():
            texts = {clip.id: normalise(captions.get(clip.id, "")) for clip in self.clips}
            parts = measure(texts, references, self.lexicon)
            values, resampled = parts.values(), replicates(parts, RESAMPLINGS, 0)
            for metric in METRICS:
                found.setdefault(metric, []).append((float(values[metric] or 0.0), resampled[metric]))
            for name, (_, subjects) in RIGHT.items():
                clips = [clip for clip in self.clips if subjects in (0, len(clip.subjects))]
                right = [bool(MEASURES[name][1](judge(clip, texts[clip.id]))) for clip in clips]
                shares = 100 * np.array([right], dtype=np.float64)
                found.setdefault(name, []).append((float(shares.mean()), clip_replicates(shares, RESAMPLINGS, 0)[0]))
        seeds = tuple(by_seed)
        self.series[system] = {
            name: Series(seeds, np.array([v for v, _ in several]), np.stack([r for _, r in several]), len(self.clips))
            for name, several in found.items()
        }

    def table(self) -> str:
        """A row a measure, a column a system."""
        titles = {**{name: title for name, (title, _) in RIGHT.items()}, **METRICS}
        rows = {title: [self._cell(of[name]) for of in self.series.values()] for name, title in titles.items()}
        return markdown_table("", list(self.series), rows)

    @staticmethod
    def _cell(series: Series) -> str:
        found = mean(series)
        return f"{found.value:.1f} ({found.low:.1f} to {found.high:.1f})"

    def contrast(self, this: str, other: str) -> str:
        """How far a system is above another, by measure."""
        shown = []
        for name in (*RIGHT, *METRICS):
            found = difference(self.series[this][name], self.series[other][name])
            if found is not None:
                title = METRICS.get(name) or RIGHT[name][0]
                gain, spread = found.this - found.other, f"{found.low:+.1f} to {found.high:+.1f}, of 95 %"
                report(Measured(f"{this}/{name}", f"{this} against {other}: {title}", (gain,), "points", note=spread))
                shown.append(f"{title} {found.this - found.other:+.1f} ({found.low:+.1f} to {found.high:+.1f})")
        return f"{this} - {other}: {'; '.join(shown)}"


def labels(experiment: Experiment, clips: int, unseen: int, per_video: int) -> str:
    """A system trained on labels only, on true captions, and the labelling checkpoint, on unseen clips."""
    experiment.world("clips", "--videos", clips, "--seed", 21, "--test-share", 0)
    experiment.world("unseen", "--videos", unseen, "--seed", 5, "--test-share", 1)
    if not (experiment.folder / "labelled" / "origin.json").exists():  # written last, and not written over
        experiment.evcap(
            "label", "clips/videos", "-c", "demo", "-o", "labelled", "--captions", per_video, "--test-share", 0
        )
    student = experiment.runs("labels", "labelled")
    taught = experiment.runs("captions", "clips")
    results = Results(read_world(experiment.folder / "unseen").of(TEST))
    for name, runs in (("labels of the checkpoint", student), ("true captions", taught)):
        results.add(name, {seed: experiment.captions(run, "unseen") for seed, run in runs.items()})
    results.add("the checkpoint", {0: experiment.captions("demo", "unseen")})
    return f"{results.table()}\n\n{results.contrast('labels of the checkpoint', 'true captions')}"


def shift(experiment: Experiment, clips: int, unseen: int) -> str:
    """Fine-tuned on a few clips of another world against from nothing, and on the old world before and after."""
    experiment.world("few", "--variant", "--videos", clips, "--seed", 1, "--test-share", 0)
    experiment.world("new", "--variant", "--videos", unseen, "--seed", 9, "--test-share", 1)
    experiment.world("old", "--videos", unseen, "--seed", 5, "--test-share", 1)
    ways = {
        "--init demo": experiment.runs("init", "few", "--init", "demo"),
        "from nothing": experiment.runs("nothing", "few"),
    }
    results = Results(read_world(experiment.folder / "new").of(TEST))
    for name, runs in ways.items():
        results.add(name, {seed: experiment.captions(run, "new") for seed, run in runs.items()})
    old = Results(read_world(experiment.folder / "old").of(TEST))
    old.add("the checkpoint", {0: experiment.captions("demo", "old")})
    old.add("--init demo", {seed: experiment.captions(run, "old") for seed, run in ways["--init demo"].items()})
    contrast = results.contrast("--init demo", "from nothing")
    return f"{results.table()}\n\n{contrast}\n\nOn the old world:\n\n{old.table()}"


def main() -> None:
    """Print commands and tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("which", choices=("labels", "shift"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clips", type=int, help="to learn from (labels: 400, shift: 60)")
    parser.add_argument("--unseen", type=int, default=480, help="clips of the exam")
    parser.add_argument("--captions", type=int, default=5, help="labels a clip")
    parser.add_argument("--train", default="--device cpu", help="options of every training, as one argument")
    parser.add_argument("--steps", type=int, default=0, help="of each training, in place of epochs")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(given.folder.resolve(), shlex.split(given.train), range(given.seeds), given.steps)
    if given.which == "labels":
        shown = labels(experiment, given.clips or 400, given.unseen, given.captions)
    else:
        shown = shift(experiment, given.clips or 60, given.unseen)
    print("\n".join(f"    {line}" for line in experiment.lines))
    print(f"\n{shown}")


if __name__ == "__main__":
    main()
