"""Reading one video for the pipeline: from the cache where everything is there, else by decoding it.

Runs in a thread of its own with a decoder of its own; it computes no feature, it sends rows. Segments are sent one by
one, from the cache or from the file, so that memory does not grow with the length of a video. A stretch of segments
(``media/stretches.py``) is decoded or left alone as a whole: the same frames are fetched whatever the cache holds of it
(only the forwards are saved), so that what a damaged file yields, warnings included, does not depend on what was cached
before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.backbones.contract import AudioInput, BackboneSpec, FrameInput, Kind
from evcap_cli.backbones.identity import BackboneIdentity, digest_of, file_digest
from evcap_cli.errors import DecodeFailed, EvcapError, OpenFailed, OutOfMemory, UsageError, reason_of
from evcap_cli.features.cache import FORMAT, FeatureCache
from evcap_cli.features.collecting import SegmentState
from evcap_cli.features.messages import Failed, Message, Opened, Parked, Read, SegmentOpened
from evcap_cli.features.outcome import Outcome, segments_from_plain, segments_to_plain
from evcap_cli.features.streaming import Abandoned, ByteQueue, Turn
from evcap_cli.features.stretch import StretchReading
from evcap_cli.media.decoder import Decoder, DecodeReport, Timeline
from evcap_cli.media.frames import Geometry
from evcap_cli.media.segments import Segment, segments_of
from evcap_cli.media.stretches import stretches_of
from evcap_cli.reading.regular import check_regular

if TYPE_CHECKING:
    from evcap_cli.features.streams import StreamFeatures
    from evcap_cli.media.probe import MediaInfo

NOTES: Final = "notes"
"""In place of a digest."""
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
        """Key of what decoding finds out; covers everything the choice of frames depends on."""
        return self._key_of_finding("outcome", digest)

    def report_key(self, digest: str, stretch: int) -> str:
        """Key of what the pass over one stretch finds out."""
        return self._key_of_finding("report", digest, stretch)

    def segments_key(self, digest: str) -> str:
        """Key of the segments where finding them takes a pass."""
        return digest_of([FORMAT, "segments", digest, self.segmentation])

    def _key_of_finding(self, name: str, digest: str, *more: int) -> str:
        inputs = {kind: {"class": type(s.input).__name__, **asdict(s.input)} for kind, s in self.specs.items()}
        return digest_of([FORMAT, name, digest, self.segmentation, self.sampling, self.audio_track, inputs, *more])

    def stream_key(self, digest: str, segment: Segment, kind: Kind) -> str:
        """Key of one stream of one segment."""
        track = self.audio_track if kind == "audio" else None
        # a segment in the middle is decoded from where its stretch begins, which the segments before it decide
        place = [str(segment.start), str(segment.end), track, self.segmentation if segment.start else ""]
        return digest_of([FORMAT, "stream", digest, place, self.sampling, self.identities[kind].cache_identity])


class VideoReader:
    """Reads videos one after the other; each ends with one ``Read`` or ``Failed``.

    Args:
        count_pass: called with the path of each file that is decoded.
    """

    def __init__(
        self,
        plan: ReadingPlan,
        decoder: Decoder,
        cache_of: Callable[[str], FeatureCache | None],
        queue: ByteQueue[Message],
        turn: Turn,
        count_pass: Callable[[Path], None],
    ) -> None:
        self.plan, self.decoder, self.cache_of, self.queue, self.turn = plan, decoder, cache_of, queue, turn
        self.count_pass = count_pass

    def read(self, video: int, path: Path) -> None:
        """Send everything about one video.

        Raises:
            Stopped: the run is over.
            UsageError: the run cannot work for any video (an extra is missing).
        """
        reading = VideoReading(self, video, path)
        try:
            outcome = reading.run()
            self.queue.put(Read(video, outcome, from_cache=reading.from_cache))
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
            failed = DecodeFailed(f"cannot be read ({reason_of(trouble)})", path=path, hint="check the file")
            self.queue.put(Failed(video, failed, reading.digest, reading.info))


class VideoReading:
    """One video; keeps what is known of it for the case that it fails."""

    def __init__(self, reader: VideoReader, video: int, path: Path) -> None:
        self.reader, self.plan, self.queue = reader, reader.plan, reader.queue
        self.video, self.path = video, path
        self.digest = ""
        self.cache = reader.cache_of(NOTES)
        """Where the features of this file lie; before its digest is known, notes about files."""
        self.info: MediaInfo | None = None
        self.from_cache = self.decoded = False

    def run(self) -> Outcome:
        """Send all segments, in order."""
        # a large file that is no video must not be read whole to find that out
        timeline = None if self._digest_first() else self._open()
        self.digest = file_digest(self.path)
        self.cache = self.reader.cache_of(self.digest)
        known = self._known_outcome()
        sent = 0
        if known is not None:
            self.info = known.info
            self.queue.put(Opened(self.video, self.digest, known.info, len(known.segments)))
            sent = self._send_cached(known.segments)
            if sent == len(known.segments):
                self.from_cache = True
                return known
        timeline = timeline or self._open()
        segments = self._segments(timeline) if known is None else list(known.segments)
        if known is None:
            self.queue.put(Opened(self.video, self.digest, timeline.info, len(segments)))
        report = self._decode(timeline, segments, sent, known)
        if known is not None:
            return known
        if report.missing and not report.seen:
            raise DecodeFailed("no frame of it can be decoded", path=self.path, hint="check that it plays")
        warnings = (*timeline.warnings, *report.warnings)
        return Outcome(timeline.info, tuple(segments), warnings, report.skipped_packets, report.loss)

    def _decode(self, timeline: Timeline, segments: list[Segment], sent: int, known: Outcome | None) -> DecodeReport:
        """Send the segments from number ``sent`` on; returns what the passes found out, those of earlier runs as well.

        Where the outcome is known, the report covers only what was decoded now.
        """
        report = DecodeReport()
        stretches = stretches_of(segments, timeline, self.reader.decoder)
        for number, stretch in enumerate(stretches):
            inside = segments[stretch.start : stretch.stop]
            key = self.plan.report_key(self.digest, number) if len(stretches) > 1 and known is None else None
            earlier = DecodeReport() if known is not None else self._kept_report(key)
            if earlier is not None:
                sent += self._send_cached(inside[max(sent - stretch.start, 0) :])
                if sent >= stretch.stop:
                    report = report.joined(earlier)
                    continue
            if not self.decoded:
                self.decoded = True
                self.reader.count_pass(self.path)
            found = StretchReading(self, timeline, inside, max(sent, stretch.start), partial=len(stretches) > 1).run()
            sent, report = stretch.stop, report.joined(found)
            if key is not None and self.cache is not None:
                self.cache.write(key, found.to_plain(), {})
        return report

    def _open(self) -> Timeline:
        timeline = self.reader.decoder.open(self.path, self.plan.audio_track)
        self.info = timeline.info
        if self.cache is not None and self.path.stat().st_size > DIGEST_FIRST_BYTES:
            self.cache.write(self._opened_key(), {"backbone": "large videos"}, {})
        return timeline

    def _digest_first(self) -> bool:
        """Whether the file is small, or could be opened before and was not changed since."""
        if not self.path.exists() or self.path.stat().st_size <= DIGEST_FIRST_BYTES:
            return True
        check_regular(self.path, error=OpenFailed)
        return self.cache is not None and self.cache.read(self._opened_key()) is not None

    def _opened_key(self) -> str:
        status = self.path.stat()
        return digest_of([FORMAT, "opened", os.path.realpath(self.path), status.st_size, status.st_mtime_ns])

    def _known_outcome(self) -> Outcome | None:
        entry = None if self.cache is None else self.cache.read(self.plan.outcome_key(self.digest))
        return None if entry is None else Outcome.from_plain(entry[0])

    def _kept_report(self, key: str | None) -> DecodeReport | None:
        entry = None if self.cache is None or key is None else self.cache.read(key)
        return None if entry is None else DecodeReport.from_plain(entry[0])

    def _segments(self, timeline: Timeline) -> list[Segment]:
        """The segments; where finding them takes a pass over the file, they are kept for a run that goes on."""
        cache, key = self.cache, self.plan.segments_key(self.digest)
        if cache is None or self.plan.segmentation != "scenes":
            return segments_of(self.plan.segmentation, timeline, self.reader.decoder)
        entry = cache.read(key)
        found = None if entry is None else segments_from_plain(entry[0].get("segments"))
        if found is None:
            found = tuple(segments_of(self.plan.segmentation, timeline, self.reader.decoder))
            cache.write(key, {"segments": segments_to_plain(found)}, {})
        return list(found)

    def cached(self, segment: Segment) -> dict[Kind, StreamFeatures]:
        """The streams of a segment that are in the cache."""
        if self.cache is None:
            return {}
        found = {
            kind: self.cache.read_stream(self.plan.stream_key(self.digest, segment, kind), spec.dim)
            for kind, spec in self.plan.specs.items()
        }
        return {kind: stream for kind, stream in found.items() if stream is not None}

    def _send_cached(self, segments: Sequence[Segment]) -> int:
        """Send segments for as long as the cache holds all of their streams; returns how many."""
        for count, segment in enumerate(segments):
            state = SegmentState(segment, self.cached(segment))
            if len(state.streams) < len(self.plan.specs):
                return count
            self.reader.turn.check(self.video)
            self.send_opened(state)
        return len(segments)

    def send_opened(self, state: SegmentState) -> None:
        """Send word that a segment begins; from here on its state belongs to the thread that runs the models."""
        self.wait_in_line(state.segment.index)
        self.queue.put(SegmentOpened(self.video, state.segment.index, state), state.nbytes)

    def wait_in_line(self, segment: int) -> None:
        """Wait until the video is next, if it is far ahead."""
        if segment >= WAITING_SEGMENTS and not self.reader.turn.is_next(self.video):
            self.queue.put(Parked(self.video))
            self.reader.turn.wait(self.video)
