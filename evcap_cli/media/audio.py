"""Sound of one span: mono float samples, -1 to 1, at one rate, in chunks of a second, whatever the track holds.

Notation: positions and ``clock`` count samples at the requested rate from the start of the container.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from av.error import FFmpegError
from av.filter import Graph

from evcap_cli.media.media_file import LEAST_SOUND_RATE
from evcap_cli.media.packets import decoded

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.audio.frame import AudioFrame

    from evcap_cli.media.packets import Skipped
    from evcap_cli.media.scan import OpenVideo

    Samples = npt.NDArray[np.float32]

CHUNK_SECONDS: Final = 1
GAP_SECONDS: Final = 0.1
"""A jump in time stamps larger than this is a gap in the sound; smaller ones are rounding of the container."""
DROPOUT_SECONDS: Final = 60
"""A longer jump of time stamps, with no bad packet before it, is a pause between joined recordings and no loss."""
SEEK_WORTH_SECONDS: Final = 5
STRANGE_STARTS: Final = 8
"""Frames at the start that may claim to lie past the end before they are believed."""
PREROLL_SECONDS: Final = 1
"""Codecs need the packets before the first one requested to get its samples right."""


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
        # a clock that runs back (joined recordings) adds nothing until it is past what was played
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
    before = skipped.seconds
    follows: int | None = None
    """Where the next frame should begin by the track's own clock."""
    for frame in decoded(opened.file.sound_from(preroll), skipped, alive):
        stamped = _position(frame, zero, rate)
        at = None if frame.pts in opened.doubted else stamped
        bad, before = skipped.seconds - before, skipped.seconds
        if clock is None and at is not None and at > end * rate + rate and strange < STRANGE_STARTS:
            strange += 1  # MPEG-TS lets the priming before time 0 wrap around to a day later
            continue
        if clock is not None and (opened.stamps is None or (at is not None and at > end * rate + rate)):
            # stamps that jump, or one that points past the end, are damage: what was lost is counted
            lost = max(round(bad * rate), _step(stamped, follows, rate)) if bad else 0
            at = clock + lost if bad else None
        follows = stamped
        if clock is None:
            skipped.lost += _overlap(start, end, (at or 0) / rate - bad, (at or 0) / rate)
        elif bad or (opened.damaged and at is not None and GAP_SECONDS * rate < at - clock <= DROPOUT_SECONDS * rate):
            since = clock / rate
            skipped.lost += _overlap(start, end, since, max(since + bad, since if at is None else at / rate))
        if clock is None or (at is not None and abs(at - clock) > GAP_SECONDS * rate):
            if clock is not None:
                yield clock, resampler.rest()
            clock = 0 if at is None else at
        follows = None if follows is None else follows + frame.samples * rate // (frame.sample_rate or rate)
        samples = resampler.resample(frame)
        yield clock, samples
        clock += len(samples)
        if resampler.refused:
            length = frame.samples * rate // (frame.sample_rate or rate)
            skipped.lost += _overlap(start, end, clock / rate, (clock + length) / rate)
            clock += length
        if clock > end * rate:
            return
    if skipped.gave_up or skipped.seconds > before or clock is None:
        since = float(start) if clock is None else clock / rate
        until = since + skipped.seconds - before
        if (skipped.gave_up or clock is None) and opened.sound_end is not None:
            until = max(until, float(opened.sound_end - zero))
        skipped.lost += _overlap(start, end, since, until)
    if clock is not None:
        yield clock, resampler.rest()


def _step(at: int | None, follows: int | None, rate: int) -> int:
    """Samples missing before a frame by the track's own clock, where that is a dropout and not another clock."""
    ahead = 0 if at is None or follows is None else at - follows
    return ahead if 0 < ahead <= DROPOUT_SECONDS * rate else 0


def _overlap(start: Fraction, end: Fraction, first: float, last: float) -> Fraction:
    """How much of [first, last) lies in the span, seconds."""
    return Fraction(max(0.0, min(last, float(end)) - max(first, float(start))))


def _position(frame: AudioFrame, zero: Fraction, rate: int) -> int | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return round((frame.pts * frame.time_base - zero) * rate)


class _Resampler:
    """Mixes to mono and resamples to one rate; begins again where the track changes its form."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.refused = False
        """Whether the last frame has a form that cannot be mixed, such as too many channels."""
        self._form: tuple[str, str, int] | None = None
        self._graph: Graph | None = None

    def resample(self, frame: AudioFrame) -> Samples:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        rest = _joined([]) if form == self._form else self.rest()
        self.refused = frame.sample_rate < LEAST_SOUND_RATE
        if self.refused:
            return rest
        try:
            if self._graph is None:
                self._graph, self._form = _mixer(frame, self.rate), form
            self._graph.push(frame)
            return np.concatenate([rest, _joined(_pulled(self._graph))])
        except (FFmpegError, ValueError):
            self._graph = self._form = None
            self.refused = True
            return rest

    def rest(self) -> Samples:
        """What has not come out yet; the next frame begins again."""
        graph, self._graph, self._form = self._graph, None, None
        if graph is None:
            return _joined([])
        try:
            graph.push(None)
            return _joined(_pulled(graph))
        except (FFmpegError, ValueError):
            return _joined([])


def _mixer(frame: AudioFrame, rate: int) -> Graph:
    """From frames of one form to mono at ``rate``: the mean of the channels.

    So what all channels hold keeps its level, however many they are. A channel of low-frequency effects is left out
    where there are others: it holds no content of its own. All count alike where the file does not say what they are.
    """
    clock = {} if frame.time_base is None else {"time_base": str(frame.time_base)}
    form = {"sample_rate": str(frame.sample_rate), "sample_fmt": frame.format.name, "channel_layout": frame.layout.name}
    graph = Graph()
    filters = [graph.add("abuffer", **form, **clock), graph.add("aformat", sample_fmts="fltp")]
    names = [channel.name for channel in frame.layout.channels]
    if len(names) > 1:
        mixed = [place for place, name in enumerate(names) if not name.startswith("LFE")] or list(range(len(names)))
        filters.append(graph.add("pan", "mono|c0=" + "+".join(f"{1 / len(mixed):.9f}*c{place}" for place in mixed)))
    filters.append(graph.add("aformat", sample_rates=str(rate), sample_fmts="fltp", channel_layouts="mono"))
    graph.link_nodes(*filters, graph.add("abuffersink")).configure()
    return graph


def _pulled(graph: Graph) -> Iterator[AudioFrame]:
    while True:
        try:
            frame: Any = graph.pull()
        except (EOFError, BlockingIOError):
            return
        yield frame


def _joined(frames: Iterable[AudioFrame]) -> Samples:
    """Samples in a row; what exceeds -1 to 1, in the file or by the resampler's overshoot, is cut off as players do."""
    pieces = [frame.to_ndarray()[0] for frame in frames]
    if not pieces:
        return np.zeros(0, np.float32)
    samples: Samples = np.nan_to_num(np.concatenate(pieces), nan=0.0)
    return np.clip(samples, -1, 1, out=samples)
