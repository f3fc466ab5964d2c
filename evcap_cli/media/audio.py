"""Sound of one span: mono float samples at one rate, in chunks of a second, whatever the track holds.

Notation: positions and ``clock`` count samples at the asked rate from the start of the container.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from av.audio.resampler import AudioResampler
from av.error import FFmpegError

from evcap_cli.media.source import decoded

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.audio.frame import AudioFrame

    from evcap_cli.media.scan import OpenVideo
    from evcap_cli.media.source import Skipped

    Samples = npt.NDArray[np.float32]

CHUNK_SECONDS: Final = 1
GAP_SECONDS: Final = 0.1
"""A jump in time stamps larger than this is a gap in the sound; smaller ones are rounding of the container."""
SEEK_WORTH_SECONDS: Final = 5
STRANGE_STARTS: Final = 8
"""Frames at the start that may claim to lie behind the end before they are believed."""
PREROLL_SECONDS: Final = 1
"""Codecs need the packets before the first one wanted to get its samples right."""


def sound(
    opened: OpenVideo, rate: int, start: Fraction, end: Fraction, skipped: Skipped, alive: Callable[[], None]
) -> Iterator[tuple[float, Samples]]:
    """(seconds from the container's start, mono samples) for ``start`` to ``end``, in order; gaps are left out.

    Nothing comes where the track does not decode. Samples before time 0 (encoder priming) are dropped.
    """
    chunk: list[Samples] = []
    first, last = round(start * rate), round(end * rate)
    begin = done = first
    for at, samples in _pieces(opened, rate, start, end, skipped, alive):
        # a clock that runs back (joined recordings) tells nothing new until it is past what was heard
        kept = samples[max(done - at, 0) : max(last - at, 0)]
        if not len(kept):
            continue
        at = max(at, done)
        if at != done or done - begin >= CHUNK_SECONDS * rate:
            if chunk:
                yield begin / rate, np.concatenate(chunk)
            chunk, begin = [], at
        chunk.append(kept)
        done = at + len(kept)
    if chunk:
        yield begin / rate, np.concatenate(chunk)


def _pieces(
    opened: OpenVideo, rate: int, start: Fraction, end: Fraction, skipped: Skipped, alive: Callable[[], None]
) -> Iterator[tuple[int, Samples]]:
    """(position, samples), continuous but for real gaps."""
    resampler = _Resampler(rate)
    clock: int | None = None
    strange = 0
    zero = opened.origin
    preroll = zero + (start if start >= SEEK_WORTH_SECONDS else 0) - PREROLL_SECONDS
    for frame in decoded(opened.source.sound_from(preroll), skipped, alive):
        at = _position(frame, zero, rate)
        if clock is None and at is not None and at > end * rate + rate and strange < STRANGE_STARTS:
            strange += 1  # MPEG-TS lets the priming before time 0 wrap around to a day later
            continue
        if clock is not None and (opened.stamps is None or (at is not None and at > end * rate + rate)):
            at = None  # stamps that jump, or one that points past the end, are damage
        if clock is None or (at is not None and abs(at - clock) > GAP_SECONDS * rate):
            if clock is not None:
                yield clock, resampler.rest()
            clock = 0 if at is None else at
        samples = resampler.resample(frame)
        yield clock, samples
        clock += len(samples)
        if clock > end * rate:
            return
    if clock is not None:
        yield clock, resampler.rest()


def _position(frame: AudioFrame, zero: Fraction, rate: int) -> int | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return round((frame.pts * frame.time_base - zero) * rate)


class _Resampler:
    """To mono floats at one rate; begins anew where the track changes its form."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._inner = self._new()

    def _new(self) -> AudioResampler:
        return AudioResampler(format="flt", layout="mono", rate=self.rate)

    def resample(self, frame: AudioFrame) -> Samples:
        try:
            return _joined(self._inner.resample(frame))
        except (FFmpegError, ValueError):
            self._inner = self._new()
        try:
            return _joined(self._inner.resample(frame))
        except (FFmpegError, ValueError):
            self._inner = self._new()
            return _joined([])

    def rest(self) -> Samples:
        """What is still held back; the next frame begins anew."""
        try:
            return _joined(self._inner.resample(None))
        except (FFmpegError, ValueError):
            return _joined([])
        finally:
            self._inner = self._new()


def _joined(frames: list[AudioFrame]) -> Samples:
    pieces = [frame.to_ndarray().reshape(-1) for frame in frames]
    return np.concatenate(pieces).astype(np.float32, copy=False) if pieces else np.zeros(0, np.float32)
