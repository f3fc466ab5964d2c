"""Which frames of a segment features are made of (paper 1.1, Decision ``--sampling``). Pure functions of time stamps.

``moments`` spreads rows by presentation time; ``epan`` counts frames as the published features did. Nothing here
decodes; ``media/`` fetches the frames that are named here by ordinal, ``assembly.py`` puts them together.

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

EPAN_STRIDE: Final = 5
EPAN_FIRST: Final = 8
EPAN_MARGIN: Final = 7
"""EPAN's 2-D features are those of frames 8, 13, 18, ... and leave out the last 7 (``range(8, n - 7, 5)`` in
hobincar/pytorch-video-feature-extractor, which EPAN's README names)."""
EPAN_WINDOW: Final = 16
"""EPAN's 3-D features are those of frames 0 to 15, 16 to 31, ... without a window that ends with the last frame
(``range(1, n - 16 + 1, 16)``, counted from 1, in kenshohara/video-classification-3d-cnn-pytorch)."""


@dataclass(frozen=True)
class ClipSample:
    """The frames of one segment that features are made of; all ordinals count frames of the video.

    Args:
        first, last: frames [first, last) belong to the segment.
        frames: (n,) frames that the appearance stream is made of, rising.
        centres: (m,) the frames that the windows of the motion stream are centred on, rising.
        key_frames: (k,) frames in which objects are sought, with their neighbours.
        rows: how many rows appearance and motion have: these, evenly spread over ``frames`` and over ``centres``, which
            may repeat or leave some out; None: one row each, and ``frames`` and ``centres`` are the same.
    """

    first: int
    last: int
    frames: Ordinals
    centres: Ordinals
    key_frames: Ordinals
    rows: int | None = None

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


def epan(ticks: Ordinals, time_base: Fraction, start: Fraction, end: Fraction) -> ClipSample:
    """Frames as EPAN's published features have them, then thirty rows by ``linspace`` (paper 1.1, *Decision*).

    Appearance: every fifth frame, motion: consecutive windows of 16 frames, see the constants; a backbone with other
    windows is given its own ones, centred on those. Both by frame number, whatever the frame rate. Objects, for which
    nothing is published: every third distinct frame of the appearance rows.

    Segments that the published scripts fail on are filled in: fewer than 16 frames give frames 0, 5, 10 for appearance;
    up to 16 frames give one window, centred on the middle frame, edges repeated.
    """
    first, last = frames_between(ticks, time_base, start, end)
    count = last - first
    frames = np.arange(EPAN_FIRST, count - EPAN_MARGIN, EPAN_STRIDE, dtype=np.int64)
    if not len(frames):
        frames = np.arange(0, count, EPAN_STRIDE, dtype=np.int64)
    # a window that starts at s is the one centred on s + 8, see ClipSample.windows
    centres = np.arange(0, count - EPAN_WINDOW, EPAN_WINDOW, dtype=np.int64) + EPAN_WINDOW // 2
    if not len(centres):
        centres = np.array([count // 2], dtype=np.int64)
    # only what the rows show is decoded and computed
    frames, centres = (first + several[np.unique(spread(len(several), MOMENTS))] for several in (frames, centres))
    keys = frames[min(KEY_FRAME_EVERY // 2, len(frames) - 1) :: KEY_FRAME_EVERY]
    return ClipSample(first, last, frames, centres, keys, rows=MOMENTS)


def spread(count: int, rows: int) -> Ordinals:
    """Which of ``count`` things each of ``rows`` rows shows: ``linspace`` over their numbers, cut to whole ones.

    EPAN's rule (``loader/MSVD.py``): the first and the last one always, one several times where there are too few.

    Returns:
        (rows,), rising.
    """
    # numpy's own arithmetic: a step that is not a whole number may round to either side of one
    chosen: Ordinals = np.linspace(0, count - 1, rows, dtype=np.int64)
    return chosen


Sampler = Callable[[Ordinals, Fraction, Fraction, Fraction], ClipSample]

SAMPLINGS: Final[Mapping[str, Sampler]] = {"moments": moments, "epan": epan}
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
