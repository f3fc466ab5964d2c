"""How a player shows a stored picture: mirrored or not, turned by quarters, with pixels wider or narrower than high.

Containers and codecs give a display matrix, pictures an EXIF orientation that FFmpeg turns into one. Of its freedom the
eight orientations of EXIF are used; any other matrix counts as the nearest of them.

Notation: a matrix shows the stored pixel (x, y), y downwards, at (a x + c y, b x + d y).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from evcap_cli.media.probe import MediaInfo

WIDEST_PIXEL: Final = Fraction(4)
"""The widest pixels in use are those of half-width broadcasts, 32:11; a file that claims more is not believed."""


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """(degrees clockwise, mirrored): the stored picture is mirrored left to right, if so, and then turned."""
    matrix = _display_matrix(frame)
    return (0, False) if matrix is None else nearest_orientation(matrix)


def nearest_orientation(matrix: tuple[float, float, float, float]) -> tuple[int, bool]:
    """The one of the eight orientations that is nearest to ``matrix`` (a, b, c, d), whatever its scale."""
    a, b, c, d = matrix
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not across or not down:
        return 0, False
    a, c, b, d = a / across, c / across, b / down, d / down
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return round(math.degrees(math.atan2(b - c, a + d)) / 90) % 4 * 90, mirrored


def _display_matrix(frame: VideoFrame) -> tuple[float, float, float, float] | None:
    """The first display matrix of a frame; None where it has none."""
    from av.sidedata import sidedata

    # FFmpeg knows more types of side data than PyAV has names for, EXIF among them; one of those would hide all others
    kinds: Any = sidedata.Type
    kinds._missing_ = classmethod(_nameless)
    data: Any
    for data in frame.side_data:
        if data.type == sidedata.Type.DISPLAYMATRIX:
            entries = np.frombuffer(memoryview(data), np.int32).tolist()
            return entries[0], entries[1], entries[3], entries[4]
    return None


def _nameless(kind: Any, value: int) -> Any:
    member = object.__new__(kind)
    member._value_, member._name_ = value, f"TYPE_{value}"
    return member


def pixel_aspect(stream: VideoStream, warnings: list[str]) -> Fraction:
    """Width of a stored pixel over its height: what the container says, else the codec, else square."""
    claimed = [ratio for ratio in (stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio) if ratio]
    for ratio in claimed:
        if 1 / WIDEST_PIXEL <= ratio <= WIDEST_PIXEL:
            return ratio
    if claimed:
        warnings.append(f"claims pixels of {claimed[0].numerator}:{claimed[0].denominator}: taken as square")
    return Fraction(1)


def shown_size(width: int, height: int, aspect: Fraction, rotation: int) -> tuple[int, int]:
    """(width, height) of a stored picture as a player shows it: its lines kept, pixels made square, then turned."""
    across = max(1, round(width * aspect))
    return (height, across) if rotation % 180 else (across, height)


def upright(pixels: npt.NDArray[Any], info: MediaInfo) -> npt.NDArray[Any]:
    """A stored picture, (H, W, ...), mirrored and turned as ``info`` says; a view of the same pixels."""
    if info.mirrored:
        pixels = pixels[:, ::-1]
    # rot90 counts counter-clockwise
    return np.rot90(pixels, -info.rotation // 90 % 4) if info.rotation else pixels
