"""A plot of the study as a plain SVG: a row a system, dots with their 95 % intervals, one colour a measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

COLOURS: Final = ("#0b6e8a", "#c4572b", "#6b4fa0", "#4d7a1f")
"""Told apart by people who do not tell red from green, too: they differ in lightness, and the rows are in order."""
_LABEL, _PLOT, _RIGHT, _ROW, _TOP, _BOTTOM = 240, 460, 24, 34, 58, 34
"""Pixels."""


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
    height = _TOP + _ROW * len(rows) + _BOTTOM
    width = _LABEL + _PLOT + _RIGHT

    def x(value: float) -> float:
        return _LABEL + _PLOT * min(max(value / highest, 0.0), 1.0)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="13" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="15" font-weight="bold" fill="#222222">{escape(title)}</text>',
    ]
    at = 12.0
    for number, name in enumerate(measures):
        parts.append(f'<circle cx="{at + 5:.0f}" cy="40" r="5" fill="{COLOURS[number % len(COLOURS)]}"/>')
        parts.append(f'<text x="{at + 15:.0f}" y="44" fill="#222222">{escape(name)}</text>')
        at += 32 + 7.2 * len(name)
    bottom = _TOP + _ROW * len(rows)
    for step in range(6):
        value = highest * step / 5
        parts.append(
            f'<line x1="{x(value):.1f}" y1="{_TOP}" x2="{x(value):.1f}" y2="{bottom}" stroke="#dddddd"/>'
            f'<text x="{x(value):.1f}" y="{bottom + 18}" text-anchor="middle" fill="#555555">{value:g}</text>'
        )
    if chance is not None:
        parts.append(
            f'<line x1="{x(chance):.1f}" y1="{_TOP}" x2="{x(chance):.1f}" y2="{bottom}" stroke="#555555"'
            ' stroke-dasharray="4 3"/>'
        )
    for row, (label, dots) in enumerate(rows):
        middle = _TOP + _ROW * (row + 0.5)
        parts.append(
            f'<text x="{_LABEL - 10}" y="{middle + 4:.1f}" text-anchor="end" fill="#222222">{escape(label)}</text>'
        )
        spread = min(9.0, 22.0 / max(len(measures), 1))
        for number, dot in enumerate(dots):
            if dot is None:
                continue
            y = middle + spread * (number - (len(measures) - 1) / 2)
            colour = COLOURS[number % len(COLOURS)]
            parts.append(
                f'<line x1="{x(dot.low):.1f}" y1="{y:.1f}" x2="{x(dot.high):.1f}" y2="{y:.1f}" stroke="{colour}"'
                f' stroke-width="2"/><circle cx="{x(dot.value):.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
            )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _round_up(value: float) -> float:
    """1, 2 or 5 times a power of ten, in tenths of it: the next round number."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(math.ceil(value / power * 2) / 2 * power)
