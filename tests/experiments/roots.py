"""A small data root, and how tests of the reproduction read train's options and make finished runs."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from evcap_experiments.reproduction.table_plan import PlannedRow
from evcap_experiments.runs import TrainingRun

from evcap_cli import app
from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.scoring.metrics import METRICS
from tests.features.films import make_film
from tests.training import toy

TRAINED, TESTED = 5, 2


def write_root(root: Path, *, films: bool = False) -> Path:
    """Captions, lexicon and a tiny recipe; with ``films`` also what they are of."""
    captions = toy.captions(TRAINED + TESTED)
    for split, videos in (("trainval", list(captions)[:TRAINED]), ("test", list(captions)[TRAINED:])):
        folder = root / "data" / "EmVidCap-L"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [f"{video}\t{text}" for video in videos for text in captions[video]]
        (folder / f"EmVideo_{split}_captions.csv").write_text("\n".join(["VideoID\tEmCaptions", *rows]) + "\n")
    words = root / "EmotionEval" / "sentiment-words-E"
    words.mkdir(parents=True)
    for category, entries in toy.LEXICON.table.items():
        (words / f"{category}.txt").write_text("\n".join(entries))
    (root / "tiny.toml").write_text(toy.recipe_text(epochs=2))
    (root / "videos").mkdir()
    for number in range(TRAINED + TESTED if films else 0):
        make_film(root / "videos" / f"{number}.mp4", frames=12, seed=number)
    return root


def opened(root: Path) -> DataRoot:
    return DataRoot.open(root, "L")


@functools.cache
def evcap() -> Any:
    return typer.main.get_command(app.build())


def parse(arguments: Sequence[str]) -> Mapping[str, Any]:
    """What ``evcap train`` makes of its arguments."""
    command = evcap()
    with (
        command.make_context("evcap", ["train"]) as outer,
        command.commands["train"].make_context("train", list(arguments), parent=outer) as context,
    ):
        return dict(context.params)


def finish(
    run: TrainingRun, value: float, *, margin: float = 2.0, videos: int = TESTED, notes: Sequence[str] = ()
) -> None:
    """The files of a finished run: every metric is ``value``, METEOR was not computed."""
    run.begin()
    metrics = {name: None if name == "meteor" else value for name in METRICS}
    intervals = {name: [value - 2, value + 2] for name in METRICS if name != "meteor"}
    scores = {"metrics": metrics, "videos": videos, "intervals": intervals, "notes": list(notes)}
    (run.folder / "test.json").write_text(json.dumps(scores))


def runs(rows: Sequence[PlannedRow]) -> list[TrainingRun]:
    return [run for row in rows for run in row.runs]
