"""What the feature stage hands out, in the order of the videos: features of segments, and how each video ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli.media.decode_report import Loss

if TYPE_CHECKING:
    from evcap_cli.errors import EvcapError
    from evcap_cli.features.streams import ClipFeatures
    from evcap_cli.media.probe import MediaInfo
    from evcap_cli.media.segments import Segment


@dataclass(frozen=True)
class SegmentReady:
    """The features of one segment; ``video`` counts the paths of the run."""

    video: int
    path: Path
    segment: Segment
    features: ClipFeatures


@dataclass(frozen=True)
class VideoDone:
    """A video is finished: all of its segments came before this, or ``error`` says why they are not to be used.

    Args:
        digest: xxh3_128 of the file, "" where it could not be read. info: None where it could not be opened.
        from_cache: nothing of the file was decoded.
    """

    video: int
    path: Path
    digest: str
    info: MediaInfo | None
    warnings: list[str] = field(default_factory=list)
    error: EvcapError | None = None
    skipped_packets: int = 0
    loss: Loss = field(default_factory=Loss)
    from_cache: bool = False


@dataclass(frozen=True)
class Idle:
    """Every video so far is finished, and the run waits for the next: what is held back for company is due."""


Event = SegmentReady | VideoDone
