"""The study itself: run after run trained, captioned and judged, the report up to date after each.

Everything that is done is found again: a run by its test scores, its captions by the digest of its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli import console
from evcap_cli.errors import EvcapError, TrainingError
from evcap_cli.files import write_whole
from evcap_cli.training.run_state import FILE as STATE
from evcap_experiments.study.study_baselines import constant, shuffled
from evcap_experiments.study.study_plan import PlannedSystem, in_order
from evcap_experiments.study.study_report import About, write_report
from evcap_experiments.study.study_results import Results
from evcap_experiments.study.study_systems import CONSTANT, SHUFFLED
from evcap_experiments.study.unseen_captions import Said, kept_captions, write_captions

if TYPE_CHECKING:
    from evcap_cli.features.streams import ClipFeatures
    from evcap_cli.training.feature_sources import FeatureSource
    from evcap_experiments.reproduction.table_plan import Run
    from evcap_experiments.study.study_systems import GridSystem
    from evcap_experiments.study.study_worlds import Worlds

Train = Callable[["Run", Callable[[str], None]], None]
"""Trains a run to its end and passes on what it says (``reproduction/running.py``)."""


@dataclass(frozen=True)
class Sources:
    """Where features come from: of the training world, and of the clips in conflict (their ids may be the same)."""

    main: FeatureSource
    conflict: FeatureSource


@dataclass
class Study:
    """A study under way.

    Args:
        folder: of it.
        planned: systems and their runs; what is there of them is in the report.
        wanted: the systems that are trained where they are not.
        worlds: rendered.
        sources: called once, when features are needed.
        train: of a run.
        command: for the report.
        device: to caption on.
        results: filled as runs are done.
    """

    folder: Path
    planned: Sequence[PlannedSystem]
    wanted: Sequence[GridSystem]
    worlds: Worlds
    sources: Callable[[], Sources]
    train: Train
    command: str
    device: str = "cpu"
    results: Results = field(init=False)
    failures: dict[str, str] = field(default_factory=dict)
    _features: tuple[Mapping[str, ClipFeatures], Mapping[str, ClipFeatures]] | None = None

    def __post_init__(self) -> None:
        self.results = Results(self.worlds)

    @property
    def done(self) -> int:
        """Wanted runs that are trained and captioned."""
        return sum(len(self.results.seeds(system.name)) for system in self.wanted)

    @property
    def total(self) -> int:
        """Wanted runs."""
        return sum(len(one.runs) for one in self.planned if one.system in self.wanted)

    def run(self) -> list[Path]:
        """Do what is not done, and write the report; a run that fails is named there and the next one begins.

        Returns:
            The files of the report.

        Raises:
            WriteError: no permission, a full disk. KeyboardInterrupt: what is done is kept and reported.
        """
        missing = []
        for one, run in in_order(self.planned):
            kept = kept_captions(run.folder, self.worlds) if run.done else None
            if kept is not None:
                self.results.add(one.system, run.seed, kept)
            elif one.system in self.wanted:
                missing.append((one, run))
        for seed in sorted({run.seed for one in self.planned for run in one.runs}):
            self.results.add(CONSTANT, seed, constant(self.worlds))
            self.results.add(SHUFFLED, seed, shuffled(self.worlds, seed))
        written = self.report()
        if missing:
            self._ready(train=any(not run.done for _, run in missing))
        for number, (one, run) in enumerate(missing, self.total - len(missing) + 1):
            title = f"[{number}/{self.total}] {one.system.title}, seed {run.seed}"
            said = self._said(one.system, run, title)
            if said is not None:
                self.results.add(one.system, run.seed, said)
            written = self.report()
        return written

    def report(self) -> list[Path]:
        """Write what is known so far."""
        recipe = self.planned[0].recipe
        clips = len(self.worlds.main.facts) - len(self.worlds.unseen), len(self.worlds.unseen)
        about = About(
            command=self.command,
            clips=(*clips, len(self.worlds.conflict.facts)),
            recipe=recipe.name,
            epochs=recipe.train.epochs,
            done=self.done,
            planned=self.total,
            failures=self.failures,
        )
        return write_report(self.folder, self.results, about)

    def _said(self, system: GridSystem, run: Run, title: str) -> Said | None:
        """Captions of a run that is trained first where it is not; None where that fails."""
        try:
            if not run.done:
                self._go_on_from(system.behind, run)
                console.info(f"{title}: evcap train ... -o {run.folder}")
                self.train(run, lambda line: console.info(f"  {line}"))
            console.info(f"{title}: captions of the unseen clips")
            return write_captions(run.folder, self.worlds, *self._ready(train=False), self.device)
        except TrainingError as problem:
            self.failures[run.folder.name] = problem.message
            console.error(f"{title}: {problem}")
            return None

    def _go_on_from(self, name: str, run: Run) -> None:
        """Take over the ordinary epochs of the same seed, where the run would begin with just these."""
        runs = [each for one in self.planned if one.system.name == name for each in one.runs if each.seed == run.seed]
        if runs and runs[0].done and not run.folder.exists():
            begun = runs[0].folder / STATE
            if begun.is_file():
                write_whole(run.folder / STATE, begun.read_bytes())

    def _ready(self, *, train: bool) -> tuple[Mapping[str, ClipFeatures], Mapping[str, ClipFeatures]]:
        """Features of the unseen clips and of those in conflict; with ``train`` the cache is filled for the runs too.

        Raises:
            EvcapError: no unseen clip has features.
        """
        if self._features is None:
            sources = self.sources()
            unseen = [clip.id for clip in self.worlds.unseen]
            if train:
                learned = {clip.id for clip in self.worlds.main.facts}.difference(unseen)
                for _ in sources.main.read(sorted(learned)):
                    pass  # in the cache now, where every run finds them
            found = dict(sources.main.read(unseen))
            conflict = dict(sources.conflict.read([clip.id for clip in self.worlds.conflict.facts]))
            if not found:
                raise EvcapError("none of the unseen clips has features", path=self.worlds.main.root)
            self._features = found, conflict
        return self._features
