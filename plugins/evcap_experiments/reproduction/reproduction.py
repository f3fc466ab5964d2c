"""The rows of a table trained one after another, the written table up to date after each run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli import console
from evcap_experiments.reproduction.table_pages import write_tables
from evcap_experiments.reproduction.table_results import TableResult, collect
from evcap_experiments.runs import TrainingRun
from evcap_experiments.work_loop import Failures, train_with_messages, work_through

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.scoring.published_rows import Table
    from evcap_experiments.reproduction.compared_rows import ComparedRow
    from evcap_experiments.reproduction.table_plan import PlannedRow


def reproduce_table(
    table: Table, rows: Sequence[PlannedRow], root: DataRoot, folder: Path, compared: tuple[ComparedRow, ...] = ()
) -> tuple[TableResult, int]:
    """Train what is not done of a table.

    Args:
        table: which.
        rows: of it.
        root: the data set, read.
        folder: for the written table.
        compared: rows below the table that are not trained here.

    Returns:
        What came out, and the exit code of ``evcap reproduce``.

    Raises:
        WriteError: no permission, a full disk.
        typer.Exit: interrupted; what is done is kept and reported.
    """
    pairs = [(row, run) for row in rows for run in row.runs]
    failures: Failures = {}

    def carry_out(title: str, run: TrainingRun) -> None:
        if run.done:
            console.info(f"{title}: done, in {run.folder}")
        else:
            train_with_messages(title, run)

    code = work_through(
        [(number, row.printed.system, run) for number, (row, run) in enumerate(pairs, 1)],
        carry_out,
        report=lambda: write_tables(folder, collect(table, rows, root, failures, compared)),
        count=lambda: (sum(run.done for _, run in pairs), len(pairs)),
        folder=folder,
        failures=failures,
    )
    result = collect(table, rows, root, failures, compared)
    console.info(f"wrote {', '.join(map(str, write_tables(folder, result)))}")
    return result, code
