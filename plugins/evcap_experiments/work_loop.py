"""The runs of an experiment one after another, its report up to date after each.

A run that fails is named in the report and the next one begins. An interrupt says what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from evcap_cli import console
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_INTERRUPTED, EXIT_NOTHING_DONE, EXIT_SOME_FAILED, TrainingError
from evcap_experiments.runs import TrainingRun
from evcap_experiments.training_process import train

Train = Callable[[TrainingRun, Callable[[str], None]], None]
"""Trains a run to its end and passes on its messages, as ``training_process.train`` does."""
Failures = dict[Path, str]
"""Folder of a run -> why it failed in this call."""


def work_through(
    jobs: Iterable[tuple[int, str, TrainingRun]],
    carry_out: Callable[[str, TrainingRun], None],
    report: Callable[[], object],
    count: Callable[[], tuple[int, int]],
    *,
    folder: Path,
    failures: Failures,
) -> int:
    """Carry out all jobs.

    Args:
        jobs: number, system and run of each.
        carry_out: does what is missing of a run, by its title; a TrainingError fails that run only.
        report: writes what is known so far.
        count: requested runs that are done, and all requested ones.
        folder: of the experiment, where everything is kept.
        failures: filled.

    Returns:
        The exit code: 0 where all runs are done, 1 where none is, else 3.

    Raises:
        typer.Exit: interrupted; what is done is kept and reported.
    """
    try:
        report()
        for number, system, run in jobs:
            title = f"[{number}/{count()[1]}] {system}, seed {run.seed}"
            try:
                carry_out(title, run)
            except TrainingError as problem:
                failures[run.folder] = problem.message
                console.error(f"{title}: {problem}")
            report()
    except KeyboardInterrupt:
        kept = f"{counted(count()[0], 'run')} finished, kept in {folder}"
        console.notice(f"interrupted: {kept}; run the same command to go on")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    done, total = count()
    return 0 if done == total else EXIT_SOME_FAILED if done else EXIT_NOTHING_DONE


def train_with_messages(title: str, run: TrainingRun, train: Train = train) -> None:
    """Train one run and show its messages.

    Raises:
        TrainingError: it failed.
    """
    console.info(f"{title}: evcap train ... -o {run.folder}")
    train(run, lambda line: console.info(f"  {line}"))
