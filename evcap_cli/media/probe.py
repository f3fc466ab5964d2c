"""What a file says of itself: ``MediaInfo``, and the times of its frames, ``Timeline``.

Plain values; ``scan.py`` finds them. Time is ``Fraction`` seconds or whole ticks of the picture
stream's time base, counted from the start of the container, so that picture and sound share one zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FALLBACK_RATE: Final = Fraction(25)
"""Frames a second where neither the stream nor its time stamps give a rate."""

UNSPECIFIED: Final = 2
UNKNOWN_RANGE: Final = 0


class Colours(NamedTuple):
    """How a picture's numbers become colours: codes of ITU-T H.273, and FFmpeg's of the range."""

    curve: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = UNKNOWN_RANGE


@dataclass(frozen=True)
class MediaInfo:
    """Facts of one file.

    ``width`` and ``height`` are those of the picture as it is shown: upright, with square pixels (its lines are kept).
    It is stored with pixels ``pixel_aspect`` times as wide as high, and shown mirrored left to right, where
    ``mirrored``, and then turned by ``rotation`` degrees clockwise. ``duration`` is None where the file does not say;
    ``Timeline.end`` is always known.
    """

    duration: Fraction | None
    fps: Fraction | None
    width: int
    height: int
    rotation: int
    has_audio: bool
    mirrored: bool = False
    pixel_aspect: Fraction = Fraction(1)


@dataclass(frozen=True)
class Timeline:
    """The frames of one video in presentation order.

    Args:
        times: (n,) ticks from the start of the container, rising. time_base: seconds of a tick.
        warnings: what was odd about the file.
        length: seconds to the end of the last picture or sound; None: go by the frames.
    """

    info: MediaInfo
    times: npt.NDArray[np.int64]
    time_base: Fraction
    warnings: tuple[str, ...] = ()
    length: Fraction | None = None

    def seconds(self, ordinal: int) -> Fraction:
        """Presentation time of a frame."""
        return int(self.times[ordinal]) * self.time_base

    def first_from(self, start: Fraction) -> int:
        """The first frame shown at ``start`` seconds or later; the number of frames where there is none."""
        import numpy as np

        tick = min(ceil(start / self.time_base), np.iinfo(np.int64).max)
        return int(np.searchsorted(self.times, tick))

    @property
    def end(self) -> Fraction:
        """Where the video ends: what the file says and holds, else the last frame's time and one frame more."""
        if self.length is not None:
            return self.length
        if self.info.duration is not None:
            return self.info.duration
        return self.seconds(len(self.times) - 1) + 1 / (self.info.fps or FALLBACK_RATE)
