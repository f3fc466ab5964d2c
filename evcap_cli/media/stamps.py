"""Which presentation time stamps of a stream are damaged; pure functions of the stamps in decoding order.

A coded frame is never far from its place: at most sixteen frames are decoded before it and shown after it (H.264 and
HEVC allow no more). That holds however long a picture stands still, so places are judged and not distances in time.
Only at the two ends of a stream, where a place says nothing, other witnesses are needed: ``within``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Stamps = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

MOST_REORDERED: Final = 16
"""Frames that may be decoded before a frame and shown after it."""
FAR_PLACES: Final = 2 * MOST_REORDERED
"""So far from its place in decoding order no frame is shown."""
FEW_SHARE: Final = 0.01
"""Up to so many damaged stamps are left out; with more the stream's times cannot be believed at all."""


def out_of_place(stamps: Stamps) -> Mask:
    """True for each stamp, in decoding order, that cannot be the result of reordering, (n,)."""
    count = len(stamps)
    if (stamps[1:] >= stamps[:-1]).all():
        return np.zeros(count, dtype=np.bool_)  # as in sound; hours of it have half a million packets
    places = np.arange(count)
    ranks = np.empty(count, dtype=np.int64)
    ranks[np.argsort(stamps, kind="stable")] = places
    earlier_and_later = np.zeros(count, dtype=np.int64)
    # what is farther apart than this is caught by its rank
    for back in range(1, min(2 * FAR_PLACES, count - 1) + 1):
        earlier_and_later[back:] += stamps[:-back] > stamps[back:]
    mask: Mask = (np.abs(ranks - places) > FAR_PLACES) | (earlier_and_later > MOST_REORDERED)
    return mask


def within(stamps: Stamps, first: int | None, last: int | None) -> Mask:
    """True for each stamp between two times that are known from elsewhere (None: not known), (n,)."""
    mask = np.ones(len(stamps), dtype=np.bool_)
    if first is not None:
        mask &= stamps >= first
    if last is not None:
        mask &= stamps <= last
    return mask


def believable(stamps: Stamps, first: int | None = None, last: int | None = None) -> Mask | None:
    """Which of the stamps, in decoding order, can be used, (n,); None where too many of them cannot.

    Args:
        stamps: presentation times, ticks.
        first: no true stamp lies before it.
        last: no true stamp lies after it.
    """
    good = within(stamps, first, last)
    good[good] = ~out_of_place(stamps[good])
    bad = len(stamps) - int(good.sum())
    if bad > max(1, FEW_SHARE * len(stamps)) or bad == len(stamps):
        return None
    return good if not out_of_place(stamps[good]).any() else None
