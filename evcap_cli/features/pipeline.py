"""The feature stage: videos in, the features of their segments out, in the videos' order.

Threads read (``reading.py``: cache or one decoding pass in a child process), the calling thread runs the models
(``runner.py``) on batches that span videos, ``collecting.py`` puts results together. A bad video ends with an error of
its own; nothing it does changes another's features, because batches have one constant shape.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, cast

from evcap_cli.backbones.identity import BackboneIdentity
from evcap_cli.backbones.residents import Residents
from evcap_cli.errors import BackboneError, DecodeFailed, EvcapError, OutOfMemory
from evcap_cli.features.cache import FeatureCache
from evcap_cli.features.collecting import SegmentState, SoundBuilder, VideoState
from evcap_cli.features.messages import (
    Broken,
    Failed,
    Message,
    Opened,
    Parked,
    Read,
    Rows,
    SegmentOpened,
    Sound,
    SoundEnd,
)
from evcap_cli.features.reading import ReadingPlan, VideoReader
from evcap_cli.features.runner import BackboneRunner, Outcome
from evcap_cli.features.sampling import sampler
from evcap_cli.features.streaming import ByteQueue, Stopped, Turn
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.memory import DEFAULT_BYTES
from evcap_cli.media.plan import Loss
from evcap_cli.media.segments import parse_segmentation

if TYPE_CHECKING:
    import torch

    from evcap_cli.backbones.contract import Backbone, Kind
    from evcap_cli.features.assembly import Ticket
    from evcap_cli.features.streams import ClipFeatures
    from evcap_cli.media.probe import MediaInfo
    from evcap_cli.media.segments import Segment

LOOK_AHEAD: Final = 8
"""Videos beyond the readers' own that may be under way: enough to fill batches, few enough to hold in memory."""
IDLE_JOIN_SECONDS: Final = 0.5
JOIN_SECONDS: Final = 10.0


@dataclass(frozen=True)
class SegmentReady:
    """The features of one segment; ``video`` counts the paths of the run."""

    video: int
    path: Path
    segment: Segment
    features: ClipFeatures


@dataclass(frozen=True)
class VideoDone:
    """A video is finished: all of its segments came before this, or ``error`` says why they are not to be used.

    Args:
        digest: xxh3_128 of the file, "" where it could not be read. info: None where it could not be opened.
        from_cache: nothing of the file was decoded.
    """

    video: int
    path: Path
    digest: str
    info: MediaInfo | None
    warnings: list[str] = field(default_factory=list)
    error: EvcapError | None = None
    skipped_packets: int = 0
    loss: Loss = field(default_factory=Loss)
    from_cache: bool = False


Event = SegmentReady | VideoDone


