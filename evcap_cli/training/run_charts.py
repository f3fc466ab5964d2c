"""Curves over the epochs of a run as numbers for inline SVG: the template draws them, this module places them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from evcap_cli.scoring.metrics import LABELS

WIDTH: Final = 360.0
HEIGHT: Final = 190.0
LEFT: Final = 42.0
RIGHT: Final = 10.0
TOP: Final = 10.0
BOTTOM: Final = 24.0
"""Of the drawing, in units of its view box."""
TICKS: Final = 4
"""Lines across a drawing, about."""
LEAST_SPREAD: Final = 1e-9
"""Of the largest value: closer values are drawn as one."""
LEAST_VALUE: Final = 1e-12
"""A smaller one is drawn as nothing."""
MOST_DOTS: Final = 60
"""Curves of more epochs are lines without dots."""

Entry = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Args:
        name: in the legend.
        points: x,y pairs for a polyline. dots: x, y, epoch and value of each; empty where there are too many.
        chosen: the same of the chosen epoch, where the curve has it.
        last: the value of the last epoch.
    """

    name: str
    points: str
    dots: tuple[tuple[float, float, int, float], ...]
    chosen: tuple[float, float, int, float] | None
    last: float


@dataclass(frozen=True)
class Chart:
    """A drawing with up to a few curves.

    Args:
        title: what is drawn.
        levels: y and text of the lines across. epochs: x and number below.
        chosen: x of the chosen epoch. critical: x from which on epochs are self-critical; None: none is.
    """

    title: str
    curves: tuple[Curve, ...]
    levels: tuple[tuple[float, str], ...]
    epochs: tuple[tuple[float, int], ...]
    chosen: float | None
    critical: float | None


def charts(history: Sequence[Entry], best_epoch: int) -> list[Chart]:
    """The drawings of a log; one without a value is left out.

    Args:
        history: entries of the log.
        best_epoch: the chosen one, from 1; 0: none.
    """
    ordinary = [entry for entry in history if not entry.get("phase")]  # only self-critical ones name theirs
    critical = [entry for entry in history if entry.get("phase")]
    terms = [name for name in (ordinary[0].get("loss", {}) if ordinary else {}) if name != "total"]
    wanted: list[tuple[str, Sequence[Entry], list[tuple[str, Callable[[Entry], Any]]]]] = [
        ("Training loss", ordinary, [("total", _value("loss", "total"))]),
        ("Terms of the training loss", ordinary, [(name.replace("_", " "), _value("loss", name)) for name in terms]),
        ("Held-out cross entropy", history, [("cross entropy", _value("validation", "cross_entropy"))]),
        ("Held-out CFS and BFS", history, _metrics("validation", "cfs", "bfs")),
        ("Held-out emotion accuracy", history, _metrics("validation", "acc_sw", "acc_c")),
        ("Held-out language metrics", history, _metrics("validation", "bleu_4", "rouge_l", "cider")),
        ("Mean reward of sampled captions", critical, [("reward", lambda entry: entry.get("reward"))]),
        ("Test split at every epoch (oracle)", history, _metrics("test", "cfs", "bfs", "acc_sw", "acc_c")),
    ]
    first = int(critical[0]["epoch"]) if critical else 0
    made = (_chart(title, entries, lines, history, best_epoch, first) for title, entries, lines in wanted)
    return [chart for chart in made if chart is not None]


def _value(group: str, name: str) -> Callable[[Entry], Any]:
    return lambda entry: (entry.get(group) or {}).get(name)


def _metrics(group: str, *names: str) -> list[tuple[str, Callable[[Entry], Any]]]:
    return [(LABELS[name], _value(group, name)) for name in names]


def _chart(
    title: str,
    entries: Sequence[Entry],
    lines: Iterable[tuple[str, Callable[[Entry], Any]]],
    history: Sequence[Entry],
    best_epoch: int,
    critical: int,
) -> Chart | None:
    found = {
        name: [(int(entry["epoch"]), float(value)) for entry in entries if _drawable(value := of(entry))]
        for name, of in lines
    }
    found = {name: values for name, values in found.items() if values}
    if not found:
        return None
    every = [value for values in found.values() for _, value in values]
    levels = ticks(min(every), max(every))
    low, high = levels[0], levels[-1]
    first, last = int(history[0]["epoch"]), int(history[-1]["epoch"])

    def across(epoch: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * ((epoch - first) / (last - first) if last > first else 0.5), 2)

    def up(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low)), 2)

    curves = []
    for name, values in found.items():
        dots = tuple((across(epoch), up(value), epoch, value) for epoch, value in values)
        curves.append(
            Curve(
                name,
                " ".join(f"{x},{y}" for x, y, _, _ in dots),
                dots if len(dots) <= MOST_DOTS else (),
                next((dot for dot in dots if dot[2] == best_epoch), None),
                values[-1][1],
            )
        )
    step = max(1, math.ceil((last - first) / 6))
    return Chart(
        title,
        tuple(curves),
        tuple((up(level), f"{level:g}") for level in levels),
        tuple((across(epoch), epoch) for epoch in range(first, last + 1, step)),
        across(best_epoch) if first <= best_epoch <= last else None,
        across(max(critical - 0.5, first)) if critical and entries is history else None,
    )


def _drawable(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def ticks(low: float, high: float) -> list[float]:
    """About ``TICKS`` round numbers from one at most ``low`` to one at least ``high``; at least two.

    Args:
        low: the least value.
        high: the largest value.
    """
    largest, spread = max(abs(low), abs(high)), high - low
    if spread <= max(largest * LEAST_SPREAD, LEAST_VALUE):  # as good as one value
        spread = 0.1 * largest if largest > LEAST_VALUE else 1.0
    rough = spread / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, max(last, first + 1) + 1)]
