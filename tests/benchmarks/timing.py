"""Times of alternatives in one run, taken in turn so that a noisy neighbour slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def in_turn(
    alternatives: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each alternative in each round, behind one round that is not counted.

    ``time.process_time`` as the clock, with one thread, gives ratios on a machine that others use at the same time.
    """
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(rounds + 1):
        for name, work in alternatives.items():
            begun = clock()
            work()
            seconds[name].append(clock() - begun)
    return {name: taken[1:] for name, taken in seconds.items()}


def ratios(seconds: dict[str, list[float]], above: str, below: str) -> tuple[float, ...]:
    """One a round."""
    return tuple(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def table(seconds: dict[str, list[float]]) -> str:
    """Median and best of each alternative."""
    width = max(map(len, seconds))
    return "\n".join(
        f"{name:<{width}}  median {statistics.median(taken):8.3f} s  best {min(taken):8.3f} s"
        for name, taken in seconds.items()
    )
