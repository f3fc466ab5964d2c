"""How long the parts of an epoch took, for the log and the page of a run.

On an accelerator a part ends where the loop waits for a number anyway (the loss, the norm of the gradient): nothing
waits for the sake of the clock, and what the optimiser still computes then counts for the next part that waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PARTS: Final = ("data", "sampling", "reward", "forward", "backward", "optimiser", "validation")
"""In the order of a step; sampling and reward are of self-critical epochs."""
DECIMALS: Final = 4


class PartTimes:
    """Wall time by part of the epoch, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def clear(self) -> None:
        """Begin a new epoch."""
        self.seconds.clear()

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the time of a block to ``part``, one of ``PARTS``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started

    def entry(self) -> dict[str, float]:
        """For the log, in the order of ``PARTS``."""
        return {part: round(self.seconds[part], DECIMALS) for part in PARTS if part in self.seconds}
