"""Bootstrap over videos: 95 % intervals of one system, and the paired comparison of two on the same videos.

A resampling draws N of the N videos with replacement and scores that corpus again, document frequencies included
(``metric_parts.py``). Captions of one video are never torn apart: the video is what was sampled from the world.

Notation: R resamplings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from evcap_cli.scoring.metric_parts import Parts

DEFAULT_RESAMPLINGS: Final = 1000
_TAILS: Final = (2.5, 97.5)
_TOGETHER: Final = 64
"""Resamplings whose weights are in memory at once."""

Replicates = dict[str, "npt.NDArray[np.float64]"]
"""Metric -> (R,) values, for the metrics that were computed."""


def weightings(videos: int, times: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """How often each resampling holds each video, in blocks (up to 64, N); the same for the same three numbers."""
    generator = np.random.default_rng(seed)
    for start in range(0, times, _TOGETHER):
        drawn = generator.integers(0, videos, (min(_TOGETHER, times - start), videos))
        yield np.stack([np.bincount(row, minlength=videos) for row in drawn]).astype(np.float64)


def replicates(parts: Parts, times: int, seed: int) -> Replicates:
    """Every metric of every resampling; two systems on the same videos meet the same resamplings."""
    blocks: dict[str, list[npt.NDArray[np.float64]]] = {}
    for weights in weightings(parts.videos, times, seed):
        for name, values in parts.corpus(weights).items():
            if values is not None:
                blocks.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in blocks.items()}


def interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of resampled values."""
    low, high = np.percentile(values, _TAILS)
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """One metric of two systems on the same videos.

    Args:
        this, other: values x 100.
        low, high: 95 % interval of ``this - other``.
        p: two-sided: how rarely a resampling would turn the sign if the systems were equal.
    """

    this: float
    other: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """How far this system is above the other."""
        return self.this - self.other

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "this": self.this,
            "other": self.other,
            "difference": self.difference,
            "interval": [self.low, self.high],
            "p": self.p,
        }


def compare(this: Parts, other: Parts, times: int, seed: int) -> dict[str, Difference]:
    """Paired bootstrap of two systems measured on the same videos in the same order."""
    ours, theirs = replicates(this, times, seed), replicates(other, times, seed)
    values, others = this.values(), other.values()
    out: dict[str, Difference] = {}
    for name in (name for name in ours if name in theirs):
        differences = ours[name] - theirs[name]
        value, other_value = values[name], others[name]
        if value is not None and other_value is not None:
            out[name] = Difference(value, other_value, *interval(differences), p=sign_p(differences))
    return out


def sign_p(differences: npt.NDArray[np.float64]) -> float:
    """Twice the share of resamplings on the rarer side of 0, counting one more so that it is never 0.

    It agrees with the interval: p is below 0.05 about when the 95 % interval leaves 0 out.
    """
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
