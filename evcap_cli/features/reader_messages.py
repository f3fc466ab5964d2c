"""Messages of a reading thread to the thread that runs the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evcap_cli.errors import EvcapError
    from evcap_cli.features.audio_chunks import Chunk
    from evcap_cli.features.row_assembly import Ticket
    from evcap_cli.features.runner import Row
    from evcap_cli.features.video_facts import VideoFacts
    from evcap_cli.features.video_state import SegmentState
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
class AudioRow:
    """One chunk for the audio model."""

    ticket: Ticket
    chunk: Chunk

    @property
    def video(self) -> int:
        """Its number."""
        return self.ticket.video


@dataclass(frozen=True)
class AudioEnd:
    """A segment's sound is over."""

    video: int
    segment: int


@dataclass(frozen=True)
class Waiting:
    """The reader of this video waits until the video is next in line."""

    video: int


@dataclass(frozen=True)
class Read:
    """Nothing more comes from this video; no facts: it was given up on demand.

    ``from_cache``: nothing of it was decoded.
    """

    video: int
    facts: VideoFacts | None
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


Message = Opened | SegmentOpened | Rows | AudioRow | AudioEnd | Waiting | Read | Failed | Broken
