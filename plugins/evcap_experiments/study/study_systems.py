"""The systems that the study compares: the paper's with its modules on and off, those it is compared with, and ours.

A is the audio-visual dual branch, B the fine-grained visual fusion, as the paper's ablation names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evcap_cli.errors import UsageError


@dataclass(frozen=True)
class GridSystem:
    """One system of the study.

    Args:
        name: in files and of ``--only``. title: in tables.
        model: registered system that is trained; "" for a baseline, which is not.
        without: its modules that are off.
        options: further arguments of ``evcap train``.
        behind: the system whose last ordinary epoch it goes on from: only self-critical epochs differ.
    """

    name: str
    title: str
    model: str
    without: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    behind: str = ""


GRID: Final = (
    GridSystem("fusion", "fusion (A and B)", "fusion"),
    GridSystem("a-off", "A off (B only)", "fusion", ("audio-visual",)),
    GridSystem("b-off", "B off (A only)", "fusion", ("fine-grained",)),
    GridSystem("both-off", "both off", "fusion", ("fine-grained", "audio-visual")),
    GridSystem("epan", "EPAN", "epan"),
    GridSystem("dcgn", "DCGN", "dcgn"),
    GridSystem("canet", "CANet (reconstruction)", "canet"),
    GridSystem("sa-lstm", "SA-LSTM", "sa-lstm"),
    GridSystem("dcgn-sc", "DCGN, self-critical", "dcgn", (), ("--self-critical", "5"), "dcgn"),
    GridSystem("fusion-sc", "fusion, self-critical", "fusion", (), ("--self-critical", "5"), "fusion"),
    GridSystem("objects", "fusion, looks at objects", "fusion+", (), ("--self-critical", "0")),
    GridSystem("fusion+", "fusion+ (both)", "fusion+", (), (), "objects"),
)
CONSTANT: Final = GridSystem("constant", "one caption for all (baseline)", "")
SHUFFLED: Final = GridSystem("shuffled", "other clips' captions (baseline)", "")
SHOWN: Final = (*GRID, CONSTANT, SHUFFLED)
"""Rows of the report, in order."""


def title_of(name: str) -> str:
    """How tables name a system of the grid, or a baseline."""
    return next(system.title for system in SHOWN if system.name == name)


def choose(names: str | None) -> tuple[GridSystem, ...]:
    """The systems of a list such as "fusion,epan", in the grid's order; None: all.

    Raises:
        UsageError: a name that is not in the grid, or none at all.
    """
    if names is None:
        return GRID
    asked = {name.strip() for name in names.split(",") if name.strip()}
    known = [system.name for system in GRID]
    unknown = sorted(asked.difference(known))
    if unknown or not asked:
        raise UsageError(f"--only {names!r}: no system {', '.join(unknown)!r}", hint=f"choose of {', '.join(known)}")
    return tuple(system for system in GRID if system.name in asked)
