"""What is known so far of the videos and segments under way, in the thread that runs the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.media.decode_report import Loss

if TYPE_CHECKING:
    from pathlib import Path

    from evcap_cli.backbones.contract import BackboneSpec, Kind
    from evcap_cli.errors import EvcapError
    from evcap_cli.features.audio_chunks import Chunk
    from evcap_cli.features.feature_plan import FeaturePlan
    from evcap_cli.features.row_assembly import Ticket
    from evcap_cli.features.stream_builders import AudioBuilder, StreamBuilder
    from evcap_cli.media.probe import MediaInfo
    from evcap_cli.media.segments import Segment


@dataclass
class SegmentState:
    """A segment on its way: streams that are there, builders of those that are not."""

    segment: Segment
    streams: dict[Kind, StreamFeatures] = field(default_factory=dict)
    builders: dict[Kind, StreamBuilder] = field(default_factory=dict)

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.segment.end - self.segment.start)

    @property
    def nbytes(self) -> int:
        """Of the streams that are there."""
        return sum(stream.values.numel() * stream.values.element_size() for stream in self.streams.values())

    def expect_audio(self, ticket: Ticket, chunk: Chunk) -> None:
        """A chunk of the audio stream is on its way."""
        cast("AudioBuilder", self.builders["audio"]).expect(ticket, chunk)

    def end_audio(self) -> None:
        """No more chunks of the audio stream come."""
        cast("AudioBuilder", self.builders["audio"]).close()

    def settle(self, kind: Kind) -> StreamFeatures | None:
        """The stream of ``kind`` if its builder has just completed it."""
        stream = self.builders[kind].stream()
        if stream is not None:
            self.streams[kind] = stream
            del self.builders[kind]
        return stream

    def features(self, order: Mapping[Kind, BackboneSpec]) -> ClipFeatures:
        """All streams, in the order of the backbones; appearance and motion with the moments that both have."""
        streams = {kind: self.streams[kind] for kind in order}
        if "appearance" in streams and "motion" in streams:
            streams["appearance"], streams["motion"] = same_moments(streams["appearance"], streams["motion"])
        return ClipFeatures(streams, self.duration)


def same_moments(one: StreamFeatures, other: StreamFeatures) -> tuple[StreamFeatures, StreamFeatures]:
    """Both streams without the moments that only one of them has.

    They differ where a damaged frame decoded in one run and not in another, and the cache met both.
    """
    import torch

    if len(one.times) == len(other.times):
        return one, other
    kept = [torch.isin(a.times, b.times) for a, b in ((one, other), (other, one))]
    first, second = (StreamFeatures(s.values[k], s.times[k]) for s, k in zip((one, other), kept, strict=True))
    return first, second


@dataclass
class VideoState:
    """A video on its way."""

    path: Path
    plan: FeaturePlan
    digest: str = ""
    info: MediaInfo | None = None
    count: int = 0
    """Segments it has; known once it is open."""
    segments: dict[int, SegmentState] = field(default_factory=dict)
    """Those that have begun and are not finished, by number."""
    warnings: list[str] = field(default_factory=list)
    skipped_packets: int = 0
    loss: Loss = field(default_factory=Loss)
    from_cache: bool = False
    read: bool = False
    """Nothing more comes from its file."""
    emitted: int = 0
    """Segments that are finished: handed out, or left out because no frame of theirs decodes."""
    handed_out: int = 0
    error: EvcapError | None = None
