"""What came of a table: scores of each row next to the printed ones, and what keeps them from being compared.

All values x 100, as printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from evcap_cli.console import counted, noun
from evcap_cli.errors import DataError
from evcap_cli.reading.typed import read_json
from evcap_cli.scoring.metrics import METRICS
from evcap_cli.scoring.published_rows import SOURCE
from evcap_experiments.runs import SCORES, recipe_values

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.scoring.published_rows import Table
    from evcap_cli.training.recipe import Recipe
    from evcap_experiments.reproduction.compared_rows import ComparedRow
    from evcap_experiments.reproduction.table_plan import PlannedRow
    from evcap_experiments.runs import TrainingRun

RowState = Literal["done", "part", "to do", "failed", "not trained"]
SCHEMA: Final = 1
TEST_VIDEOS, TEST_CAPTIONS = 382, 6527
"""EmVidCap-L's test split (the paper, section 2)."""
PER_KIND: Final = ("appearance", "motion", "object_", "audio")


@dataclass(frozen=True)
class Value:
    """One metric of one row as it came out.

    Args:
        value: of the run, the mean of several. interval: 95 % over resampled test videos; of several runs from the
            lowest end to the highest. spread: lowest and highest run, where there are several.
    """

    value: float
    interval: tuple[float, float] | None = None
    spread: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class RunScores:
    """test.json of a finished run, as far as it is read here."""

    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    videos: int
    notes: tuple[str, ...] = ()


def read_scores(run: TrainingRun) -> RunScores:
    """The test scores of a finished run.

    Raises:
        DataError: they are not what ``evcap train`` writes.
    """
    path, hint = run.folder / SCORES, "remove the file: the run is then tested again"
    found = read_json(RunScores, path, hint=hint)
    missing = [name for name in METRICS if name not in found.metrics]
    if missing:
        raise DataError(f"metrics.{missing[0]}: is missing", path=path, hint=hint)
    return replace(found, metrics={name: found.metrics[name] for name in METRICS})


@dataclass(frozen=True)
class RowResult:
    """A row with what came out of it so far.

    Args:
        scored: scores of finished runs, failures: why runs failed; both by seed.
    """

    row: PlannedRow
    scored: Mapping[int, RunScores] = field(default_factory=dict)
    failures: Mapping[int, str] = field(default_factory=dict)

    @property
    def state(self) -> RowState:
        """``part``: some of its seeds are done."""
        if not self.row.runs:
            return "not trained"
        if len(self.scored) == len(self.row.runs):
            return "done"
        if self.failures:
            return "failed"
        return "part" if self.scored else "to do"

    @property
    def reason(self) -> str:
        """Why a number is missing; empty where none is."""
        return self.row.reason or next(iter(self.failures.values()), "")

    @property
    def printed(self) -> dict[str, float]:
        """Metric -> printed value."""
        return self.row.printed.metrics

    def ours(self, metric: str) -> Value | None:
        """What came out; None where nothing did, or the metric was not computed."""
        values = [run.metrics[metric] for run in self.scored.values()]
        known = [value for value in values if value is not None]
        if not known or len(known) < len(values):
            return None
        ends = [run.intervals[metric] for run in self.scored.values() if metric in run.intervals]
        interval = (min(low for low, _ in ends), max(high for _, high in ends)) if len(ends) == len(values) else None
        spread = (min(known), max(known)) if len(known) > 1 else None
        return Value(sum(known) / len(known), interval, spread)