class FeaturePipeline:
    """Features of videos by the given backbones.

    Args:
        backbones: loaded, one a kind.
        cache: None: neither read nor written.
        segmentation: whole, fixed:SECONDS or scenes.
        sampling: see ``sampling.py``.
        workers: decoding processes.
        batch_size: rows of every backbone's batches; None: as each spec says.
        device: where batches go; the backbones are there already.
        timeout: seconds without progress before a file is given up.
        decoder_memory: bytes that decoding a file may take.
        audio_track: which audio track, counted from 0.

    Raises:
        UsageError: an unknown segmentation or sampling.
    """

    def __init__(
        self,
        backbones: Mapping[Kind, Backbone],
        *,
        cache: FeatureCache | None,
        segmentation: str = "whole",
        sampling: str = "moments",
        workers: int = 2,
        batch_size: int | None = None,
        device: torch.device | str = "cpu",
        timeout: float = 120.0,
        decoder_memory: int = DEFAULT_BYTES,
        audio_track: int = 0,
    ) -> None:
        import torch

        parse_segmentation(segmentation)
        sampler(sampling)
        self.backbones, self.cache = dict(backbones), cache
        self.workers, self.batch_size, self.timeout = max(workers, 1), batch_size, timeout
        self.decoder_memory = decoder_memory
        self.device = torch.device(device)
        self.residents = Residents(self.backbones.values(), self.device)
        self.plan = ReadingPlan(
            specs={kind: backbone.spec for kind, backbone in self.backbones.items()},
            identities={kind: BackboneIdentity.of(backbone) for kind, backbone in self.backbones.items()},
            segmentation=segmentation,
            sampling=sampling,
            audio_track=audio_track,
        )
        self.unfinished: Path | None = None
        """Where, without a cache, features of videos lie that are not finished: a folder each, named by digest."""
        self.passes: Counter[Path] = Counter()
        """Decoding passes of each file, over all runs."""

    @property
    def identities(self) -> Mapping[Kind, BackboneIdentity]:
        """What the cache takes each backbone for."""
        return self.plan.identities

    def cache_of(self, digest: str) -> FeatureCache | None:
        """Where the features of a file are kept; None: nowhere."""
        if self.cache is not None or self.unfinished is None:
            return self.cache
        return FeatureCache(self.unfinished / digest)

    def run(self, paths: Sequence[Path]) -> Generator[Event, None, None]:
        """Segments and ends of ``paths`` in their order.

        Closing the iterator, or an exception in it, leaves no thread and no child process behind.

        Raises:
            UsageError: the run cannot work for any video (an extra is missing).
        """
        run = _Run(self, [Path(path) for path in paths])
        try:
            yield from run.events()
        finally:
            run.stop()


