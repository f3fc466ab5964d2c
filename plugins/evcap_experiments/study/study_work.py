"""The study itself: run after run trained, captioned and judged.

Everything that is done is found again: a run by its test scores, its captions by the digest of its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli import console
from evcap_cli.demo.layout import TRAIN
from evcap_cli.errors import EvcapError
from evcap_cli.files import write_whole
from evcap_cli.training.run_state import FILE as STATE
from evcap_experiments.baselines import constant_of_worlds, shuffled_of_worlds
from evcap_experiments.runs import TrainingRun
from evcap_experiments.study.study_plan import StudyPlan, in_order
from evcap_experiments.study.study_report import About, write_report
from evcap_experiments.study.study_results import StudyResults
from evcap_experiments.study.study_systems import CONSTANT, SHUFFLED
from evcap_experiments.study.unseen_captions import kept_captions, write_captions
from evcap_experiments.training_process import train
from evcap_experiments.work_loop import Failures, Train, train_with_messages, work_through

if TYPE_CHECKING:
    from evcap_cli.features.streams import ClipFeatures
    from evcap_cli.training.feature_sources import FeatureSource
    from evcap_experiments.study.study_systems import StudySystem
    from evcap_experiments.study.study_worlds import Worlds

    Features = Mapping[str, ClipFeatures]


@dataclass(frozen=True)
class StudySources:
    """Where features come from: of the training world, and of the clips in conflict (their ids may be the same)."""

    main: FeatureSource
    conflict: FeatureSource


@dataclass(kw_only=True)
class Study:
    """A study under way.

    Args:
        folder: of it.
        planned: systems and their runs; what is there of them is in the report.
        requested: the systems that are trained where they are not.
        worlds: rendered.
        sources: called once, when features are needed.
        command: for the report.
        device: to caption on.
        train: trains one run.
        results: filled as runs are done. failures: why runs failed.
    """

    folder: Path
    planned: StudyPlan
    requested: Sequence[StudySystem]
    worlds: Worlds
    sources: Callable[[], StudySources]
    command: str
    device: str = "cpu"
    train: Train = train
    failures: Failures = field(default_factory=dict)
    results: StudyResults = field(init=False)
    _cached: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.results = StudyResults(self.worlds)

    @property
    def done(self) -> int:
        """Requested runs that are trained and captioned."""
        return sum(len(self.results.seeds(system.name)) for system in self.requested)

    @property
    def total(self) -> int:
        """Requested runs."""
        return sum(len(self.planned[system].runs) for system in self.requested)

    def run(self) -> int:
        """Do what is not done, and write the report after each run.

        Returns:
            The exit code of ``evcap study``.

        Raises:
            EvcapError: no unseen clip has features. WriteError: no permission, a full disk.
            typer.Exit: interrupted; what is done is kept and reported.
        """
        missing = []
        for system, run in in_order(self.planned):
            kept = kept_captions(run.folder, self.worlds) if run.done else None
            if kept is not None:
                self.results.add(system, run.seed, kept)
            elif system in self.requested:
                missing.append((system.title, run))
        for seed in sorted({run.seed for seeds in self.planned.values() for run in seeds.runs}):
            self.results.add(CONSTANT, seed, constant_of_worlds(self.worlds))
            self.results.add(SHUFFLED, seed, shuffled_of_worlds(self.worlds, seed))
        return work_through(
            [(number, *job) for number, job in enumerate(missing, self.total - len(missing) + 1)],
            self.carry_out,
            self.report,
            lambda: (self.done, self.total),
            folder=self.folder,
            failures=self.failures,
        )

    def carry_out(self, title: str, run: TrainingRun) -> None:
        """Train a run where it is not trained, and caption the unseen clips with it.

        Raises:
            TrainingError: it failed. EvcapError: no unseen clip has features.
        """
        system = next(system for system, seeds in self.planned.items() if run in seeds.runs)
        if not run.done:
            self._cache_training_clips()
            _ = self._features
            self._take_over_epochs(system.continues, run)
            train_with_messages(title, run, self.train)
        console.info(f"{title}: captions of the unseen clips")
        self.results.add(system, run.seed, write_captions(run.folder, self.worlds, *self._features, self.device))

    def report(self) -> list[Path]:
        """Answers, tables and plots of what is known so far."""
        recipe = next(iter(self.planned.values())).recipe
        clips = len(self.worlds.main.facts) - len(self.worlds.unseen), len(self.worlds.unseen)
        about = About(
            command=self.command,
            clips=(*clips, len(self.worlds.conflict.facts)),
            recipe=recipe.name,
            epochs=recipe.train.epochs,
            done=self.done,
            planned=self.total,
            failures={folder.name: why for folder, why in self.failures.items()},
        )
        return write_report(self.folder, self.results, about)

    def _take_over_epochs(self, name: str, run: TrainingRun) -> None:
        """Start from the ordinary epochs of another system and the same seed, where the run would begin with these."""
        others = next((seeds.runs for system, seeds in self.planned.items() if system.name == name), ())
        runs = [other for other in others if other.seed == run.seed]
        if runs and runs[0].done and not run.folder.exists():
            begun = runs[0].folder / STATE
            if begun.is_file():
                write_whole(run.folder / STATE, begun.read_bytes())

    @cached_property
    def _opened(self) -> StudySources:
        return self.sources()

    def _cache_training_clips(self) -> None:
        """Bring their features into the cache, once, where every run finds them."""
        if not self._cached:
            for _ in self._opened.main.read(sorted(clip.id for clip in self.worlds.main.of(TRAIN))):
                pass
            self._cached = True

    @cached_property
    def _features(self) -> tuple[Features, Features]:
        """Of the unseen clips and of those in conflict."""
        found = dict(self._opened.main.read([clip.id for clip in self.worlds.unseen]))
        conflict = dict(self._opened.conflict.read([clip.id for clip in self.worlds.conflict.facts]))
        if not found:
            raise EvcapError("none of the unseen clips has features", path=self.worlds.main.root)
        return found, conflict
