"""The rows of a table trained one after another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli import console
from evcap_experiments.reproduction.table_pages import write_tables
from evcap_experiments.reproduction.table_results import TableResult, collect
from evcap_experiments.runs import TrainingRun
from evcap_experiments.work_loop import WorkLoop

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.scoring.published_rows import Table
    from evcap_experiments.reproduction.table_plan import PlannedRow


@dataclass(kw_only=True)
class Reproduction(WorkLoop):
    """All runs of a table.

    Args:
        table: which. rows: of it. root: the data set, read.
    """

    table: Table
    rows: Sequence[PlannedRow]
    root: DataRoot

    @property
    def done(self) -> int:
        """Runs with test scores."""
        return sum(run.done for row in self.rows for run in row.runs)

    @property
    def total(self) -> int:
        """Runs of all rows."""
        return sum(len(row.runs) for row in self.rows)

    def jobs(self) -> Iterable[tuple[int, str, TrainingRun]]:
        """Every run, in printed order."""
        pairs = [(row, run) for row in self.rows for run in row.runs]
        return [(number, row.printed.system, run) for number, (row, run) in enumerate(pairs, 1)]

    def carry_out(self, title: str, run: TrainingRun) -> None:
        """Train what is not done."""
        if run.done:
            console.info(f"{title}: done, in {run.folder}")
        else:
            self.train_run(title, run)

    def result(self) -> TableResult:
        """The table so far."""
        return collect(self.table, self.rows, self.root, self.failures)

    def report(self) -> list[Path]:
        """The table as Markdown, page and JSON."""
        return write_tables(self.folder, self.result())
