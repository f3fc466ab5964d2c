"""Which runs of ``evcap train`` the study takes: one for each system and seed, all on the same world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_experiments.runs import SeedRuns, TrainingRun, data_set_digest, plan_seeds
from evcap_experiments.study.study_systems import StudySystem

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_experiments.runs import Parse

RUNS: Final = "runs"
StudyPlan = dict[StudySystem, SeedRuns]


def plan_study(
    systems: Sequence[StudySystem],
    root: DataRoot,
    folder: Path,
    arguments: Sequence[str],
    parse: Parse,
    seeds: Sequence[int],
) -> StudyPlan:
    """The runs of each system.

    Args:
        systems: of the study.
        root: the training world; only its content counts here.
        folder: of the study.
        arguments: of ``evcap train``, the same for all runs.
        parse: reads them.
        seeds: one run a system for each.

    Raises:
        UsageError: a recipe that cannot be read, scores of other settings in ``folder``.
    """
    data_set = data_set_digest(root)
    planned = {}
    for system in systems:
        modules = [part for name in system.without for part in ("--without", name)]
        given = [*arguments, "--model", system.model, *modules, *system.options]
        places = {seed: folder / RUNS / f"{system.name}-seed{seed}" for seed in seeds}
        planned[system] = plan_seeds(given, places.__getitem__, seeds, parse, data_set)
    return planned


def in_order(planned: StudyPlan) -> list[tuple[StudySystem, TrainingRun]]:
    """All runs, the first seed of every system before the second of any: stopped early, it is a smaller study."""
    of_seeds = zip(*(seeds.runs for seeds in planned.values()), strict=True)
    return [pair for runs in of_seeds for pair in zip(planned, runs, strict=True)]
