"""Which frames of a segment are looked at (paper 1.1, Decision ``--sampling moments``). Pure functions of time stamps.

Nothing here decodes; ``media/`` fetches the frames that are named here by ordinal, ``assembly.py`` puts them together.

Notation: N frames of a video in presentation order with time stamps in ticks of ``time_base`` seconds, of which
[first, last) belong to the segment; n <= 30 moments; T frames of a window. Times are exact until rows get their float
seconds: a moment never moves by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evcap_cli.errors import UsageError

Ordinals = NDArray[np.int64]

MOMENTS: Final = 30
"""N_v: rows of appearance and motion."""
KEY_FRAME_EVERY: Final = 3
"""Every third moment is a key frame of the object stream."""
SNIPPET_REACH: Final = 1
"""Frames on either side of a key frame in which the same objects are sought."""


@dataclass(frozen=True)
class ClipSample:
    """The frames of one segment that features are made of; all ordinals count frames of the video.

    Args:
        first, last: frames [first, last) belong to the segment.
        frames: (n,) one frame a row of the appearance stream, rising.
        centres: (m,) the frames that the windows of the motion stream are centred on, rising.
        key_frames: (k,) frames in which objects are sought, with their neighbours.
    """

    first: int
    last: int
    frames: Ordinals
    centres: Ordinals
    key_frames: Ordinals

    def windows(self, centres: Ordinals, frames: int, stride: int) -> Ordinals:
        """Windows of ``frames`` source frames, ``stride`` apart, around each centre; edges of the segment repeated.

        An even window reaches one step further back than ahead.

        Returns:
            (len(centres), frames) ordinals.
        """
        offsets = (np.arange(frames, dtype=np.int64) - frames // 2) * stride
        windows: Ordinals = np.clip(centres[:, None] + offsets, self.first, self.last - 1)
        return windows

    def snippets(self) -> list[Ordinals]:
        """For each key frame the distinct frames around it, rising, itself included."""
        reach = 2 * SNIPPET_REACH + 1
        return [np.unique(row) for row in self.windows(self.key_frames, reach, 1)]


def frames_between(ticks: Ordinals, time_base: Fraction, start: Fraction, end: Fraction) -> tuple[int, int]:
    """The frames [first, last) shown first in [start, end); where there is none, the one still on screen at ``start``.

    ``ticks`` rise, (N,), and are not empty.
    """
    first, last = (int(np.searchsorted(ticks, ceil(when / time_base), side="left")) for when in (start, end))
    if first < last:
        return first, last
    on_screen = max(first - 1, 0)
    return on_screen, on_screen + 1


def moments(ticks: Ordinals, time_base: Fraction, start: Fraction, end: Fraction) -> ClipSample:
    """Thirty moments spread evenly over the time that the segment's frames are shown (paper 1.1, *Decision*).

    Moment i is the middle of the i-th thirtieth, and the frame taken is the one on screen then; frames met twice count
    once, so a segment of fewer frames has fewer rows. The time runs from the first frame of the segment to its last
    one and a typical frame on, whatever the container says: a long sound track must not stretch the last picture.
    """
    first, last = frames_between(ticks, time_base, start, end)
    inside = ticks[first:last]
    typical = int(np.median(np.diff(inside))) if len(inside) > 1 else 0
    begin = int(inside[0])
    finish = min(int(inside[-1]) + typical, max(ceil(end / time_base), int(inside[-1])))
    # in units of 1 / (2 MOMENTS) tick everything is a whole number
    middles = [2 * MOMENTS * begin + (2 * i + 1) * (finish - begin) for i in range(MOMENTS)]
    whole = np.array([middle // (2 * MOMENTS) for middle in middles], dtype=np.int64)
    frames = np.unique(np.searchsorted(inside, whole, side="right") - 1 + first)
    keys = frames[min(KEY_FRAME_EVERY // 2, len(frames) - 1) :: KEY_FRAME_EVERY]
    return ClipSample(first, last, frames, frames, keys)


Sampler = Callable[[Ordinals, Fraction, Fraction, Fraction], ClipSample]

SAMPLINGS: Final[Mapping[str, Sampler]] = {"moments": moments}
"""What ``--sampling`` offers."""


def sampler(name: str) -> Sampler:
    """The sampling called ``name``.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in SAMPLINGS:
        raise UsageError(f"unknown --sampling {name!r}", hint=f"one of: {', '.join(sorted(SAMPLINGS))}")
    return SAMPLINGS[name]


def row_times(ticks: Ordinals, time_base: Fraction, ordinals: Ordinals, start: Fraction) -> NDArray[np.float32]:
    """Seconds from the segment's start to each frame, never negative, (n,)."""
    seconds = [max(0.0, float(int(tick) * time_base - start)) for tick in ticks[ordinals]]
    return np.array(seconds, dtype=np.float32)