@dataclass(frozen=True)
class TableResult:
    """A table with everything that a page of it says.

    Args:
        foreign: why no difference to the print means anything; empty where one does.
        notes: what else was done otherwise than in the paper.
        compared: rows below the table that are not trained here.
    """

    table: Table
    rows: tuple[RowResult, ...]
    foreign: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    compared: tuple[ComparedRow, ...] = ()

    def difference(self, result: RowResult, metric: str) -> float | None:
        """Ours minus the printed value, where that means something."""
        ours = result.ours(metric)
        return None if ours is None or self.foreign else ours.value - result.printed[metric]

    def gains(self) -> list[tuple[RowResult, dict[str, tuple[float, float | None]]]]:
        """Of an ablation: what each row gains over the one without any module, metric -> (printed, ours).

        Gains are within one data set, so that they can be compared with the printed ones on any.
        """
        base = next((result for result in self.rows if len(result.row.printed.without) == 2), None)
        if base is None:
            return []
        return [
            (
                result,
                {
                    metric: (result.printed[metric] - base.printed[metric], _gain(result, base, metric))
                    for metric in METRICS
                },
            )
            for result in self.rows
            if result is not base
        ]

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON: everything the pages show, unrounded."""
        return {
            "schema": SCHEMA,
            "table": self.table,
            "source": SOURCE,
            "metrics": list(METRICS),
            "comparable": not self.foreign,
            "not_comparable_because": list(self.foreign),
            "notes": list(self.notes),
            "rows": [self._row(result) for result in self.rows],
            "compared": [row.to_dict() for row in self.compared],
        }

    def _row(self, result: RowResult) -> dict[str, Any]:
        row = result.row
        values = {metric: result.ours(metric) for metric in METRICS}
        return {
            "system": row.printed.system,
            "model": row.printed.model,
            "features": row.printed.backbone,
            "without": list(row.printed.without),
            "printed": result.printed,
            "state": result.state,
            "reason": result.reason or None,
            "note": row.note or None,
            "trained_with": row.backbone if row.runs else None,
            "ours": {metric: None if value is None else asdict(value) for metric, value in values.items()},
            "difference": {metric: self.difference(result, metric) for metric in METRICS},
            "runs": [
                {"folder": run.folder.name, "seed": run.seed, **asdict(result.scored[run.seed])}
                for run in row.runs
                if run.seed in result.scored
            ],
        }


def _gain(result: RowResult, base: RowResult, metric: str) -> float | None:
    ours, without = result.ours(metric), base.ours(metric)
    return None if ours is None or without is None else ours.value - without.value


def collect(
    table: Table,
    rows: Sequence[PlannedRow],
    root: DataRoot,
    failures: Mapping[Path, str] | None = None,
    compared: tuple[ComparedRow, ...] = (),
) -> TableResult:
    """Read what is done.

    Args:
        table: which.
        rows: of it.
        root: the data set they are trained on.
        failures: folder of a run -> why it failed in this call.
        compared: rows below the table.

    Raises:
        DataError: test scores that cannot be read.
    """
    failed = failures or {}
    results = tuple(
        RowResult(
            row,
            {run.seed: read_scores(run) for run in row.runs if run.done},
            {run.seed: failed[run.folder] for run in row.runs if run.folder in failed},
        )
        for row in rows
    )
    found = dict.fromkeys([*notes(results, root), *(note for row in compared for note in row.notes)])
    return TableResult(table, results, tuple(foreign(rows, root)), tuple(found), compared)


def foreign(rows: Sequence[PlannedRow], root: DataRoot) -> list[str]:
    """What makes these numbers others than the printed ones are: another test set, lexicon or features."""
    found = []
    captions = sum(len(texts) for texts in root.test.values())
    if (len(root.test), captions) != (TEST_VIDEOS, TEST_CAPTIONS):
        found.append(
            f"the test split here has {counted(len(root.test), 'video')} with {counted(captions, 'caption')},"
            f" EmVidCap-L's {TEST_VIDEOS} with {TEST_CAPTIONS}"
        )
    if not root.lexicon.official:
        found.append(f"emotions are judged by the lexicon {root.lexicon.name!r}, not by EmVidCap's own")
    row = next((row for row in rows if row.trained), None)
    if row is not None and row.trained is not None:
        single = [str(row.trained.parameters[kind]) for kind in PER_KIND if row.trained.parameters.get(kind)]
        if row.backbone != row.printed.backbone or single:
            names = " with ".join([row.backbone, ", ".join(single)] if single else [row.backbone])
            found.append(f"trained on {names} features, the print on {row.printed.backbone}")
    return found


def notes(results: Sequence[RowResult], root: DataRoot) -> list[str]:
    """What was done otherwise than in the paper, and the notes of runs on their scores."""
    found = [f"{result.row.printed.system}: {result.row.note}" for result in results if result.row.note]
    trained = [result.row.trained for result in results if result.row.trained]
    if trained:
        found += _recipe_notes([row.recipe for row in trained])
        if not trained[0].parameters.get("glove"):
            found.append("word vectors start at random: no --glove was given")
    for result in results:
        name = result.row.printed.system
        if result.reason:
            found.append(f"{name}: {'not trained here: ' if not result.row.runs else 'failed: '}{result.reason}")
        expected = counted(len(root.test), "test video")
        found += [
            f"{name}, seed {seed}: {run.videos} of {expected} {noun(len(root.test), 'was', 'were')} scored"
            for seed, run in result.scored.items()
            if run.videos < len(root.test)
        ]
    found += [note for result in results for run in result.scored.values() for note in run.notes]
    return list(dict.fromkeys(found))


def _recipe_notes(recipes: Sequence[Recipe]) -> list[str]:
    """What the recipe changes; what it changes in all systems alike is named once."""
    from evcap_cli.training.recipe import load_recipe

    left_out = ("seed", "store", "precision", "fine_grained", "audio_visual")
    changed: dict[str, list[str]] = {}
    for recipe in recipes:
        published = recipe_values(load_recipe("paper", recipe.system))
        changed[recipe.system] = [
            f"{name} {value} instead of {published[name]}"
            for name, value in recipe_values(recipe).items()
            if name not in left_out and value != published[name]
        ]
    everywhere = [each for each in next(iter(changed.values())) if all(each in others for others in changed.values())]
    by_system = {"": everywhere, **{system: [e for e in own if e not in everywhere] for system, own in changed.items()}}
    name = recipes[0].name
    return [
        f"recipe {name}{f' for {system}' if system and len(changed) > 1 else ''}: {', '.join(each)}"
        for system, each in by_system.items()
        if each
    ]
