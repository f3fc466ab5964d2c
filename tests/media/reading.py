"""Reading clips two ways: as evcap does, and plainly from the first packet to the last, to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler

from evcap_cli.media.decode_plan import AudioChunk, AudioRequest, DecodedFrame, DecodePlan, FrameRequest
from evcap_cli.media.decode_report import DecodeReport
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.frames import Geometry

AS_IT_IS = Geometry(short_side=64, fit="keep")
RATE = 16_000


@dataclass
class Received:
    """What one pass sent."""

    frames: dict[int, np.ndarray[Any, Any]] = field(default_factory=dict)
    chunks: list[tuple[float, np.ndarray[Any, Any]]] = field(default_factory=list)
    report: DecodeReport | None = None

    @property
    def samples(self) -> np.ndarray[Any, Any]:
        """All samples in a row, gaps left out."""
        return np.concatenate([samples for _, samples in self.chunks])

    @property
    def sound_start(self) -> float:
        return self.chunks[0][0]


def run(
    decoder: Decoder,
    ordinals: Iterable[int] | None = None,
    *,
    geometry: Geometry = AS_IT_IS,
    sound: tuple[float, float] | None = None,
) -> Received:
    """One pass over the open file: the frames named (all by default), and the sound of a span."""
    assert decoder.timeline is not None
    wanted = list(range(len(decoder.timeline.times))) if ordinals is None else list(ordinals)
    audio = None if sound is None else AudioRequest(RATE, Fraction(sound[0]), Fraction(sound[1]))
    received = Received()
    for item in decoder.decode(DecodePlan({"only": FrameRequest(geometry, wanted)} if wanted else {}, audio)):
        if isinstance(item, DecodedFrame):
            received.frames[item.ordinal] = item.pixels.copy()
        elif isinstance(item, AudioChunk):
            received.chunks.append((item.start, item.samples))
        else:
            received.report = item
    return received


def plain_pictures(path: Path) -> list[np.ndarray[Any, Any]]:
    """Every frame, decoded in order by PyAV alone, in its own size."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def plain_sound(path: Path) -> tuple[float, np.ndarray[Any, Any]]:
    """(time of the first sample, the whole track at 16 kHz mono), mixed by numpy, by PyAV's resampler alone."""
    pack, resampler = AudioResampler(format="flt"), AudioResampler(format="flt", layout="mono", rate=RATE)
    pieces = []
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    mixed = [place for place, channel in enumerate(frames[0].layout.channels) if channel.name != "LFE"]
    for frame in (part for each in frames for part in pack.resample(each)):
        samples = frame.to_ndarray().reshape(frame.samples, -1)[:, mixed]
        mean = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.mean(1)[None]), format="flt", layout="mono")
        mean.sample_rate, mean.pts, mean.time_base = frame.sample_rate, frame.pts, frame.time_base
        pieces += resampler.resample(mean)
    pieces += resampler.resample(None)
    return float(frames[0].time), np.concatenate([piece.to_ndarray()[0] for piece in pieces])
