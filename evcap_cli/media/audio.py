"""Sound of one span: mono float samples, -1 to 1, at one rate, in chunks of a second, whatever the track holds.

Notation: positions and ``clock`` count samples at the asked rate from the start of the container.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import FFmpegError

from evcap_cli.media.source import decoded

if TYPE_CHECKING:
    import numpy.typing as npt

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
    """Mixes to mono and resamples to one rate; begins anew where the track changes its form."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._form: tuple[str, str, int] | None = None
        self._restart()

    def _restart(self) -> None:
        # floats, packed: PyAV reads beyond the planes of a frame that has eight or more of them
        self._packed = AudioResampler(format="flt")
        self._inner = AudioResampler(format="flt", layout="mono", rate=self.rate)

    def resample(self, frame: AudioFrame) -> Samples:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        held = self.rest() if self._form not in (None, form) else _joined([])
        self._form = form
        try:
            packed = self._packed.resample(frame)
            pieces = [piece for each in packed for piece in self._inner.resample(mono(each))]
        except (FFmpegError, ValueError):
            self._restart()
            pieces = []
        return np.concatenate([held, _joined(pieces)])

    def rest(self) -> Samples:
        """What is still held back; the next frame begins anew."""
        try:
            return _joined(self._inner.resample(None))
        except (FFmpegError, ValueError):
            return _joined([])
        finally:
            self._form = None
            self._restart()


def mono(packed: AudioFrame) -> AudioFrame:
    """The mean of a frame's channels: what all of them hold keeps its level, however many they are.

    A channel of low-frequency effects is left out where there are others: it holds no content of its own. All channels
    count alike where the file does not say what they are. What exceeds -1 to 1 is cut off, as players do.

    Args:
        packed: of format ``flt``.
    """
    samples = packed.to_ndarray().reshape(packed.samples, -1)
    kept = [place for place, channel in enumerate(packed.layout.channels) if not channel.name.startswith("LFE")]
    if 0 < len(kept) < samples.shape[1]:
        samples = samples[:, kept]
    mixed = np.clip(np.nan_to_num(samples.mean(axis=1, dtype=np.float32), nan=0.0), -1, 1)
    one = AudioFrame.from_ndarray(mixed[None], format="flt", layout="mono")
    one.sample_rate, one.pts = packed.sample_rate, packed.pts
    if packed.time_base is not None:
        one.time_base = packed.time_base
    return one


def _joined(frames: list[AudioFrame]) -> Samples:
    """Samples in a row; a resampler may overshoot at edges, which is cut off."""
    pieces = [frame.to_ndarray().reshape(-1) for frame in frames]
    if not pieces:
        return np.zeros(0, np.float32)
    return np.clip(np.concatenate(pieces).astype(np.float32, copy=False), -1, 1)
