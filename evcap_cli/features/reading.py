"""Reading one video for the pipeline: from the cache where everything is there, else by one decoding pass.

Runs in a thread of its own with a decoder of its own; it computes no feature, it sends rows. The pass fetches the same
frames whatever the cache holds (only the forwards are saved), so that what a damaged file yields, warnings included,
does not depend on what was cached before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from evcap_cli.backbones.contract import AudioInput, BackboneSpec, FrameInput, Kind
from evcap_cli.backbones.identity import BackboneIdentity, digest_of, file_digest
from evcap_cli.errors import DecodeFailed, EvcapError, OpenFailed, OutOfMemory, UsageError
from evcap_cli.features.assembly import RowAssembler, Ticket, WantedRow, ordinals_by_input, wanted_rows
from evcap_cli.features.cache import FORMAT, FeatureCache
from evcap_cli.features.collecting import ObjectsBuilder, RowsBuilder, SegmentState, SoundBuilder, StreamBuilder
from evcap_cli.features.messages import Failed, Message, Opened, Parked, Read, Rows, Sound, SoundEnd
from evcap_cli.features.outcome import Outcome
from evcap_cli.features.sampling import ClipSample, row_times, sampler
from evcap_cli.features.sound import Chunk, SoundCutter
from evcap_cli.features.streaming import Abandoned, ByteQueue, Turn
from evcap_cli.media.decoder import AudioChunk, AudioRequest, DecodedFrame, DecodePlan, Decoder, FrameRequest, Timeline
from evcap_cli.media.frames import Geometry
from evcap_cli.media.segments import Segment, segments_of
from evcap_cli.reading.regular import check_regular

if TYPE_CHECKING:
    from collections.abc import Generator

    from evcap_cli.features.runner import Row
    from evcap_cli.features.streams import StreamFeatures
    from evcap_cli.media.decoder import DecodeReport
    from evcap_cli.media.probe import MediaInfo

    Item = DecodedFrame | AudioChunk | DecodeReport

WAITING_SEGMENTS: Final = 64
"""A video that is not next in line waits after so many segments: their features would pile up."""


DIGEST_FIRST_BYTES: Final = 1 << 26
"""A file up to this size is read through in a moment. A larger one is opened first, unless the cache has a note that it
could be: a warm run opens nothing."""


@dataclass(frozen=True)
class ReadingPlan:
    """What is the same for all videos of a run."""

    specs: Mapping[Kind, BackboneSpec]
    identities: Mapping[Kind, BackboneIdentity]
    segmentation: str
    sampling: str
    audio_track: int

    @property
    def geometries(self) -> dict[Kind, Geometry]:
        """How the frames of each picture stream are resized; equal ones are fetched once."""
        return {
            kind: Geometry(
                size=i.size, short_side=i.short_side, max_side=i.max_side, fit=i.fit, interpolation=i.interpolation
            )
            for kind, i in ((kind, spec.input) for kind, spec in self.specs.items())
            if isinstance(i, FrameInput)
        }

    @property
    def audio(self) -> AudioInput | None:
        """What the audio stream wants, if there is one."""
        wanted = self.specs["audio"].input if "audio" in self.specs else None
        return wanted if isinstance(wanted, AudioInput) else None

    def outcome_key(self, digest: str) -> str:
        """Key of what a decoding pass finds out; covers everything the choice of frames depends on."""
        inputs = {kind: {"class": type(s.input).__name__, **asdict(s.input)} for kind, s in self.specs.items()}
        return digest_of([FORMAT, "outcome", digest, self.segmentation, self.sampling, self.audio_track, inputs])

    def stream_key(self, digest: str, segment: Segment, kind: Kind) -> str:
        """Key of one stream of one segment."""
        track = self.audio_track if kind == "audio" else None
        place = [str(segment.start), str(segment.end), track]
        return digest_of([FORMAT, "stream", digest, place, self.sampling, self.identities[kind].cache_identity])


class VideoReader:
    """Reads videos one after the other; each ends with one ``Read`` or ``Failed``.

    Args:
        count_pass: called with the path for each decoding pass.
    """

    def __init__(
        self,
        plan: ReadingPlan,
        decoder: Decoder,
        cache: FeatureCache | None,
        queue: ByteQueue[Message],
        turn: Turn,
        count_pass: Callable[[Path], None],
    ) -> None:
        self.plan, self.decoder, self.cache, self.queue, self.turn = plan, decoder, cache, queue, turn
        self.count_pass = count_pass

    def read(self, video: int, path: Path) -> None:
        """Send everything about one video.

        Raises:
            Stopped: the run is over.
            UsageError: the run cannot work for any video (an extra is missing).
        """
        reading = _Reading(self, video, path)
        try:
            self.queue.put(Read(video, reading.run()))
        except Abandoned:
            self.queue.put(Read(video, None))
        except UsageError:
            raise
        except EvcapError as problem:
            self.queue.put(Failed(video, problem, reading.digest, reading.info))
        except MemoryError:
            full = OutOfMemory("out of memory while reading", path=path, hint="try fewer --workers")
            self.queue.put(Failed(video, full, reading.digest, reading.info))
        except OSError as trouble:
            failed = DecodeFailed(f"cannot be read ({trouble.strerror or trouble})", path=path, hint="check the file")
            self.queue.put(Failed(video, failed, reading.digest, reading.info))


class _Reading:
    """One video; keeps what is known of it for the case that it fails."""

    def __init__(self, reader: VideoReader, video: int, path: Path) -> None:
        self.reader, self.plan, self.queue = reader, reader.plan, reader.queue
        self.video, self.path = video, path
        self.digest = ""
        self.info: MediaInfo | None = None

    def run(self) -> Outcome:
        # a large file that is no video must not be read whole to find that out
        timeline = None if self._digest_first() else self._open()
        self.digest = file_digest(self.path)
        known = self._known_outcome()
        if known is not None:
            self.info = known.info
            states = [SegmentState(segment, self._cached(segment)) for segment in known.segments]
            if all(len(state.streams) == len(self.plan.specs) for state in states):
                self.queue.put(Opened(self.video, self.digest, known.info, states, from_cache=True))
                return known
        timeline = timeline or self._open()
        segments = segments_of(self.plan.segmentation, timeline, self.reader.decoder)
        samples = [self._sample(timeline, segment) for segment in segments]
        states = [SegmentState(segment, self._cached(segment)) for segment in segments]
        for state, sample in zip(states, samples, strict=True):
            state.builders = {
                kind: self._builder(spec, state, sample, timeline)
                for kind, spec in self.plan.specs.items()
                if kind not in state.streams
            }
        missing = [set(state.builders) for state in states]
        self.queue.put(Opened(self.video, self.digest, timeline.info, states, from_cache=False))
        # from here on the states belong to the thread that runs the models
        warnings, skipped = self._decode(timeline, segments, samples, missing)
        return Outcome(timeline.info, tuple(segments), (*timeline.warnings, *warnings), skipped)

    def _open(self) -> Timeline:
        timeline = self.reader.decoder.open(self.path, self.plan.audio_track)
        self.info = timeline.info
        if self.reader.cache is not None and self.path.stat().st_size > DIGEST_FIRST_BYTES:
            self.reader.cache.write(self._opened_key(), {"backbone": "large videos"}, {})
        return timeline

    def _digest_first(self) -> bool:
        """Whether the file is small, or could be opened before and was not changed since."""
        if not self.path.exists() or self.path.stat().st_size <= DIGEST_FIRST_BYTES:
            return True
        check_regular(self.path, error=OpenFailed)
        return self.reader.cache is not None and self.reader.cache.read(self._opened_key()) is not None

    def _opened_key(self) -> str:
        status = self.path.stat()
        return digest_of([FORMAT, "opened", os.path.realpath(self.path), status.st_size, status.st_mtime_ns])

    def _known_outcome(self) -> Outcome | None:
        entry = None if self.reader.cache is None else self.reader.cache.read(self.plan.outcome_key(self.digest))
        return None if entry is None else Outcome.from_plain(entry[0])

    def _cached(self, segment: Segment) -> dict[Kind, StreamFeatures]:
        if self.reader.cache is None:
            return {}
        found = {
            kind: self.reader.cache.read_stream(self.plan.stream_key(self.digest, segment, kind), spec.dim)
            for kind, spec in self.plan.specs.items()
        }
        return {kind: stream for kind, stream in found.items() if stream is not None}

    def _sample(self, timeline: Timeline, segment: Segment) -> ClipSample:
        return sampler(self.plan.sampling)(timeline.times, timeline.time_base, segment.start, segment.end)

    def _builder(
        self, spec: BackboneSpec, state: SegmentState, sample: ClipSample, timeline: Timeline
    ) -> StreamBuilder:
        if isinstance(spec.input, AudioInput):
            return SoundBuilder(state.duration, spec.input, spec.dim)
        ordinals = {"appearance": sample.frames, "motion": sample.centres, "object": sample.key_frames}[spec.kind]
        times = row_times(timeline.times, timeline.time_base, ordinals, state.segment.start)
        if spec.kind == "object":
            return ObjectsBuilder(times, [len(frames) for frames in sample.snippets()], spec.dim)
        return RowsBuilder(times, spec.dim, sample.rows)

    def _decode(
        self, timeline: Timeline, segments: list[Segment], samples: list[ClipSample], missing: list[set[Kind]]
    ) -> tuple[list[str], int]:
        """One pass over the file; returns its warnings and the number of packets skipped."""
        geometries = self.plan.geometries
        rows: dict[Kind, list[WantedRow]] = {
            kind: [
                row
                for s in range(len(segments))
                for row in wanted_rows(self.video, s, self.plan.specs[kind], samples[s])
            ]
            for kind in geometries
        }
        names = {geometry: f"g{number}" for number, geometry in enumerate(dict.fromkeys(geometries.values()))}
        ordinals = ordinals_by_input(rows, geometries)
        assemblers = {
            name: RowAssembler(
                [
                    row
                    for kind, given in rows.items()
                    if geometries[kind] == geometry
                    for row in given
                    if kind in missing[row.ticket.segment]
                ]
            )
            for geometry, name in names.items()
        }
        sound = _SoundRouter(self, segments, missing)
        wanted = self.plan.audio if timeline.info.has_audio else None
        plan = DecodePlan(
            frames={name: FrameRequest(geometry, ordinals[geometry]) for geometry, name in names.items()},
            audio=None if wanted is None else AudioRequest(wanted.rate, segments[0].start, segments[-1].end),
        )
        if wanted is None:
            sound.finish()
        self.reader.count_pass(self.path)
        warnings: list[str] = []
        skipped = 0
        # closed in time, so that an abandoned pass ends before the decoder is asked for the next file
        with closing(cast("Generator[Item, None, None]", self.reader.decoder.decode(plan))) as stream:
            for item in stream:
                self.reader.turn.check(self.video)
                if isinstance(item, DecodedFrame):
                    self._send(assemblers[item.key].accept(item.ordinal, item.pixels))
                elif isinstance(item, AudioChunk):
                    sound.feed(item)
                else:
                    warnings, skipped = list(item.warnings), item.skipped_packets
        for assembler in assemblers.values():
            self._send(assembler.finish())
        sound.finish()
        return warnings, skipped

    def _send(self, rows: list[tuple[Ticket, Row | None]]) -> None:
        if not rows:
            return
        self._wait_in_line(rows[-1][0].segment)
        self.queue.put(Rows(self.video, rows), sum(0 if row is None else row.nbytes for _, row in rows))

    def _wait_in_line(self, segment: int) -> None:
        if segment >= WAITING_SEGMENTS and not self.reader.turn.is_next(self.video):
            self.queue.put(Parked(self.video))
            self.reader.turn.wait(self.video)


class _SoundRouter:
    """Cuts the sound of one pass into the chunks of its segments, in order."""

    def __init__(self, reading: _Reading, segments: list[Segment], missing: list[set[Kind]]) -> None:
        self.reading, self.wanted = reading, reading.plan.audio
        self.open: dict[int, SoundCutter] = {}
        self.rows: dict[int, int] = {}
        if self.wanted is not None:
            for number, segment in enumerate(segments):
                if "audio" in missing[number]:
                    self.open[number] = SoundCutter(self.wanted, float(segment.start), float(segment.end))

    def feed(self, chunk: AudioChunk) -> None:
        """Hand samples to the segments that they belong to; segments that are past are finished."""
        for number in list(self.open):
            cutter = self.open[number]
            first = round(chunk.start * cutter.rate)
            if cutter.last <= first:
                self._end(number)
            elif cutter.first < first + len(chunk.samples):
                self._send(number, cutter.feed(chunk.start, chunk.samples))
            else:
                break

    def finish(self) -> None:
        """The sound is over."""
        for number in list(self.open):
            self._end(number)

    def _end(self, number: int) -> None:
        self._send(number, self.open.pop(number).finish())
        self.reading.queue.put(SoundEnd(self.reading.video, number))

    def _send(self, number: int, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self.reading.reader.turn.check(self.reading.video)
            self.reading._wait_in_line(number)
            row = self.rows[number] = self.rows.get(number, -1) + 1
            ticket = Ticket(self.reading.video, number, "audio", row)
            self.reading.queue.put(Sound(ticket, chunk), chunk.samples.nbytes)
