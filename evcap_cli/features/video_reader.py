"""Reading one video for the pipeline: from the cache where everything is there, else by decoding it.

Runs in a thread of its own with a decoder of its own; it computes no feature, it sends rows. Segments are sent one by
one, from the cache or from the file, so that memory does not grow with the length of a video. A stretch of segments
(``media/stretch_limits.py``) is decoded or left alone as a whole: the same frames are fetched whatever the cache holds
of it (only the forwards are saved), so that what a damaged file yields, warnings included, does not depend on what was
cached before.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.backbones.contract import Kind
from evcap_cli.backbones.identity import digest_of, file_digest
from evcap_cli.errors import DecodeFailed, EvcapError, OpenFailed, OutOfMemory, UsageError, reason_of
from evcap_cli.features.backpressure import Abandoned, Backpressure, ByteQueue
from evcap_cli.features.cache import FORMAT
from evcap_cli.features.reader_messages import Failed, Message, Opened, Read, SegmentOpened, Waiting
from evcap_cli.features.stretch_reader import StretchReader
from evcap_cli.features.video_facts import VideoFacts, segments_from_plain, segments_to_plain
from evcap_cli.features.video_state import SegmentState
from evcap_cli.media.decode_report import DecodeReport
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.probe import Timeline
from evcap_cli.media.segments import Segment, segment_warnings, segments_of
from evcap_cli.media.stretch_limits import stretches_of
from evcap_cli.reading.regular import check_regular

if TYPE_CHECKING:
    from evcap_cli.features.pipeline import FeaturePipeline
    from evcap_cli.features.streams import StreamFeatures
    from evcap_cli.media.probe import MediaInfo

NOTES: Final = "notes"
"""In place of a digest."""
WAITING_SEGMENTS: Final = 64
"""A video that is not next in line waits after so many segments: their features would pile up."""


DIGEST_FIRST_BYTES: Final = 1 << 26
"""A file up to this size is read through in a moment. A larger one is opened first, unless the cache has a note that it
could be: a warm run opens nothing."""


class VideoReader:
    """Reads videos one after the other; each ends with one ``Read`` or ``Failed``."""

    def __init__(
        self, pipeline: FeaturePipeline, decoder: Decoder, queue: ByteQueue[Message], backpressure: Backpressure
    ) -> None:
        self.pipeline, self.plan, self.decoder = pipeline, pipeline.plan, decoder
        self.queue, self.backpressure = queue, backpressure

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
        self.reader, self.plan, self.queue = reader, reader.plan.of(path), reader.queue
        self.video, self.path = video, path
        self.digest = ""
        self.cache = reader.pipeline.cache_of(NOTES)
        """Where the features of this file lie; before its digest is known, notes about files."""
        self.info: MediaInfo | None = None
        self.from_cache = self.decoded = False

    def run(self) -> VideoFacts:
        """Send all segments, in order."""
        # a large file that is no video must not be read whole to find that out
        timeline = None if self._digest_first() else self._open()
        self.digest = file_digest(self.path)
        self.cache = self.reader.pipeline.cache_of(self.digest)
        known = self._known_facts()
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
        listed = segment_warnings(self.plan.chosen, self.path, timeline.end)
        warnings = (*timeline.warnings, *listed, *report.warnings)
        return VideoFacts(timeline.info, tuple(segments), warnings, report.skipped_packets, report.loss)

    def _decode(self, timeline: Timeline, segments: list[Segment], sent: int, known: VideoFacts | None) -> DecodeReport:
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
                self.reader.pipeline.passes[self.path] += 1
            found = StretchReader(self, timeline, inside, max(sent, stretch.start), partial=len(stretches) > 1).run()
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

    def _known_facts(self) -> VideoFacts | None:
        entry = None if self.cache is None else self.cache.read(self.plan.facts_key(self.digest))
        return None if entry is None else VideoFacts.from_plain(entry[0])

    def _kept_report(self, key: str | None) -> DecodeReport | None:
        entry = None if self.cache is None or key is None else self.cache.read(key)
        return None if entry is None else DecodeReport.from_plain(entry[0])

    def _segments(self, timeline: Timeline) -> list[Segment]:
        """The segments; where finding them takes a pass over the file, they are kept for a run that goes on."""
        cache, key = self.cache, self.plan.segments_key(self.digest)
        if cache is None or self.plan.segmentation != "scenes":
            return segments_of(self.plan.chosen, timeline, self.reader.decoder)
        entry = cache.read(key)
        found = None if entry is None else segments_from_plain(entry[0].get("segments"))
        if found is None:
            found = tuple(segments_of(self.plan.chosen, timeline, self.reader.decoder))
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
            self.reader.backpressure.check(self.video)
            self.send_opened(state)
        return len(segments)

    def send_opened(self, state: SegmentState) -> None:
        """Send word that a segment begins; from here on its state belongs to the thread that runs the models."""
        self.wait_in_line(state.segment.index)
        self.queue.put(SegmentOpened(self.video, state.segment.index, state), state.nbytes)

    def wait_in_line(self, segment: int) -> None:
        """Wait until the video is next, if it is far ahead."""
        if segment >= WAITING_SEGMENTS and not self.reader.backpressure.is_next(self.video):
            self.queue.put(Waiting(self.video))
            self.reader.backpressure.wait(self.video)
