"""What a decoding pass is asked for and what it hands over; plain values that cross the process border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """Everything that one pass over a file serves."""

    frames: Mapping[str, FrameRequest]
    audio: AudioRequest | None = None


@dataclass(frozen=True)
class DecodedFrame:
    """One frame, (H, W, 3) uint8 RGB upright; ``pixels`` is a view, good until the next item is asked for."""

    ordinal: int
    key: str
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AudioChunk:
    """Mono float32 samples from ``start`` seconds on."""

    start: float
    samples: npt.NDArray[np.float32]


@dataclass(frozen=True)
class DecodeReport:
    """How a pass went; the last item of it."""

    skipped_packets: int = 0
    warnings: tuple[str, ...] = ()
    missing: tuple[int, ...] = field(default=())
    """Wanted frames that did not decode."""
