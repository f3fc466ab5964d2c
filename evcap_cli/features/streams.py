"""What extraction hands on: the rows of one stream of one segment, with their times.

Notation: rows n (at most 30 moments, 16 objects or 60 audio bins, see ``sampling.py``), D the backbone's dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from evcap_cli.backbones.contract import Kind


@dataclass(frozen=True)
class StreamFeatures:
    """One stream of one segment.

    Args:
        values: (n, D) float32, on the CPU. n = 0: the stream is absent (no audio track, no object found).
        times: (n,) float32, seconds from the start of the segment (for objects: of their snippet's key frame).
    """

    values: Tensor
    times: Tensor


@dataclass(frozen=True)
class ClipFeatures:
    """All streams of one segment. A kind that is not in ``streams`` was not extracted at all.

    Appearance and motion share their moments: row i of both belongs to the same time (with ``--sampling epan``, to the
    same place between start and end; each has the time of its own frame or window).
    """

    streams: Mapping[Kind, StreamFeatures]
    duration: float
    """Seconds of the segment."""
    start: float = 0.0
    """Seconds from the start of the video, where the features are those of a part of it."""
