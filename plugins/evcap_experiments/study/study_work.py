"""The study itself: run after run trained, captioned and judged.

Everything that is done is found again: a run by its test scores, its captions by the digest of its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from evcap_experiments.study.study_plan import PlannedSystem, in_order
from evcap_experiments.study.study_report import About, write_report
from evcap_experiments.study.study_results import StudyResults
from evcap_experiments.study.study_systems import CONSTANT, SHUFFLED
from evcap_experiments.study.unseen_captions import kept_captions, write_captions
from evcap_experiments.work_loop import WorkLoop

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
class Study(WorkLoop):
    """A study under way.

    Args:
        planned: systems and their runs; what is there of them is in the report.
        requested: the systems that are trained where they are not.
        worlds: rendered.
        sources: called once, when features are needed.
        command: for the report.
        device: to caption on.
        results: filled as runs are done.
    """

    planned: Sequence[PlannedSystem]
    requested: Sequence[StudySystem]
    worlds: Worlds
    sources: Callable[[], StudySources]
    command: str
    device: str = "cpu"
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
        return sum(len(one.runs) for one in self.planned if one.system in self.requested)

    def jobs(self) -> Iterable[tuple[int, str, TrainingRun]]:
        """Requested runs that lack captions; those of the others, and the baselines, go into the results."""
        missing = []
        for one, run in in_order(self.planned):
            kept = kept_captions(run.folder, self.worlds) if run.done else None
            if kept is not None:
                self.results.add(one.system, run.seed, kept)
            elif one.system in self.requested:
                missing.append((one.system.title, run))
        for seed in sorted({run.seed for one in self.planned for run in one.runs}):
            self.results.add(CONSTANT, seed, constant_of_worlds(self.worlds))
            self.results.add(SHUFFLED, seed, shuffled_of_worlds(self.worlds, seed))
        return [(number, *job) for number, job in enumerate(missing, self.total - len(missing) + 1)]

    def carry_out(self, title: str, run: TrainingRun) -> None:
        """Train a run where it is not trained, and caption the unseen clips with it.

        Raises:
            TrainingError: it failed. EvcapError: no unseen clip has features.
        """
        system = next(one.system for one in self.planned if run in one.runs)
        if not run.done:
            self._cache_training_clips()
            _ = self._features
            self._take_over_epochs(system.continues, run)
            self.train_run(title, run)
        console.info(f"{title}: captions of the unseen clips")
        self.results.add(system, run.seed, write_captions(run.folder, self.worlds, *self._features, self.device))

    def report(self) -> list[Path]:
        """Answers, tables and plots of what is known so far."""
        recipe = self.planned[0].trained.recipe
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
        runs = [each for one in self.planned if one.system.name == name for each in one.runs if each.seed == run.seed]
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
