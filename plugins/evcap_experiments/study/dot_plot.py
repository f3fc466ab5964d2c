"""A plot of the study as a plain SVG: a row a system, dots with their 95 % intervals, one colour a measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from evcap_cli.output.html_pages import page

COLOURS: Final = ("#0b6e8a", "#c4572b", "#6b4fa0", "#4d7a1f")
"""They differ in lightness, too, and the rows are in order: for people who do not distinguish red from green."""


@dataclass(frozen=True)
class Dot:
    """A value with its interval."""

    value: float
    low: float
    high: float


def dot_plot(
    title: str,
    rows: Sequence[tuple[str, Sequence[Dot | None]]],
    measures: Sequence[str],
    *,
    chance: float | None = None,
    whole: bool = True,
) -> str:
    """The SVG.

    Args:
        title: above it.
        rows: label and a dot a measure; None leaves one out.
        measures: names for the legend.
        chance: where a dashed line stands.
        whole: the scale runs from 0 to 100; False: from 0 to a round number above all intervals.
    """
    highest = 100.0 if whole else _round_up(max((dot.high for _, dots in rows for dot in dots if dot), default=1.0))
    legend = [12.0]
    for name in measures:
        legend.append(legend[-1] + 32 + 7.2 * len(name))
    drawn = page(
        "evcap_experiments.study",
        "dot_plot.svg",
        {"pixel": "{:.1f}".format, "share": _share},
        title=title,
        highest=highest,
        rows=rows,
        legend=list(zip(measures, legend, strict=False)),
        colours=COLOURS,
        steps=[highest * step / 5 for step in range(6)],
        chance=chance,
    )
    return drawn + "\n"


def _share(value: float, highest: float) -> float:
    """How far along the scale."""
    return min(max(value / highest, 0.0), 1.0)


def _round_up(value: float) -> float:
    """1, 2 or 5 times a power of ten, in tenths of it: the next round number."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(math.ceil(value / power * 2) / 2 * power)
