"""One run of the feature stage: messages of the reading threads become batches, results become features, in order.

All of this runs in the calling thread, the one that runs the models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.errors import BackboneError, DecodeFailed, EvcapError, OutOfMemory
from evcap_cli.features.events import Event, Idle, SegmentReady, VideoDone
from evcap_cli.features.reader_messages import (
    AudioEnd,
    AudioRow,
    Broken,
    Failed,
    Message,
    Opened,
    Read,
    Rows,
    SegmentOpened,
    Waiting,
)
from evcap_cli.features.reading_threads import ReadingThreads
from evcap_cli.features.runner import BackboneRunner, RowOutcome
from evcap_cli.features.video_state import SegmentState, VideoState
from evcap_cli.profiling import timed

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.features.feed import Feed
    from evcap_cli.features.pipeline import FeaturePipeline
    from evcap_cli.features.row_assembly import Ticket

LOOK_AHEAD: Final = 8
"""Videos beyond the readers' own that may be under way: enough to fill batches, few enough to keep in memory."""
FEED_SECONDS: Final = 0.1
"""How often to look for a new video where readers have room for one."""


class FeatureRun:
    """One call of ``FeaturePipeline.serve``: its threads, and the state of the videos under way."""

    def __init__(self, pipeline: FeaturePipeline, feed: Feed[Path]) -> None:
        self.pipeline, self.feed, self.plan = pipeline, feed, pipeline.plan
        self.workers = pipeline.workers if feed.most is None else min(pipeline.workers, feed.most)
        self.threads = ReadingThreads(pipeline, self.workers)
        self.runners: dict[Kind, BackboneRunner[Ticket]] = {
            kind: BackboneRunner(
                backbone,
                batch_size=pipeline.batch_size,
                device=pipeline.device,
                owner=lambda ticket: ticket.video,
                offloader=pipeline.offloader,
            )
            for kind, backbone in pipeline.backbones.items()
        }
        self.states: dict[int, VideoState] = {}
        self.head = 0
        self.sent = 0
        self.waiting: set[int] = set()

    def events(self) -> Iterator[Event | Idle]:
        """See ``FeaturePipeline.serve``."""
        self.threads.start()
        while True:
            self._send_tasks()
            if self.head == self.sent:
                if self.feed.ended:
                    return
                yield Idle()
                self._send_tasks(wait=True)
                continue
            yield from self._ready()
            if self._finished():
                yield self._done()
            elif self._stalled():
                for kind, runner in self.runners.items():
                    self._settle(kind, runner.flush(self.head))
            else:
                with timed("waiting"):
                    message = self.threads.queue.get(None if self.feed.ended else FEED_SECONDS)
                if message is not None:
                    self.feed.beat()
                    self._handle(message)

    def _send_tasks(self, *, wait: bool = False) -> None:
        """Give the readers what there is room for; with ``wait``, one video at least unless none will come."""
        while self.sent < self.head + self.workers + LOOK_AHEAD:
            path = self.feed.take(wait=wait)
            if path is None:
                return
            wait = False
            self.states[self.sent] = VideoState(path, self.plan.of(path))
            self.threads.read(self.sent, path)
            self.sent += 1

    def _stalled(self) -> bool:
        """Whether no message will come unless the head is handed out first."""
        if self.states[self.head].read:
            reading = sum(not state.read for state in self.states.values())
            return self.threads.queue.empty() and len(self.waiting) >= min(self.workers, reading)
        return False

    def _finished(self) -> bool:
        state = self.states[self.head]
        return state.read and (state.error is not None or state.emitted == state.count)

    def _ready(self) -> Iterator[SegmentReady]:
        """Segments of the head that are complete, in order."""
        state = self.states[self.head]
        while state.error is None:
            segment = state.segments.get(state.emitted)
            if segment is None or segment.builders:
                return
            features = segment.features(self.plan.specs)
            del state.segments[state.emitted]
            state.emitted += 1
            pictures = [features.streams[kind] for kind in ("appearance", "motion") if kind in features.streams]
            if all(len(stream.times) for stream in pictures):
                yield SegmentReady(self.head, state.path, segment.segment, features)
                state.handed_out += 1
            else:
                start, end = float(segment.segment.start), float(segment.segment.end)
                state.warnings.append(f"no frame of {start:.2f} s to {end:.2f} s decodes: left out")

    def _done(self) -> VideoDone:
        """Close the head and move on."""
        state = self.states.pop(self.head)
        if state.error is None and not state.handed_out:
            state.error = DecodeFailed(
                "none of the frames looked at decodes", path=state.path, hint="check that the file plays"
            )
        done = VideoDone(
            self.head,
            state.path,
            state.digest,
            state.info,
            state.warnings,
            state.error,
            state.skipped_packets,
            state.loss,
            state.from_cache,
        )
        self.head += 1
        self.waiting.discard(self.head)
        self.threads.backpressure.advance(self.head)
        return done

    def _handle(self, message: Message) -> None:
        if isinstance(message, Broken):
            raise message.problem
        video = message.video
        state = self.states[video]
        match message:
            case Opened():
                state.digest, state.info, state.count = message.digest, message.info, message.segments
            case Waiting():
                if video != self.head:
                    self.waiting.add(video)
            case Failed():
                self.waiting.discard(video)
                state.read, state.digest, state.info = True, message.digest, message.info or state.info
                self._fail(video, message.error)
            case Read():
                self.waiting.discard(video)
                self._end_of_file(state, message)
            case _ if state.error is not None:
                pass
            case SegmentOpened():
                state.segments[message.segment] = message.state
            case Rows():
                self._run_rows(state, message)
            case AudioRow():
                state.segments[message.ticket.segment].expect_audio(message.ticket, message.chunk)
                self._settle("audio", self.runners["audio"].add(message.ticket, message.chunk.samples))
            case AudioEnd():
                segment = state.segments[message.segment]
                segment.end_audio()
                self._complete(state, segment, "audio")

    def _end_of_file(self, state: VideoState, message: Read) -> None:
        state.read, state.from_cache = True, message.from_cache
        if message.facts is None:
            return
        state.warnings[:0] = message.facts.warnings
        state.skipped_packets, state.loss = message.facts.skipped_packets, message.facts.loss
        cache = self.pipeline.cache_of(state.digest)
        if cache is not None and not state.from_cache and state.error is None:
            cache.write(state.plan.facts_key(state.digest), message.facts.to_plain(), {})

    def _run_rows(self, state: VideoState, message: Rows) -> None:
        for ticket, row in message.rows:
            if state.error is not None:
                return
            runner = self.runners[ticket.kind]
            self._settle(ticket.kind, [RowOutcome(ticket, None)] if row is None else runner.add(ticket, row))

    def _settle(self, kind: Kind, outcomes: Sequence[RowOutcome[Ticket]]) -> None:
        """Hand results to their builders, errors to their videos."""
        for outcome in outcomes:
            ticket = outcome.ticket
            state = self.states[ticket.video]
            if state.error is not None:
                continue
            if outcome.error is not None:
                self._fail(ticket.video, outcome.error)
                continue
            segment = state.segments[ticket.segment]
            segment.builders[kind].add(ticket, outcome.result)
            self._complete(state, segment, kind)

    def _complete(self, state: VideoState, segment: SegmentState, kind: Kind) -> None:
        """Keep a stream that is whole now."""
        stream = segment.settle(kind)
        cache = None if stream is None else self.pipeline.cache_of(state.digest)
        if stream is not None and cache is not None:
            about = {
                "kind": kind,
                "backbone": self.plan.identities[kind].address,
                "version": self.plan.specs[kind].version,
                "video": state.digest,
            }
            cache.write_stream(state.plan.stream_key(state.digest, segment.segment, kind), about, stream)

    def _fail(self, video: int, error: EvcapError) -> None:
        """Give a video up; its first error stands."""
        state = self.states[video]
        if state.error is None:
            named = isinstance(error, BackboneError | OutOfMemory) and error.path is None
            state.error = type(error)(error.cause, path=state.path, hint=error.hint) if named else error
            state.segments = {}
            self.threads.backpressure.abandon(video)
            for runner in self.runners.values():
                runner.forget(video)
