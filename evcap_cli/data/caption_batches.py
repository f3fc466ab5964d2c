"""Which captions share a training step: groups of captions of the same videos, so that each video is encoded once.

Notation: R captions of a batch, B distinct videos of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class CaptionBatch:
    """Numbers of captions and of the videos they belong to.

    Args:
        captions: (R,) numbers of captions. clips: (B,) distinct numbers of videos, ascending.
        clip_index: (R,) position in ``clips`` of each caption's video.
    """

    captions: npt.NDArray[np.int64]
    clips: npt.NDArray[np.int64]
    clip_index: npt.NDArray[np.int64]


def caption_batches(
    caption_clip: npt.NDArray[np.int64], *, batch_size: int, per_clip: int, seed: int, epoch: int
) -> list[CaptionBatch]:
    """One epoch: every caption once, in an order that depends on (seed, epoch) only.

    Args:
        caption_clip: video of each caption, (captions,).
        batch_size: captions a batch, R; the last batch may be smaller.
        per_clip: captions of one video that stay together (fewer videos to encode a step, less varied batches). A
            video's captions are dealt out evenly to groups of about that size, so that none is a group of its own.
        seed: of the run.
        epoch: counted from 0.

    Raises:
        ValueError: a size below 1.
    """
    if batch_size < 1 or per_clip < 1:
        raise ValueError(f"batch_size {batch_size} and per_clip {per_clip} must be at least 1")
    generator = np.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(caption_clip))
    by_clip = shuffled[np.argsort(caption_clip[shuffled], kind="stable")]
    groups = list(_groups(caption_clip[by_clip], by_clip, min(per_clip, batch_size)))
    order = generator.permutation(len(groups))
    line = np.concatenate([groups[number] for number in order]) if groups else np.zeros(0, dtype=np.int64)
    batches: list[CaptionBatch] = []
    for start in range(0, len(line), batch_size):
        captions = line[start : start + batch_size]
        clips, index = np.unique(caption_clip[captions], return_inverse=True)
        batches.append(CaptionBatch(captions, clips, index.astype(np.int64)))
    return batches


def _groups(
    clips: npt.NDArray[np.int64], captions: npt.NDArray[np.int64], size: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Cut runs of one video into even groups, as many as come nearest to ``size``.

    Seventeen captions in fours are five groups with a last one of one, for which a video is encoded all the same.
    """
    borders: Sequence[int] = [0, *(np.flatnonzero(np.diff(clips)) + 1).tolist(), len(clips)]
    for start, end in pairwise(borders):
        groups = max((2 * (end - start) + size) // (2 * size), 1)
        yield from np.array_split(captions[start:end], groups)
