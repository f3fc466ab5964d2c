"""``evcap reproduce``: the rows of a printed table, trained one after another, beside the print."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from evcap_cli import console
from evcap_cli.clocks import roughly
from evcap_cli.commands import options as shared
from evcap_cli.console import counted
from evcap_cli.errors import (
    EXIT_INTERRUPTED,
    EXIT_NOTHING_DONE,
    EXIT_SOME_FAILED,
    DataError,
    TrainingError,
    UsageError,
)

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot, Subset
    from evcap_cli.scoring.published_rows import Table
    from evcap_experiments.reproduction.table_plan import PlannedRow, Run

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
    from evcap_cli.scoring.published_rows import Table
    from evcap_experiments.reproduction.table_plan import plan, recipe_of

    if table not in get_args(Table):
        raise UsageError(
            f"{table!r} is not a table of the paper", hint=f"first of all give {' or '.join(get_args(Table))}"
        )
    if data is None:
        raise UsageError("no data set to train on", hint=HOW_TO_GET)
    given: list[str] = ["--data", str(data)]
    paired = {"--videos": videos, "--features": features, "--epochs": epochs, "--recipe": recipe, "--config": config}
    for flag, value in paired.items():
        given += [] if value is None else [flag, str(value)]
    given += [*context.args, *(["--quiet"] if quiet else []), *(["--verbose"] if verbose else [])]
    train = TrainOptions(context)
    parameters = train.parse(given)
    root = _open(data, parameters["subset"])
    first = recipe_of(parameters).train.seed if seed is None else seed
    numbers = range(first, first + seeds)
    rows = plan(cast("Table", table), root, output, given, train.parse, backbone=backbone, seeds=numbers)
    if dry_run:
        _show(rows, root)
        return
    work = _Work(cast("Table", table), rows, root, output)
    work.run()
    console.data(work.text())
    raise typer.Exit(work.exit_code)


class TrainOptions:
    """``evcap train`` as the parser knows it: wrong options are found before any row begins."""

    def __init__(self, context: typer.Context) -> None:
        self.root = context.find_root()
        self.command = cast("Any", self.root.command).commands["train"]

    def parse(self, arguments: Sequence[str]) -> Mapping[str, Any]:
        """Values of its parameters, defaults included."""
        with self.command.make_context("train", list(arguments), parent=self.root) as context:
            return dict(context.params)


def _open(data: Path, subset: Subset) -> DataRoot:
    from evcap_cli.data.emvidcap import HOW_TO_GET, DataRoot

    root = DataRoot.open(data, subset)
    for split, videos in (("train", root.train), ("test", root.test)):
        if not videos:
            raise DataError(f"has no {split} captions: a table needs both splits", path=data, hint=HOW_TO_GET)
    return root


def _show(rows: Sequence[PlannedRow], root: DataRoot) -> None:
    """The plan, on standard output."""
    from evcap_experiments.estimates import estimate

    for row in rows:
        console.answer(f"{row.printed.system} ({row.printed.backbone} features): {_state(row)}")
        if row.note:
            console.answer(f"  {row.note}")
        for run in row.runs:
            console.answer(f"  {'done   ' if run.done else 'to do  '}{shlex.join(['evcap', 'train', *run.arguments])}")
    found = estimate(rows, root, _widths(rows))
    console.answer(f"time to go: {f'about {roughly(found.seconds)}' if found.seconds else 'none'} ({found.source})")


def _state(row: PlannedRow) -> str:
    if not row.runs:
        return f"not trained here: {row.reason}"
    done = sum(run.done for run in row.runs)
    return f"{done} of {len(row.runs)} done" if len(row.runs) > 1 else "done" if done else "to do"


def _widths(rows: Sequence[PlannedRow]) -> dict[str, int]:
    """Kind -> width of the backbones that will be used; none of them is loaded."""
    from evcap_cli.backbones.loading import make_backbone
    from evcap_cli.backbones.presets import backbone_addresses

    given = next(row.parameters for row in rows if row.runs)
    settings = shared.backbone_settings(given["config"], given["weights"], given["option"])
    overrides = shared.overrides(given["appearance"], given["motion"], given["object_"], given["audio"])
    addresses = backbone_addresses(given["backbone"], overrides, settings.presets)
    return {kind: make_backbone(kind, address, settings.options).spec.dim for kind, address in addresses.items()}


@dataclass
class _Work:
    """All runs of a table, one after another; the table in the folder is up to date after each."""

    table: Table
    rows: Sequence[PlannedRow]
    root: DataRoot
    folder: Path
    failures: dict[Path, str] = field(default_factory=dict)

    def run(self) -> None:
        """Train what is not done."""
        from evcap_experiments.reproduction.table_pages import write_tables

        todo = [(row, run) for row in self.rows for run in row.runs]
        write_tables(self.folder, self._result())
        for number, (row, run) in enumerate(todo, 1):
            title = f"[{number}/{len(todo)}] {row.printed.system}, seed {run.seed}"
            if run.done:
                console.info(f"{title}: done, in {run.folder}")
                continue
            console.info(f"{title}: evcap train ... -o {run.folder}")
            try:
                self._train(run, title)
            except KeyboardInterrupt:
                console.notice(self._interrupted())
                raise typer.Exit(EXIT_INTERRUPTED) from None
            write_tables(self.folder, self._result())
        written = ", ".join(str(path) for path in write_tables(self.folder, self._result()))
        console.info(f"wrote {written}")

    def _train(self, run: Run, title: str) -> None:
        from evcap_experiments.training_process import train

        try:
            train(run, lambda line: console.info(f"  {line}"))
        except TrainingError as problem:
            self.failures[run.folder] = problem.message
            console.error(f"{title}: {problem}")

    def _result(self) -> Any:
        from evcap_experiments.reproduction.table_results import collect

        return collect(self.table, self.rows, self.root, self.failures)

    def text(self) -> str:
        """The table for the terminal."""
        from evcap_experiments.reproduction.table_pages import to_text

        return to_text(self._result())

    def _interrupted(self) -> str:
        done = sum(run.done for row in self.rows for run in row.runs)
        return f"interrupted: {counted(done, 'run')} finished, kept in {self.folder}; run the same command to go on"

    @property
    def exit_code(self) -> int:
        """0 where all runs are done, 1 where none is, else 3."""
        done = [run.done for row in self.rows for run in row.runs]
        return 0 if all(done) else EXIT_SOME_FAILED if any(done) else EXIT_NOTHING_DONE
