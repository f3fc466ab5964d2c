"""``evcap reproduce``: the rows of a printed table, trained one after another, next to the printed scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.data.parts import Subset
    from evcap_cli.scoring.published_rows import Table
    from evcap_experiments.reproduction.table_plan import PlannedRow

FOLDER = Path("reproduced")


def register(app: typer.Typer) -> None:
    """Add the command; what it does not know itself is for ``evcap train``."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(reproduce)


def reproduce(
    context: typer.Context,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="table1, table2 or table3.")],
    data: Annotated[
        Path | None, typer.Option("--data", envvar="EVCAP_DATA", metavar="ROOT", help="EmVidCap data root.")
    ] = None,
    videos: Annotated[
        Path | None, typer.Option("--videos", metavar="DIR", help="Folder of the videos.", show_default="ROOT/videos")
    ] = None,
    features: Annotated[
        Path | None, typer.Option("--features", metavar="ROOT", help="Published features instead of videos.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="A folder a row, and the table; tables may share it.")
    ] = FOLDER,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of each row's first run.", show_default="the recipe's: 0")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, metavar="N", help="Train each row with N seeds.")] = 1,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, show_default="30")] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="A recipe of evcap train.", show_default="paper")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="One preset for all rows.", show_default="as printed")
    ] = None,
    captions: Annotated[
        list[Path] | None,
        typer.Option("--captions", metavar="FILE", help="Captions of a captioner not trained here, as a row; repeats."),
    ] = None,
    rows: Annotated[
        Literal["literature"] | None, typer.Option("--rows", help="Rows that were printed since the paper.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show every row's command and how long it may take, and stop.")
    ] = False,
    config: shared.Config = None,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
) -> None:
    """Train every row of one of the paper's tables and put the scores beside the printed ones.

    Takes the other options of evcap train too, after TABLE. A rerun of the same command goes on where it stopped.

    Example: evcap reproduce table3 --data EPAN/ --videos clips/ -o reproduced
    """
    from evcap_cli.data.emvidcap import HOW_TO_GET
    from evcap_cli.scoring.prediction_files import read_predictions
    from evcap_cli.scoring.published_rows import Table
    from evcap_experiments.reproduction.compared_rows import compare_rows, title_of
    from evcap_experiments.reproduction.reproduction import reproduce_table
    from evcap_experiments.reproduction.table_pages import to_text
    from evcap_experiments.reproduction.table_plan import plan_table
    from evcap_experiments.runs import recipe_of, train_parser

    if table not in get_args(Table):
        raise UsageError(
            f"{table!r} is not a table of the paper", hint=f"first of all give {' or '.join(get_args(Table))}"
        )
    if data is None:
        raise UsageError("no data set to train on", hint=HOW_TO_GET)
    chosen = cast("Table", table)
    given: list[str] = ["--data", str(data)]
    paired = {"--videos": videos, "--features": features, "--epochs": epochs, "--recipe": recipe, "--config": config}
    for flag, value in paired.items():
        given += [] if value is None else [flag, str(value)]
    given += [*context.args, *(["--quiet"] if quiet else []), *(["--verbose"] if verbose else [])]
    parse = train_parser(context)
    parameters = parse(given)
    root = _open(data, parameters["subset"])
    first = recipe_of(parameters).train.seed if seed is None else seed
    numbers = range(first, first + seeds)
    planned = plan_table(chosen, root, output, given, parse, backbone=backbone, seeds=numbers)
    files = {path: read_predictions(path) for path in captions or []}
    if dry_run:
        for path, predictions in files.items():
            console.answer(f"{title_of(path, predictions)}: scored, not trained")
        _show(planned, root)
        return
    compared = compare_rows(files, root, literature=rows is not None)
    result, code = reproduce_table(chosen, planned, root, output, compared)
    console.data(to_text(result))
    raise typer.Exit(code)


def _open(data: Path, subset: Subset) -> DataRoot:
    from evcap_cli.data.emvidcap import HOW_TO_GET, DataRoot

    root = DataRoot.open(data, subset)
    for split, videos in (("train", root.train), ("test", root.test)):
        if not videos:
            raise DataError(f"has no {split} captions: a table needs both splits", path=data, hint=HOW_TO_GET)
    return root


def _show(rows: Sequence[PlannedRow], root: DataRoot) -> None:
    """The plan, on standard output."""
    from evcap_experiments.estimates import show_runs, show_time

    for row in rows:
        console.answer(f"{row.printed.system} ({row.printed.backbone} features): {_state(row)}")
        if row.note:
            console.answer(f"  {row.note}")
        show_runs(row.runs)
    show_time([row.trained for row in rows if row.trained], root)


def _state(row: PlannedRow) -> str:
    if not row.runs:
        return f"not trained here: {row.reason}"
    done = sum(run.done for run in row.runs)
    return f"{done} of {len(row.runs)} done" if len(row.runs) > 1 else "done" if done else "to do"
