"""Clips of a test split that are nearly clips of the training split, by the means of their features.

A video that was saved again, in another size or at another bit rate, has other bytes but nearly the same features. How
near is near depends on backbone and data: a clip is a near-duplicate where it lies much closer to its neighbour in the
other split than training clips usually lie to theirs.

Notation: n training clips, m test clips, D the backbone's dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from evcap_cli.backbones.contract import Kind
from evcap_cli.features.familiarity import LEAST_CLIPS, LEAST_SCALE, ClipMeans

KINDS: Final[tuple[Kind, ...]] = ("appearance", "motion")
"""Streams that are compared: copies differ more in the others (a codec of sound, an object that is not found again)."""
NEAR: Final = 0.5
"""Of the usual distance. With the lite backbones, copies of 8 demo clips (down to half the size and 60 kbit/s) lay at
0.33 at most; of 108 demo clips that are no copies, the nearest two at 0.71 in appearance and 0.61 in motion."""
ROWS: Final = 512
"""Clips whose distances to all others are in memory at a time."""


@dataclass(frozen=True)
class NearDuplicate:
    """A test clip and the training clip that it nearly is.

    Args:
        distance: in parts of the distance that is usual between neighbours of the training split; the larger one where
            several streams were compared.
    """

    train: str
    test: str
    distance: float


def near_duplicates(train: Mapping[str, ClipMeans], test: Mapping[str, ClipMeans]) -> list[NearDuplicate] | None:
    """Test clips whose nearest training clip is nearer than ``NEAR`` in every stream that both have.

    A clip that has the same name in both splits is not compared with itself.

    Args:
        train: clip -> its ``clip_means``.
        test: the same of the other split.

    Returns:
        In the order of ``test``; None where fewer than ``LEAST_CLIPS`` training clips have an appearance stream.
    """
    distances = {kind: found for kind in KINDS if (found := _relative(kind, train, test)) is not None}
    if "appearance" not in distances:
        return None
    pairs: list[NearDuplicate] = []
    numbers = {clip: number for number, clip in enumerate(distances["appearance"].train)}
    motion = distances.get("motion")
    for clip, row in distances["appearance"]:
        own = numbers.get(clip)
        if own is not None:
            row[own] = torch.inf
        near = [(float(row[number]), number) for number in (row < NEAR).nonzero()[:, 0].tolist()]
        for distance, number in sorted(near):
            other = distances["appearance"].train[number]
            moved = 0.0 if motion is None else motion.between(other, clip)
            if moved < NEAR:
                pairs.append(NearDuplicate(other, clip, max(distance, moved)))
                break
    return pairs


class _Relative:
    """Distances of one stream between test and training clips, in parts of the usual one.

    Args:
        train: names of the rows of ``known``. test: of ``new``.
        known: standardised means, (n, D). new: (m, D).
        usual: median distance of a training clip to its nearest neighbour.
    """

    def __init__(self, train: list[str], test: list[str], known: Tensor, new: Tensor, usual: float) -> None:
        self.train, self.test, self.known, self.new, self.usual = train, test, known, new, usual
        self._rows = {clip: number for number, clip in enumerate(test)}
        self._columns = {clip: number for number, clip in enumerate(train)}

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Each test clip with its distances to all training clips, (n,)."""
        for start in range(0, len(self.test), ROWS):
            found = _distances(self.new[start : start + ROWS], self.known) / self.usual
            yield from zip(self.test[start : start + ROWS], found, strict=True)

    def between(self, train: str, test: str) -> float:
        """The distance of two clips; 0 where one of them lacks the stream."""
        if train not in self._columns or test not in self._rows:
            return 0.0
        difference = self.known[self._columns[train]] - self.new[self._rows[test]]
        return float(difference.norm()) / self.usual


def _relative(kind: Kind, train: Mapping[str, ClipMeans], test: Mapping[str, ClipMeans]) -> _Relative | None:
    """One stream's distances; None where too few training clips have it."""
    known = [clip for clip, means in train.items() if kind in means]
    new = [clip for clip, means in test.items() if kind in means]
    if len(known) < LEAST_CLIPS:
        return None
    rows = torch.stack([train[clip][kind] for clip in known])
    mean, deviation = rows.mean(0), rows.std(0)
    scale = deviation.clamp(min=max(LEAST_SCALE * float(deviation.max()), 1e-12))
    standard = (rows - mean) / scale
    others = torch.stack([(test[clip][kind] - mean) / scale for clip in new]) if new else standard[:0]
    return _Relative(known, new, standard, others, usual_distance(standard))


def usual_distance(clips: Tensor) -> float:
    """Median distance of clips (n, D) to their nearest neighbour among the others; more than 0."""
    nearest = []
    for start in range(0, len(clips), ROWS):
        found = _distances(clips[start : start + ROWS], clips)
        rows = torch.arange(len(found))
        found[rows, start + rows] = torch.inf
        nearest.append(found.amin(1))
    return max(float(torch.cat(nearest).median()), 1e-9)


def _distances(rows: Tensor, others: Tensor) -> Tensor:
    """Euclidean, (k, D) and (n, D) to (k, n); exact also where they are small."""
    return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist")
