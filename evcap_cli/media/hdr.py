"""From the tones of HDR (PQ, HLG) and the wide colours of BT.2020 to those of the SDR pictures that networks know.

Works on pictures of eight bits that are resized already, as cheap as a few more pixels. Pictures of BT.709 and BT.601
never come here. Reference white, 203 cd/m² (ITU-R BT.2408), becomes SDR white; up to ``KNEE`` of it light is kept as it
is, brighter light is compressed smoothly into what is left. The brightest of the three primaries decides, so hues stay.

Notation: light is linear and 1 at reference white; pictures are (H, W, 3) RGB.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from evcap_cli.media.probe import UNKNOWN_RANGE, UNSPECIFIED, Colours

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    Light = npt.NDArray[np.float32]

Tones = tuple[Literal["pq", "hlg", "sdr"], bool]
"""(transfer curve, whether the primaries are those of BT.2020)."""

PQ: Final = 16
HLG: Final = 18
"""Transfer characteristics (ITU-T H.273)."""
BT709: Final = 1
BT2020: Final = 9
"""Primaries and matrices have the same code."""
BT2020_CONSTANT: Final = 10
"""Constant luminance; next to it is the common form."""
DERIVED: Final = (12, 13)
"""Matrices that follow from the primaries."""
RGB: Final = 0
"""The matrix of pictures that are not YUV."""
CONVERTED: Final = frozenset((RGB, BT709, UNSPECIFIED, 4, 5, 6, 7, BT2020))
"""Matrices that libswscale takes; it refuses pictures of others, such as YCgCo and ICtCp."""
REFERENCE_WHITE: Final = 203.0
"""cd/m² of a white page in HDR (BT.2408)."""
HLG_PEAK: Final = 1000.0
"""cd/m² of the nominal display of HLG; its system gamma is then 1.2 (BT.2100)."""
SDR_GAMMA: Final = 2.4
"""Of the reference display of SDR (BT.1886)."""
KNEE: Final = 0.6
TO_BT709: Final = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
"""Linear BT.2020 to linear BT.709 (BT.2087)."""
LUMA_BT2020: Final = np.array([0.2627, 0.6780, 0.0593], np.float32)


def stated_colours(stream: VideoStream) -> Colours:
    """What the container says; before a frame is decoded, since some decoders then forget it."""
    context = stream.codec_context
    return Colours(context.color_trc, context.color_primaries, context.colorspace, context.color_range)


def settle(frame: VideoFrame, stated: Colours) -> None:
    """Give a frame what the container says of its colours where the stream itself does not, and a matrix that FFmpeg
    converts.
    """
    if int(frame.color_trc) == UNSPECIFIED:
        frame.color_trc = stated.curve
    if int(frame.color_primaries) == UNSPECIFIED:
        frame.color_primaries = stated.primaries
    if int(frame.color_range) == UNKNOWN_RANGE:
        frame.color_range = stated.range
    matrix = int(frame.colorspace)
    if matrix == UNSPECIFIED and stated.matrix != RGB:
        matrix = stated.matrix
    frame.colorspace = _convertible(matrix, int(frame.color_primaries))


def foreign_matrix(frame: VideoFrame, stated: Colours) -> int | None:
    """The matrix of a frame whose colours come out wrong, since nothing near it is converted."""
    matrix = int(frame.colorspace)
    matrix = stated.matrix if matrix == UNSPECIFIED else matrix
    primaries = int(frame.color_primaries)
    primaries = stated.primaries if primaries == UNSPECIFIED else primaries
    return matrix if matrix != UNSPECIFIED and _convertible(matrix, primaries) == UNSPECIFIED else None


def _convertible(matrix: int, primaries: int) -> int:
    """The matrix itself, or the one next to it that libswscale knows."""
    if matrix in CONVERTED:
        return matrix
    if matrix in DERIVED:
        return {BT709: BT709, BT2020: BT2020}.get(primaries, UNSPECIFIED)
    return BT2020 if matrix == BT2020_CONSTANT else UNSPECIFIED


def tones_of(frame: VideoFrame) -> Tones | None:
    """What a frame's RGB must be mapped from; None where it is SDR of ordinary colours."""
    curve = {PQ: "pq", HLG: "hlg"}.get(int(frame.color_trc), "sdr")
    primaries = int(frame.color_primaries)
    wide = primaries == BT2020 or (curve != "sdr" and primaries in (0, UNSPECIFIED))
    return None if curve == "sdr" and not wide else (curve, wide)  # type: ignore[return-value]


def to_sdr(pixels: npt.NDArray[np.uint8], tones: Tones) -> npt.NDArray[np.uint8]:
    """Pictures for a screen of BT.709, (H, W, 3) uint8, from R'G'B' as the file codes them."""
    curve, wide = tones
    light = _light(curve)[pixels]
    if curve == "hlg":
        # the display's own curve, by luminance
        light *= (light @ LUMA_BT2020)[..., None] ** np.float32(0.2) * np.float32(HLG_PEAK / REFERENCE_WHITE)
    if wide:
        light = np.maximum(light @ TO_BT709.T, 0)
    if curve != "sdr":
        brightest = light.max(axis=-1, keepdims=True)
        light = light * (_compressed(brightest) / np.maximum(brightest, np.float32(1e-6)))
    coded: npt.NDArray[np.uint8] = np.rint(np.minimum(light, 1) ** np.float32(1 / SDR_GAMMA) * 255).astype(np.uint8)
    return coded


def _compressed(light: Light) -> Light:
    """Kept up to the knee, then towards 1, without an edge."""
    room = np.float32(1 - KNEE)
    return np.where(light > KNEE, KNEE + room * (1 - np.exp((KNEE - light) / room)), light).astype(np.float32)


@cache
def _light(curve: str) -> Light:
    """Light of each of the 256 codes; for HLG that of the scene, 0 to 1."""
    code = np.arange(256) / 255
    if curve == "pq":
        root = code ** (32 / 2523)
        return (10_000 / REFERENCE_WHITE * _pq_base(root) ** (16384 / 2610)).astype(np.float32)
    if curve == "hlg":
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)
    return (code**SDR_GAMMA).astype(np.float32)


def _pq_base(root: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inner fraction of PQ's curve (SMPTE ST 2084)."""
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    return np.maximum(root - c1, 0) / (c2 - c3 * root)
