"""Collecting the results of rows until the streams of a segment, the segments of a video, are complete.

Everything here runs in the thread that runs the models; nothing waits.

Notation: n rows of a stream, D the backbone's width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from evcap_cli.features.audio_chunks import AudioBins, Chunk
from evcap_cli.features.sampling import spread
from evcap_cli.features.streams import StreamFeatures
from evcap_cli.features.tracks import objects_of_clip, tracks_of_snippet

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import AudioInput, Detections
    from evcap_cli.features.row_assembly import Ticket
    from evcap_cli.features.runner import Result


class StreamBuilder(Protocol):
    """Takes the results of one stream's rows."""

    def add(self, ticket: Ticket, result: Result | None) -> None:
        """A row's result; None: it is dropped."""

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


class AudioBuilder:
    """Audio: steps of chunks, averaged into bins as they come."""

    def __init__(self, duration: float, audio_input: AudioInput, dim: int) -> None:
        self.bins = AudioBins(dim, duration, audio_input.hop_seconds, audio_input.window_seconds)
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
        """No more chunks than those that are on their way."""
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
