"""Which runs a printed table takes: each row as the arguments of ``evcap train``, or the reason why it is not trained.

A run's folder is named by system, features, modules and seed, so that tables share a folder and train a row of both
once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli import plugins
from evcap_cli.errors import UsageError
from evcap_cli.scoring.published_rows import published_rows
from evcap_cli.training.recipe_tables import FUSION
from evcap_experiments.runs import data_set_digest, plan_seeds

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.scoring.published_rows import PublishedRow, Table
    from evcap_experiments.runs import Parse, SeedRuns, TrainingRun

MODULES: Final = ("fine-grained", "audio-visual")
MANAGED: Final = {
    "model": "--model",
    "without": "--without",
    "output": "-o",
    "overwrite": "--overwrite",
    "print_config": "--print-config",
    "push_to_hub": "--push-to-hub",
}
"""Parameters of ``evcap train`` that the rows decide."""


@dataclass(frozen=True)
class PlannedRow:
    """One printed row and what it takes here.

    Args:
        printed: the row. backbone: preset it is trained with.
        trained: its runs; None where it is not trained.
        reason: why it is not trained. note: how the runs differ from what the row names. title: of them, where it does.
    """

    printed: PublishedRow
    backbone: str
    trained: SeedRuns | None = None
    reason: str = ""
    note: str = ""
    title: str = ""

    @property
    def runs(self) -> tuple[TrainingRun, ...]:
        """One a seed; none where the row is not trained."""
        return self.trained.runs if self.trained else ()


def plan_table(
    table: Table,
    root: DataRoot,
    folder: Path,
    arguments: Sequence[str],
    parse: Parse,
    *,
    backbone: str | None = None,
    seeds: Sequence[int] = (0,),
) -> list[PlannedRow]:
    """The rows of ``table`` in printed order.

    Args:
        table: which.
        root: the data set, read.
        folder: where a folder a run goes.
        arguments: of ``evcap train``, the same for all rows.
        parse: reads them; an unknown option is found here, before any work.
        backbone: preset for all rows; None takes the one that each row was printed with.
        seeds: one run a row for each.

    Raises:
        UsageError: options that the rows decide, a recipe that cannot be read, scores of other settings in ``folder``.
        DataError: the file of --glove or --extra-captions cannot be read.
    """
    data_set = data_set_digest(root)
    rows = []
    for printed in published_rows(table):
        row = _as_trained(printed, backbone or printed.backbone)
        given = ["--backbone", row.backbone, *arguments]
        _check_managed(parse(given))
        if not row.reason:
            modules = [part for name in printed.without for part in ("--without", name)]
            places = {seed: folder / run_name(printed, row.backbone, seed) for seed in seeds}
            given += ["--model", printed.model, *modules]
            row = replace(row, trained=plan_seeds(given, places.__getitem__, seeds, parse, data_set))
        rows.append(row)
    return rows


def _as_trained(printed: PublishedRow, backbone: str) -> PlannedRow:
    """The row without its runs: how what is trained here differs from what it names, or why nothing is."""
    spec = plugins.systems().get(printed.model)
    if spec is None:
        return PlannedRow(printed, backbone, reason=f"no system {printed.model!r} is installed")
    if printed.model == FUSION or spec.shown == printed.system:
        return PlannedRow(printed, backbone)
    return PlannedRow(printed, backbone, note=f"trained as {spec.shown}: {spec.about}", title=spec.shown)


def run_name(row: PublishedRow, backbone: str, seed: int) -> str:
    """The folder of a run: ``fusion-clip-without-audio-visual-seed0``."""
    left_out = {0: "", len(MODULES): "-without-both"}.get(len(row.without), f"-without-{'-'.join(row.without)}")
    return f"{row.model}-{backbone}{left_out}-seed{seed}"


def _check_managed(parameters: Mapping[str, Any]) -> None:
    for name, flag in MANAGED.items():
        if parameters.get(name) not in (None, False, [], ()):
            raise UsageError(
                f"{flag} cannot be given here: the rows of the table decide it",
                hint="`evcap train` takes it for a single run",
            )
    if not parameters.get("test", True):
        raise UsageError("--no-test leaves nothing to compare with the printed scores", hint="leave it out")
