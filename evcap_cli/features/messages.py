"""What a reading thread tells the thread that runs the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evcap_cli.errors import EvcapError
    from evcap_cli.features.assembly import Ticket
    from evcap_cli.features.collecting import SegmentState
    from evcap_cli.features.outcome import Outcome
    from evcap_cli.features.runner import Row
    from evcap_cli.features.sound import Chunk
    from evcap_cli.media.probe import MediaInfo


@dataclass(frozen=True)
class Opened:
    """How many segments a video has is known."""

    video: int
    digest: str
    info: MediaInfo
    segments: int


@dataclass(frozen=True)
class SegmentOpened:
    """A segment begins; streams from the cache are in its state, the others have builders. They come in order."""

    video: int
    segment: int
    state: SegmentState


@dataclass(frozen=True)
class Rows:
    """Rows for the models; None: the row is dropped, its frame did not decode."""

    video: int
    rows: list[tuple[Ticket, Row | None]]


@dataclass(frozen=True)
class Sound:
    """One chunk for the audio model."""

    ticket: Ticket
    chunk: Chunk


@dataclass(frozen=True)
class SoundEnd:
    """A segment's sound is over."""

    video: int
    segment: int


@dataclass(frozen=True)
class Parked:
    """The reader of this video waits until the video is next in line."""

    video: int


@dataclass(frozen=True)
class Read:
    """Nothing more comes from this video; no outcome: it was given up on demand.

    ``from_cache``: nothing of it was decoded.
    """

    video: int
    outcome: Outcome | None
    from_cache: bool = False


@dataclass(frozen=True)
class Failed:
    """The video cannot be read."""

    video: int
    error: EvcapError
    digest: str = ""
    info: MediaInfo | None = None


@dataclass(frozen=True)
class Broken:
    """The run cannot go on: a mistake of ours, or a call that works for no video."""

    problem: BaseException


Message = Opened | SegmentOpened | Rows | Sound | SoundEnd | Parked | Read | Failed | Broken
