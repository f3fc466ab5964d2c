"""Cutting sound into the chunks an audio backbone wants, and averaging its steps into bins (paper 1.1, *Decision*).

Works on a stream: neither the sound nor the steps of a long video are ever in memory at once.

Notation: L samples of a segment's sound at ``rate``; a chunk has C samples; D the backbone's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evcap_cli.backbones.contract import AudioInput

Samples = NDArray[np.float32]

BINS: Final = 60
"""N_a: rows of the audio stream, at most."""
MIN_SOUND_SECONDS: Final = 0.1
"""Shorter sound is silence to us: it says nothing and is less than the first window of most models."""
LONGEST_SILENCE_SECONDS: Final = 60.0
"""A longer gap is none to be filled: how long it is is only what the file claims, and what follows is cut afresh."""


@dataclass(frozen=True)
class Chunk:
    """Samples for one row of an audio batch.

    Args:
        samples: (C,), or fewer where the whole sound is shorter than a chunk.
        start: seconds of the first sample, on the segment's clock.
        keep_from, keep_until: steps with keep_from <= time < keep_until are this chunk's; neighbours have the others.
    """

    samples: Samples
    start: float
    keep_from: float
    keep_until: float


class AudioCutter:
    """Cuts the sound of one segment as ``AudioInput`` says: full chunks, of overlaps the outer halves dropped, the last
    chunk shifted back to end with the sound, never padded. Where steps are windows, it is shifted to whole hops.

    Args:
        start, end: the segment's limits in seconds of the video; times that come out count from ``start``.
    """

    def __init__(self, sound_input: AudioInput, start: float, end: float) -> None:
        self.rate = sound_input.rate
        self.length = round(sound_input.chunk_seconds * sound_input.rate)
        self.step = self.length - round(sound_input.overlap_seconds * sound_input.rate)
        self.grid = 1 if sound_input.window_seconds is None else round(sound_input.hop_seconds * sound_input.rate)
        self.origin = start
        self.first, self.last = ceil(start * sound_input.rate), ceil(end * sound_input.rate)
        self.pending: Samples = np.zeros(0, dtype=np.float32)
        self.begin: int | None = None  # sample number of the video where the pending ones start
        self.next = 0  # where the next chunk starts, as a sample number
        self.kept = -np.inf  # steps before this time are given away already
        self.cut = 0

    def add(self, start: float, samples: Samples) -> list[Chunk]:
        """Take the next samples, from ``start`` seconds of the video on; gaps become silence (up to
        ``LONGEST_SILENCE_SECONDS``), repeats are dropped.

        Returns:
            The chunks that are complete and certainly not the last.
        """
        at = round(start * self.rate)
        low, high = max(self.first - at, 0), min(self.last - at, len(samples))
        if low >= high:
            return []
        samples, at = samples[low:high], at + low
        if self.begin is None:
            self.begin = self.next = at
        pending_until = self.begin + len(self.pending)
        if at < pending_until:
            samples, at = samples[pending_until - at :], pending_until
        chunks = []
        if at - pending_until > LONGEST_SILENCE_SECONDS * self.rate:
            chunks = self.finish()
            self.begin = self.next = pending_until = at
            self.pending, self.kept, self.cut = self.pending[:0], -np.inf, 0
        gap = np.zeros(max(at - pending_until, 0), dtype=np.float32)
        self.pending = np.concatenate([self.pending, gap, samples])
        # a chunk that ends with the sound so far may be the last one: it waits for one sample more
        while self.begin + len(self.pending) > self.next + self.length:
            chunks.append(self._chunk(self.next - self.begin, self.begin, last=False))
            self.next += self.step
            # the last chunk is shifted back, but never past the start of this one: the sound is longer than it
            drop = self.next - self.step - self.begin
            self.pending, self.begin = self.pending[drop:], self.begin + drop
        return chunks

    def finish(self) -> list[Chunk]:
        """The last chunk, if there is any sound."""
        if self.begin is None:
            return []
        if self.cut == 0 and len(self.pending) < MIN_SOUND_SECONDS * self.rate:
            return []
        # what is pending starts a whole number of chunk steps after the sound, so this is the grid of the first chunk
        offset = max(len(self.pending) - self.length, 0) // self.grid * self.grid
        return [self._chunk(offset, self.begin, last=True)]

    def _chunk(self, offset: int, begin: int, *, last: bool) -> Chunk:
        """The chunk ``offset`` samples into those pending, which start at sample ``begin`` of the video."""
        samples = self.pending[offset : offset + self.length].copy()
        start = (begin + offset) / self.rate - self.origin
        # middles of windows are whole or half samples: a quarter more, and none is on the border by rounding
        border = self.length - (self.length - self.step) / 2 + (0.25 if self.grid > 1 else 0)
        until = np.inf if last else start + border / self.rate
        chunk = Chunk(samples, start, float(self.kept), float(until))
        self.kept = until
        self.cut += 1
        return chunk


class AudioBins:
    """Averages steps by time stamp into at most ``BINS`` equal parts of a segment, summing in float64."""

    def __init__(self, dim: int, duration: float, hop_seconds: float, window_seconds: float | None = None) -> None:
        self.width = max(duration, hop_seconds) / BINS
        self.hop = hop_seconds
        self.middle = 0.5 if window_seconds is None else window_seconds / hop_seconds / 2  # of a step, in hops
        self.sums = np.zeros((BINS, dim))
        self.times = np.zeros(BINS)
        self.counts = np.zeros(BINS, dtype=np.int64)

    def add(self, chunk: Chunk, steps: Samples) -> None:
        """Count the steps of ``chunk``, (steps, D), that are its own."""
        times = chunk.start + (np.arange(len(steps)) + self.middle) * self.hop
        own = (times >= chunk.keep_from) & (times < chunk.keep_until)
        times, steps = times[own], steps[own]
        bins = np.clip((times / self.width).astype(np.int64), 0, BINS - 1)
        if len(bins):
            hit, starts, counts = np.unique(bins, return_index=True, return_counts=True)
            self.sums[hit] += np.add.reduceat(steps.astype(np.float64), starts, axis=0)
            self.times[hit] += np.add.reduceat(times, starts)
            self.counts[hit] += counts

    def rows(self) -> tuple[Samples, Samples]:
        """Means of the bins that got a step: values (n, D) and times (n,), float32."""
        filled = self.counts > 0
        counts = self.counts[filled]
        values = (self.sums[filled] / counts[:, None]).astype(np.float32)
        return values, (self.times[filled] / counts).astype(np.float32)
