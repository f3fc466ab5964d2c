"""Intervals over seeds and videos, and paired differences of two systems.

Every run of a study captions the same clips, so seeds and clips are crossed: a clip that is hard is hard for all seeds.
A resampling therefore draws seeds with replacement and, independently of them, clips with replacement, the same clips
for all drawn seeds (Owen's pigeonhole bootstrap); clips drawn again within each seed would average a clip's difficulty
out. Two systems meet the same draws of both, which pairs them.

With few seeds the spread between them is drawn too small, by (S - 1) / S in variance; the report says so.

Notation: S seeds, N clips, R resamplings; values x 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from evcap_cli.scoring.resampling import Difference, interval, sign_p, weightings

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

RESAMPLINGS: Final = 2000
_SEED_STREAM: Final = 1
"""Keeps the draws of seeds independent of the draws of clips."""


@dataclass(frozen=True)
class Series:
    """One measure of one system on one set of clips, by seed.

    Args:
        seeds: S different ones.
        values: (S,), of all clips.
        replicates: (S, R), of the resampled clips; the same clips for all seeds and all systems.
        clips: N.
    """

    seeds: tuple[int, ...]
    values: Array
    replicates: Array
    clips: int

    def of(self, seeds: Sequence[int]) -> Series:
        """The part of some of its seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return Series(tuple(seeds), self.values[rows], self.replicates[rows], self.clips)


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its 95 % interval over seeds and clips.

    Args:
        value, low, high: x 100. lowest, highest: of the seeds. seeds, clips: how many.
    """

    value: float
    low: float
    high: float
    lowest: float
    highest: float
    seeds: int
    clips: int


def clip_replicates(values: Array, times: int, seed: int) -> Array:
    """Means of resampled clips.

    Args:
        values: (S, N), one value a clip.
        times: R.
        seed: of the draws.

    Returns:
        (S, R).
    """
    blocks = [values @ weights.T / values.shape[1] for weights in weightings(values.shape[1], times, seed)]
    return np.concatenate(blocks, axis=1)


def seed_draws(seeds: int, times: int, seed: int) -> Array:
    """How often each resampling contains each seed, (R, S); the same for the same three numbers."""
    drawn = np.random.default_rng([seed, _SEED_STREAM]).integers(0, seeds, (times, seeds))
    counts: Array = (drawn[:, :, None] == np.arange(seeds)).sum(1).astype(np.float64)
    return counts


def over_seeds(replicates: Array, seed: int) -> Array:
    """Means over drawn seeds of (S, R) replicates, (R,)."""
    seeds, times = replicates.shape
    means: Array = (seed_draws(seeds, times, seed) * replicates.T).sum(1) / seeds
    return means


def mean(series: Series, seed: int = 0) -> Mean:
    """The mean of a series and its interval."""
    low, high = interval(over_seeds(series.replicates, seed))
    return Mean(
        value=float(series.values.mean()),
        low=low,
        high=high,
        lowest=float(series.values.min()),
        highest=float(series.values.max()),
        seeds=len(series.seeds),
        clips=series.clips,
    )


def difference(this: Series, other: Series, seed: int = 0) -> Difference | None:
    """How far ``this`` is above ``other``, on the seeds of both; None where there is none.

    Raises:
        ValueError: they are not of the same number of clips, or resampled differently often.
    """
    if this.clips != other.clips or this.replicates.shape[1] != other.replicates.shape[1]:
        raise ValueError(f"{this.clips} and {other.clips} clips cannot be paired")
    common = [number for number in this.seeds if number in other.seeds]
    if not common:
        return None
    this, other = this.of(common), other.of(common)
    differences = over_seeds(this.replicates - other.replicates, seed)
    low, high = interval(differences)
    return Difference(float(this.values.mean()), float(other.values.mean()), low, high, sign_p(differences))
