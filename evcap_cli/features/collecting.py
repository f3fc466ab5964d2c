"""Collecting the results of rows until the streams of a segment, the segments of a video, are complete.

Everything here runs in the thread that runs the models; nothing waits.

Notation: n rows of a stream, D the backbone's width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from evcap_cli.features.sampling import spread
from evcap_cli.features.sound import AudioBins, Chunk
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.features.tracks import objects_of_clip, tracks_of_snippet
from evcap_cli.media.plan import Loss

if TYPE_CHECKING:
    from pathlib import Path

    from evcap_cli.backbones.contract import AudioInput, BackboneSpec, Detections, Kind
    from evcap_cli.errors import EvcapError
    from evcap_cli.features.assembly import Ticket
    from evcap_cli.features.runner import Result
    from evcap_cli.media.probe import MediaInfo
    from evcap_cli.media.segments import Segment


class StreamBuilder(Protocol):
    """Takes the results of one stream's rows."""

    def add(self, ticket: Ticket, result: Result | None) -> None:
        """A row's result; None: it is dropped."""

    def close(self) -> None:
        """No more rows than those that are under way."""

    def stream(self) -> StreamFeatures | None:
        """The stream, once it is complete."""


class RowsBuilder:
    """Appearance or motion: one result a frame.

    Args:
        times: (n,) seconds of the frames.
        rows: how many rows are spread over the frames, see ``ClipSample``; where a frame is lost, they show its nearest
            neighbour. None: one row a frame, none for a lost one.
    """

    def __init__(self, times: NDArray[np.float32], dim: int, rows: int | None = None) -> None:
        self.times, self.dim, self.rows = times, dim, rows
        self.results: dict[int, Result | None] = {}

    def add(self, ticket: Ticket, result: Result | None) -> None:
        """See ``StreamBuilder``."""
        self.results[ticket.row] = result

    def close(self) -> None:
        """How many rows there are is known from the start."""

    def stream(self) -> StreamFeatures | None:
        """See ``StreamBuilder``."""
        if len(self.results) < len(self.times):
            return None
        kept = [row for row in range(len(self.times)) if self.results[row] is not None]
        if self.rows is not None and kept:
            have = np.array(kept)
            kept = [int(have[np.abs(have - frame).argmin()]) for frame in spread(len(self.times), self.rows)]
        return _stream([self.results[row] for row in kept], self.times[kept], self.dim)


class ObjectsBuilder:
    """Objects: detections of each frame of each snippet.

    Args:
        times: (k,) seconds of the key frames. frames: how many frames each snippet has.
    """

    def __init__(self, times: NDArray[np.float32], frames: list[int], dim: int) -> None:
        self.times, self.frames, self.dim = times, frames, dim
        self.found: dict[tuple[int, int], Detections | None] = {}

    def add(self, ticket: Ticket, result: Result | None) -> None:
        """See ``StreamBuilder``."""
        self.found[ticket.row, ticket.part] = result

    def close(self) -> None:
        """How many rows there are is known from the start."""

    def stream(self) -> StreamFeatures | None:
        """See ``StreamBuilder``."""
        if len(self.found) < sum(self.frames):
            return None
        snippets, times = [], []
        for row, count in enumerate(self.frames):
            detections = [d for d in (self.found[row, part] for part in range(count)) if d is not None]
            if detections:
                snippets.append(tracks_of_snippet(detections))
                times.append(self.times[row])
        if not any(len(tracks.scores) for tracks in snippets):
            return _stream([], np.zeros(0, dtype=np.float32), self.dim)
        values, owner = objects_of_clip(snippets)
        return _stream(list(values), np.array(times, dtype=np.float32)[owner.numpy()], self.dim)


class SoundBuilder:
    """Audio: steps of chunks, averaged into bins as they come."""

    def __init__(self, duration: float, wanted: AudioInput, dim: int) -> None:
        self.bins = AudioBins(dim, duration, wanted.hop_seconds, wanted.window_seconds)
        self.dim = dim
        self.chunks: dict[int, Chunk] = {}
        self.closed = False

    def expect(self, ticket: Ticket, chunk: Chunk) -> None:
        """A chunk is on its way; its samples are not kept here."""
        self.chunks[ticket.row] = Chunk(chunk.samples[:0], chunk.start, chunk.keep_from, chunk.keep_until)

    def add(self, ticket: Ticket, result: Result | None) -> None:
        """See ``StreamBuilder``."""
        chunk = self.chunks.pop(ticket.row)
        if result is not None:
            self.bins.add(chunk, result.numpy())

    def close(self) -> None:
        """The sound is over."""
        self.closed = True

    def stream(self) -> StreamFeatures | None:
        """See ``StreamBuilder``."""
        if not self.closed or self.chunks:
            return None
        values, times = self.bins.rows()
        return _stream(list(values), times, self.dim)


def _stream(rows: list[Result], times: NDArray[np.float32], dim: int) -> StreamFeatures:
    import torch

    values = torch.stack([torch.as_tensor(row) for row in rows]) if rows else torch.zeros(0, dim)
    return StreamFeatures(values.float().contiguous(), torch.from_numpy(np.ascontiguousarray(times)))


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
    digest: str = ""
    info: MediaInfo | None = None
    count: int = 0
    """Segments it has; known once it is open."""
    segments: dict[int, SegmentState] = field(default_factory=dict)
    """Those that have begun and are not behind us, by number."""
    warnings: list[str] = field(default_factory=list)
    skipped_packets: int = 0
    loss: Loss = field(default_factory=Loss)
    from_cache: bool = False
    read: bool = False
    """Nothing more comes from its file."""
    emitted: int = 0
    """Segments that are behind us: handed out, or left out because no frame of theirs decodes."""
    handed_out: int = 0
    error: EvcapError | None = None
