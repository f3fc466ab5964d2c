"""The systems that the study compares: the paper's with its modules on and off, those it is compared with, and ours.

A is the audio-visual dual branch, B the fine-grained visual fusion, as the paper's ablation names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evcap_cli.errors import UsageError


@dataclass(frozen=True)
class StudySystem:
    """One system of the study.

    Args:
        name: in files and of ``--only``. title: in tables.
        model: registered system that is trained; "" for a baseline, which is not.
        without: its modules that are off.
        options: further arguments of ``evcap train``.
        continues: the system whose last ordinary epoch it goes on from: only self-critical epochs differ.
    """

    name: str
    title: str
    model: str
    without: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    continues: str = ""


SYSTEMS: Final = (
    StudySystem("fusion", "fusion (A and B)", "fusion"),
    StudySystem("a-off", "A off (B only)", "fusion", ("audio-visual",)),
    StudySystem("b-off", "B off (A only)", "fusion", ("fine-grained",)),
    StudySystem("both-off", "both off", "fusion", ("fine-grained", "audio-visual")),
    StudySystem("epan", "EPAN", "epan"),
    StudySystem("dcgn", "DCGN", "dcgn"),
    StudySystem("canet", "CANet (reconstruction)", "canet"),
    StudySystem("sa-lstm", "SA-LSTM", "sa-lstm"),
    StudySystem("dcgn-sc", "DCGN, self-critical", "dcgn", (), ("--self-critical", "5"), "dcgn"),
    StudySystem("fusion-sc", "fusion, self-critical", "fusion", (), ("--self-critical", "5"), "fusion"),
    StudySystem("objects", "fusion, attends to objects", "fusion+", (), ("--self-critical", "0")),
    StudySystem("fusion+", "fusion+ (both)", "fusion+", (), (), "objects"),
)
CONSTANT: Final = StudySystem("constant", "one caption for all (baseline)", "")
SHUFFLED: Final = StudySystem("shuffled", "other clips' captions (baseline)", "")
SHOWN: Final = (*SYSTEMS, CONSTANT, SHUFFLED)
"""Rows of the report, in order."""


def title_of(name: str) -> str:
    """How tables name a system or a baseline."""
    return next(system.title for system in SHOWN if system.name == name)


def choose(names: str | None) -> tuple[StudySystem, ...]:
    """The systems of a list such as "fusion,epan", in the order of ``SYSTEMS``; None: all.

    Raises:
        UsageError: a name that is not in ``SYSTEMS``, or none at all.
    """
    if names is None:
        return SYSTEMS
    requested = {name.strip() for name in names.split(",") if name.strip()}
    known = [system.name for system in SYSTEMS]
    unknown = sorted(requested.difference(known))
    if unknown or not requested:
        raise UsageError(f"--only {names!r}: no system {', '.join(unknown)!r}", hint=f"choose of {', '.join(known)}")
    return tuple(system for system in SYSTEMS if system.name in requested)
