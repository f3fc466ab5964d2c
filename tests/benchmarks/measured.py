"""What a benchmark says: rows of figures, printed by its own command and kept by the ledger when the ledger runs it.

A benchmark is a module of this folder with a ``main``; each figure of it is a ``Measured``, given to ``report`` as soon
as it is there. ``LEFT_OUT = "needs ..."`` in a module keeps it out of runs that don't name it, ``LEDGER_SECONDS`` gives
it more or less time than others. ``python -m tests.benchmarks`` is the ledger (``ledger.py``).
"""

from __future__ import annotations

import json
import math
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROWS = "EVCAP_LEDGER_ROWS"
"""Environment variable: the file to which rows are added when the ledger runs a benchmark."""
RATIO, PERCENT = "x", "%"


@dataclass(frozen=True)
class Measured:
    """One figure of a benchmark.

    Args:
        name: short, unique in its benchmark: ``step/bare``.
        what: the sentence of the page, with the sizes that the figure holds for.
        values: one a round.
        unit: ``x`` for a ratio, ``%``, ``s``, ``MB``, ... or nothing.
        at_most: goal for the median.
        at_least: goal for the median.
        note: what else belongs to the figure.
    """

    name: str
    what: str
    values: tuple[float, ...]
    unit: str = RATIO
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ValueError(f"{self.name}: values must be finite numbers, at least one, not {self.values}")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches its goals; None without any."""
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or self.median <= self.at_most) and (
            self.at_least is None or self.median >= self.at_least
        )

    @property
    def figure(self) -> str:
        """Median, spread, rounds, note: ``1.22x (1.20 to 1.26, 3 rounds)``."""
        rounds = len(self.values)
        low, high = (_number(edge(self.values), self.unit) for edge in (min, max))
        spread = "1 round" if rounds == 1 else f"{low} to {high}, {rounds} rounds"
        return f"{with_unit(self.median, self.unit)} ({spread})" + (f"; {self.note}" if self.note else "")

    @property
    def goal(self) -> str:
        """``at most 1.5x``, or nothing."""
        goals = (("at most", self.at_most), ("at least", self.at_least))
        suffix = self.unit if self.unit in ("", RATIO) else f" {self.unit}"
        return ", ".join(f"{which} {value:g}{suffix}" for which, value in goals if value is not None)

    def __str__(self) -> str:
        verdict = {None: "", True: ", met", False: ", MISSED"}[self.met]
        return f"{self.name}: {self.figure}" + (f", goal {self.goal}{verdict}" if self.goal else "")

    def as_json(self) -> dict[str, Any]:
        """With median, spread and verdict, for readers of the file that compute nothing."""
        derived = {"median": self.median, "low": min(self.values), "high": max(self.values)}
        rounded = {name: float(f"{value:.6g}") for name, value in derived.items()}
        return {**vars(self), "values": [float(f"{value:.6g}") for value in self.values], **rounded, "met": self.met}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Measured:
        """What ``as_json`` wrote."""
        known = {name: found[name] for name in cls.__dataclass_fields__}
        return cls(**{**known, "values": tuple(found["values"])})


def _number(value: float, unit: str) -> str:
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if unit == RATIO and size >= 0.1:
        return f"{value:.1f}" if size >= 10 else f"{value:.2f}"
    return f"{value:.3g}" if unit else f"{value:.4g}"  # a cosine, an area under a curve


def with_unit(value: float, unit: str) -> str:
    """``1.22x``, ``1.9 %``, ``770 MB``, ``0.9993``."""
    return _number(value, unit) + (unit if unit in ("", RATIO) else f" {unit}")


def report(*rows: Measured) -> None:
    """Print figures, and hand them to the ledger if it runs this process."""
    for row in rows:
        print(row, flush=True)
        if ROWS in os.environ:
            with Path(os.environ[ROWS]).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row.as_json()) + "\n")
