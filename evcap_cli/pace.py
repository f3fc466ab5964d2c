"""How fast a run goes, and how long it will take: for people and for dashboards."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from evcap_cli.clocks import elapsed


@dataclass
class Pace:
    """Counts of a run.

    Args:
        total: units in all; None: not known.
        clock: seconds that rise.

    Attributes:
        done: finished, those taken over from an earlier run included. before: of those, taken over: they took no time.
        failed: of those made now. seconds: of video.
    """

    total: int | None = None
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    before: int = 0
    failed: int = 0
    seconds: float = 0.0
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.clock()

    def take_over(self, count: int) -> None:
        """So many are there from an earlier run."""
        self.done += count - self.before
        self.before = count

    def add(self, count: int = 1, seconds: float = 0.0, *, failed: bool = False) -> None:
        """So many more are finished."""
        self.done += count
        self.seconds += seconds
        self.failed += count if failed else 0

    @property
    def took(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self.begun

    @property
    def rate(self) -> float:
        """Units a second."""
        return (self.done - self.before) / self.took if self.took > 0 else 0.0

    @property
    def video_rate(self) -> float:
        """Seconds of video a second."""
        return self.seconds / self.took if self.took > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds until the end at this pace; None: nobody knows."""
        if self.total is None or not self.rate > 0 or not 0 < self.done < self.total:
            return None
        return (self.total - self.done) / self.rate

    def rates(self, units: str) -> str:
        """1.9 videos/s, 26.3 h of video/h; empty at the beginning."""
        if self.rate <= 0:
            return ""
        each = f"{self.rate:.1f} {units}/s" if self.rate >= 1 else f"{60 * self.rate:.1f} {units}/min"
        return f"{each}, {self.video_rate:.1f} h of video/h" if self.seconds else each

    def text(self, units: str) -> str:
        """Rates, time left and failures, on one line."""
        left = self.left
        parts = [
            self.rates(units),
            "" if left is None else f"about {elapsed(left)} left",
            f"{self.failed} failed" if self.failed else "",
        ]
        return ", ".join(part for part in parts if part)
