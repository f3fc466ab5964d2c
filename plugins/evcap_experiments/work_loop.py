"""The runs of an experiment one after another, its report up to date after each.

A run that fails is named in the report and the next one begins. An interrupt says what is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import typer

from evcap_cli import console
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_INTERRUPTED, EXIT_NOTHING_DONE, EXIT_SOME_FAILED, TrainingError
from evcap_experiments.runs import TrainingRun
from evcap_experiments.training_process import train

Train = Callable[[TrainingRun, Callable[[str], None]], None]
"""Trains a run to its end and passes on its messages, as ``training_process.train`` does."""


@dataclass(kw_only=True)
class WorkLoop(ABC):
    """An experiment under way.

    Args:
        folder: of the experiment.
        train: trains one run.
        failures: folder of a run -> why it failed in this call.
    """

    folder: Path
    train: Train = train
    failures: dict[Path, str] = field(default_factory=dict)

    @property
    @abstractmethod
    def done(self) -> int:
        """Requested runs that are done."""

    @property
    @abstractmethod
    def total(self) -> int:
        """Requested runs."""

    @abstractmethod
    def jobs(self) -> Iterable[tuple[int, str, TrainingRun]]:
        """Number, system and run of what ``carry_out`` is called with."""

    @abstractmethod
    def carry_out(self, title: str, run: TrainingRun) -> None:
        """Do what is missing of a run.

        Raises:
            TrainingError: it failed.
        """

    @abstractmethod
    def report(self) -> list[Path]:
        """Write what is known so far; returns the files."""

    def run(self) -> list[Path]:
        """Do what is not done.

        Returns:
            The files of the report.

        Raises:
            WriteError: no permission, a full disk.
            typer.Exit: interrupted; what is done is kept and reported.
        """
        try:
            jobs = list(self.jobs())
            written = self.report()
            for number, system, run in jobs:
                title = f"[{number}/{self.total}] {system}, seed {run.seed}"
                try:
                    self.carry_out(title, run)
                except TrainingError as problem:
                    self.failures[run.folder] = problem.message
                    console.error(f"{title}: {problem}")
                written = self.report()
        except KeyboardInterrupt:
            kept = f"{counted(self.done, 'run')} finished, kept in {self.folder}"
            console.notice(f"interrupted: {kept}; run the same command to go on")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        return written

    def train_run(self, title: str, run: TrainingRun) -> None:
        """Train one run and show its messages.

        Raises:
            TrainingError: it failed.
        """
        console.info(f"{title}: evcap train ... -o {run.folder}")
        self.train(run, lambda line: console.info(f"  {line}"))

    @property
    def exit_code(self) -> int:
        """0 where all runs are done, 1 where none is, else 3."""
        return 0 if self.done == self.total else EXIT_SOME_FAILED if self.done else EXIT_NOTHING_DONE
