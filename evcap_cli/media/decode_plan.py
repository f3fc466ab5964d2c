"""What a decoding pass is requested to do, and what it sends; plain values that cross the process border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from evcap_cli.media.frames import Geometry


@dataclass(frozen=True)
class FrameRequest:
    """Frames by number in presentation order (sorted, distinct), all fitted the same way."""

    geometry: Geometry
    ordinals: Sequence[int] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class AudioRequest:
    """Mono samples at ``rate`` Hz for ``start`` to ``end``, seconds from the container's start."""

    rate: int
    start: Fraction
    end: Fraction


@dataclass(frozen=True)
class DecodePlan:
    """Everything that one pass over a file serves.

    Args:
        in_step: pictures and sound come together in time; otherwise the sound comes after the pictures.
        partial: other passes over the file see the rest, so that it is no failure where no frame of this one decodes.
    """

    frames: Mapping[str, FrameRequest]
    audio: AudioRequest | None = None
    in_step: bool = False
    partial: bool = False


@dataclass(frozen=True)
class DecodedFrame:
    """One frame, (H, W, 3) uint8 RGB upright; its reader may keep it."""

    ordinal: int
    key: str
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AudioChunk:
    """Mono float32 samples from ``start`` seconds on; no other sound comes before ``until`` seconds.

    ``until`` is infinite after the last. Where pictures and sound come in step, a chunk without samples comes first.
    """

    start: float
    samples: npt.NDArray[np.float32]
    until: float
