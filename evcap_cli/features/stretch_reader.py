"""Decoding one stretch of a video: frames become rows, sound becomes chunks, segment by segment.

A segment begins when the first of its frames or of its sound comes; only then its rows and builders are made. Picture
and sound come in step, so that a segment is complete soon after the pass has left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, cast

import numpy as np

from evcap_cli.backbones.contract import AudioInput, BackboneSpec
from evcap_cli.features.audio_chunks import AudioCutter, Chunk
from evcap_cli.features.reader_messages import AudioEnd, AudioRow, Rows
from evcap_cli.features.row_assembly import RowAssembler, Ticket, planned_rows
from evcap_cli.features.sampling import ClipSample, row_times, sampler
from evcap_cli.features.stream_builders import AudioBuilder, ObjectsBuilder, RowsBuilder, StreamBuilder
from evcap_cli.features.video_state import SegmentState
from evcap_cli.media.decode_plan import AudioChunk, AudioRequest, DecodedFrame, DecodePlan, FrameRequest
from evcap_cli.media.decode_report import DecodeReport
from evcap_cli.media.frames import Geometry

if TYPE_CHECKING:
    from collections.abc import Generator

    from evcap_cli.features.row_assembly import PlannedRow
    from evcap_cli.features.runner import Row
    from evcap_cli.features.sampling import Ordinals
    from evcap_cli.features.video_reader import VideoReading
    from evcap_cli.media.probe import Timeline
    from evcap_cli.media.segments import Segment


class StretchReader:
    """One pass over consecutive segments.

    Args:
        segments: of the stretch. sent: the number of the first segment that was not sent yet.
        partial: other passes see the rest of the file.
    """

    def __init__(
        self, reading: VideoReading, timeline: Timeline, segments: Sequence[Segment], sent: int, *, partial: bool
    ) -> None:
        self.reading, self.plan, self.timeline, self.segments = reading, reading.plan, timeline, segments
        self.begun, self.partial = sent - segments[0].index, partial
        geometries = self.plan.geometries
        self.names = {geometry: f"g{number}" for number, geometry in enumerate(dict.fromkeys(geometries.values()))}
        self.assemblers = {name: RowAssembler() for name in self.names.values()}
        firsts = np.array([self._sample(segment).first for segment in segments])
        # of overlapping segments one may begin later and need an earlier frame, the one on screen at its start
        self.firsts = np.minimum.accumulate(firsts[::-1])[::-1]
        self.sound = _AudioRouter(reading)

    def run(self) -> DecodeReport:
        """Send everything; returns how the pass went."""
        audio_input = self.plan.audio if self.timeline.info.has_audio else None
        first, last_end = self.segments[0], max(segment.end for segment in self.segments)
        plan = DecodePlan(
            frames={name: FrameRequest(geometry, self._ordinals(geometry)) for geometry, name in self.names.items()},
            audio=None if audio_input is None else AudioRequest(audio_input.rate, first.start, last_end),
            in_step=len(self.segments) > 1,
            partial=self.partial,
        )
        if audio_input is None:
            self.sound.pass_until(np.inf)
        report = DecodeReport()
        decoded = self.reading.reader.decoder.decode(plan)
        # closed in time, so that an abandoned pass ends before the decoder opens the next file
        with closing(cast("Generator[DecodedFrame | AudioChunk | DecodeReport, None, None]", decoded)) as stream:
            for item in stream:
                self.reading.reader.backpressure.check(self.reading.video)
                if isinstance(item, DecodedFrame):
                    while self.begun < len(self.segments) and self.firsts[self.begun] <= item.ordinal:
                        self._begin()
                    self._send(self.assemblers[item.key].accept(item.ordinal, item.pixels))
                elif isinstance(item, AudioChunk):
                    end = item.start + len(item.samples) / audio_input.rate if audio_input is not None else 0.0
                    while self.begun < len(self.segments) and float(self.segments[self.begun].start) < end:
                        self._begin()
                    self.sound.add(item)
                else:
                    report = item
        while self.begun < len(self.segments):
            self._begin()
        for assembler in self.assemblers.values():
            self._send(assembler.finish())
        self.sound.pass_until(np.inf)
        return report

    def _ordinals(self, geometry: Geometry) -> Ordinals:
        """The distinct frames that are needed in one geometry; of all segments, whatever the cache holds."""
        kinds = [kind for kind, other in self.plan.geometries.items() if other == geometry]
        needed = [
            np.unique([row.ordinals for row in planned_rows(0, 0, self.plan.specs[kind], self._sample(segment))])
            for segment in self.segments
            for kind in kinds
        ]
        return np.unique(np.concatenate(needed))

    def _sample(self, segment: Segment) -> ClipSample:
        timeline = self.timeline
        return sampler(self.plan.sampling)(timeline.times, timeline.time_base, segment.start, segment.end)

    def _begin(self) -> None:
        """Open the next segment: its state goes to the thread that runs the models, its rows to the assemblers."""
        segment = self.segments[self.begun]
        self.begun += 1
        sample = self._sample(segment)
        state = SegmentState(segment, self.reading.cached(segment))
        missing = [kind for kind in self.plan.specs if kind not in state.streams]
        state.builders = {kind: self._builder(self.plan.specs[kind], state, sample) for kind in missing}
        self.reading.send_opened(state)
        rows: dict[str, list[PlannedRow]] = {}
        for kind, geometry in self.plan.geometries.items():
            if kind in missing:
                more = planned_rows(self.reading.video, segment.index, self.plan.specs[kind], sample)
                rows.setdefault(self.names[geometry], []).extend(more)
        for name, expected in rows.items():
            self.assemblers[name].expect(expected)
        if "audio" in missing:
            self.sound.begin(segment)

    def _builder(self, spec: BackboneSpec, state: SegmentState, sample: ClipSample) -> StreamBuilder:
        if isinstance(spec.input, AudioInput):
            return AudioBuilder(state.duration, spec.input, spec.dim)
        ordinals = {"appearance": sample.frames, "motion": sample.centres, "object": sample.key_frames}[spec.kind]
        times = row_times(self.timeline.times, self.timeline.time_base, ordinals, state.segment.start)
        if spec.kind == "object":
            return ObjectsBuilder(times, [len(frames) for frames in sample.snippets()], spec.dim)
        return RowsBuilder(times, spec.dim, sample.rows)

    def _send(self, rows: list[tuple[Ticket, Row | None]]) -> None:
        if rows:
            size = sum(0 if row is None else row.nbytes for _, row in rows)
            self.reading.queue.put(Rows(self.reading.video, rows), size)


class _AudioRouter:
    """Cuts the sound of one pass into the chunks of the segments that have begun."""

    def __init__(self, reading: VideoReading) -> None:
        self.reading = reading
        self.open: dict[int, AudioCutter] = {}
        self.rows: dict[int, int] = {}
        self.reached = 0.0
        """Seconds up to which no more sound comes."""

    def begin(self, segment: Segment) -> None:
        """A segment whose sound is needed."""
        audio_input = self.reading.plan.audio
        if audio_input is not None:
            self.open[segment.index] = AudioCutter(audio_input, float(segment.start), float(segment.end))
            self.pass_until(self.reached)

    def add(self, chunk: AudioChunk) -> None:
        """Hand samples to the segments that they belong to; segments that are past are finished."""
        for number, cutter in self.open.items():
            first = round(chunk.start * cutter.rate)
            if cutter.first < first + len(chunk.samples) and first < cutter.last:
                self._send(number, cutter.add(chunk.start, chunk.samples))
        self.pass_until(chunk.until)

    def pass_until(self, seconds: float) -> None:
        """No more sound comes before ``seconds``."""
        self.reached = seconds
        for number, cutter in list(self.open.items()):
            if cutter.last <= seconds * cutter.rate + 0.5:
                self._send(number, self.open.pop(number).finish())
                self.reading.queue.put(AudioEnd(self.reading.video, number))

    def _send(self, number: int, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self.reading.reader.backpressure.check(self.reading.video)
            row = self.rows[number] = self.rows.get(number, -1) + 1
            ticket = Ticket(self.reading.video, number, "audio", row)
            self.reading.queue.put(AudioRow(ticket, chunk), chunk.samples.nbytes)
