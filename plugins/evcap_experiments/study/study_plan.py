"""Which runs of ``evcap train`` the study takes: one for each system and seed, all on the same world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_experiments.reproduction.table_plan import Parse, Run, digest, recipe_of, settings_of

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.training.recipe import Recipe
    from evcap_experiments.study.study_systems import GridSystem

RUNS: Final = "runs"


@dataclass(frozen=True)
class PlannedSystem:
    """A system and what it takes here.

    Args:
        system: which. runs: one a seed.
        recipe: all numbers of the runs (of the first; the others differ in the seed).
        parameters: values of ``evcap train``'s parameters, of the first run.
    """

    system: GridSystem
    runs: tuple[Run, ...]
    recipe: Recipe
    parameters: Mapping[str, Any]


def plan_study(
    systems: Sequence[GridSystem],
    root: DataRoot,
    folder: Path,
    arguments: Sequence[str],
    parse: Parse,
    seeds: Sequence[int],
) -> list[PlannedSystem]:
    """The runs of each system.

    Args:
        systems: of the grid.
        root: the training world; only its content counts here.
        folder: of the study.
        arguments: of ``evcap train``, the same for all runs.
        parse: reads them.
        seeds: one run a system for each.

    Raises:
        UsageError: a recipe that cannot be read, scores of other settings in ``folder``.
    """
    content = digest(root)
    planned = []
    for system in systems:
        own = [*(part for name in system.without for part in ("--without", name)), *system.options]
        runs = []
        for seed in seeds:
            place = folder / RUNS / f"{system.name}-seed{seed}"
            whole = [*arguments, "--model", system.model, *own, "--seed", str(seed), "-o", str(place)]
            runs.append(Run(place, seed, tuple(whole), settings_of(parse(whole), content)))
        parameters = parse(list(runs[0].arguments))
        planned.append(PlannedSystem(system, tuple(runs), recipe_of(parameters), parameters))
    for one in planned:
        for run in one.runs:
            run.check()
    return planned


def in_order(planned: Sequence[PlannedSystem]) -> list[tuple[PlannedSystem, Run]]:
    """All runs, the first seed of every system before the second of any: stopped early, it is a smaller study."""
    rounds = max((len(one.runs) for one in planned), default=0)
    return [(one, one.runs[number]) for number in range(rounds) for one in planned if number < len(one.runs)]