class _Run:
    """One call of ``run``: its threads, and the state of the videos under way."""

    def __init__(self, pipeline: FeaturePipeline, paths: list[Path]) -> None:
        self.pipeline, self.paths, self.plan = pipeline, paths, pipeline.plan
        self.queue: ByteQueue[Message] = ByteQueue()
        self.tasks: SimpleQueue[int | None] = SimpleQueue()
        self.turn = Turn()
        self.runners: dict[Kind, BackboneRunner[Ticket]] = {
            kind: BackboneRunner(
                backbone,
                batch_size=pipeline.batch_size,
                device=pipeline.device,
                owner=lambda ticket: ticket.video,
                residents=pipeline.residents,
            )
            for kind, backbone in pipeline.backbones.items()
        }
        self.states: dict[int, VideoState] = {}
        self.head = 0
        self.sent = 0
        self.parked: set[int] = set()
        self.workers = min(pipeline.workers, len(paths))
        self.decoders: list[Decoder] = []
        self.threads: list[threading.Thread] = []

    def events(self) -> Iterator[Event]:
        self._start()
        while self.head < len(self.paths):
            self._send_tasks()
            yield from self._ready()
            if self._finished():
                yield self._done()
            elif self._stalled():
                for kind, runner in self.runners.items():
                    self._settle(kind, runner.flush(self.head))
            else:
                self._handle(self.queue.get())

    def stop(self) -> None:
        """End all threads and their children."""
        self.turn.stop()
        self.queue.stop()
        for _ in self.threads:
            self.tasks.put(None)
        deadline = time.monotonic() + IDLE_JOIN_SECONDS
        # Ctrl-C may have come between a decoder, its thread and the thread's start: all three can be missing
        for thread in filter(threading.Thread.is_alive, self.threads):
            thread.join(max(deadline - time.monotonic(), 0.0))
        for thread, decoder in zip(self.threads, self.decoders, strict=False):
            if thread.is_alive():
                decoder.close()  # wakes a thread that waits for its child
                thread.join(JOIN_SECONDS)

    def _start(self) -> None:
        for number in range(self.workers):
            decoder = Decoder(timeout=self.pipeline.timeout, memory=self.pipeline.decoder_memory)
            self.decoders.append(decoder)
            # a daemon: whatever a codec does, the interpreter can leave
            thread = threading.Thread(target=self._read, args=(decoder,), name=f"evcap-reader-{number}", daemon=True)
            self.threads.append(thread)
            thread.start()

    def _read(self, decoder: Decoder) -> None:
        """A thread: read the videos of the task queue with one decoder."""
        reader = VideoReader(self.plan, decoder, self.pipeline.cache_of, self.queue, self.turn, self._count_pass)
        try:
            with decoder:
                while (video := self.tasks.get()) is not None:
                    reader.read(video, self.paths[video])
        except Stopped:
            pass
        except BaseException as problem:
            # a mistake of ours, or a call that cannot work: the run ends with it
            with contextlib.suppress(Stopped):
                self.queue.put(Broken(problem))

    def _count_pass(self, path: Path) -> None:
        self.pipeline.passes[path] += 1

    def _send_tasks(self) -> None:
        while self.sent < min(len(self.paths), self.head + self.workers + LOOK_AHEAD):
            self.states[self.sent] = VideoState(self.paths[self.sent])
            self.tasks.put(self.sent)
            self.sent += 1

    def _stalled(self) -> bool:
        """Whether no message will come unless the head is handed out first."""
        if self.states[self.head].read:
            reading = sum(not state.read for state in self.states.values())
            return self.queue.empty() and len(self.parked) >= min(self.workers, reading)
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
        self.parked.discard(self.head)
        self.turn.advance(self.head)
        return done

    def _handle(self, message: Message) -> None:
        if isinstance(message, Broken):
            raise message.problem
        video = message.ticket.video if isinstance(message, Sound) else message.video
        state = self.states[video]
        if isinstance(message, Opened):
            state.digest, state.info, state.count = message.digest, message.info, message.segments
        elif isinstance(message, Parked):
            if video != self.head:
                self.parked.add(video)
        elif isinstance(message, Failed):
            self.parked.discard(video)
            state.read, state.digest, state.info = True, message.digest, message.info or state.info
            self._fail(video, message.error)
        elif isinstance(message, Read):
            self.parked.discard(video)
            state.read, state.from_cache = True, message.from_cache
            if message.outcome is not None:
                state.warnings[:0] = message.outcome.warnings
                state.skipped_packets, state.loss = message.outcome.skipped_packets, message.outcome.loss
                cache = self.pipeline.cache_of(state.digest)
                if cache is not None and not state.from_cache and state.error is None:
                    cache.write(self.plan.outcome_key(state.digest), message.outcome.to_plain(), {})
        elif state.error is not None:
            return
        elif isinstance(message, SegmentOpened):
            state.segments[message.segment] = message.state
        else:
            self._feed(state, message)

    def _feed(self, state: VideoState, message: Rows | Sound | SoundEnd) -> None:
        """Rows for the models."""
        if isinstance(message, Rows):
            for ticket, row in message.rows:
                if state.error is not None:
                    return
                runner = self.runners[ticket.kind]
                self._settle(ticket.kind, [Outcome(ticket, None)] if row is None else runner.add(ticket, row))
        elif isinstance(message, Sound):
            cast("SoundBuilder", state.segments[message.ticket.segment].builders["audio"]).expect(
                message.ticket, message.chunk
            )
            self._settle("audio", self.runners["audio"].add(message.ticket, message.chunk.samples))
        else:
            segment = state.segments[message.segment]
            segment.builders["audio"].close()
            self._complete(state, segment, "audio")

    def _settle(self, kind: Kind, outcomes: Sequence[Outcome[Ticket]]) -> None:
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
            cache.write_stream(self.plan.stream_key(state.digest, segment.segment, kind), about, stream)

    def _fail(self, video: int, error: EvcapError) -> None:
        """Give a video up; its first error stands."""
        state = self.states[video]
        if state.error is None:
            named = isinstance(error, BackboneError | OutOfMemory) and error.path is None
            state.error = type(error)(error.cause, path=state.path, hint=error.hint) if named else error
            state.segments = {}
            self.turn.abandon(video)
            for runner in self.runners.values():
                runner.forget(video)
