"""Clips as captioners read them that bring their own encoder: frames and a waveform from one decoding pass a video.

Each decoding process has a thread; a thread decodes one video at a time and waits once a clip of it lies ready, so that
memory grows neither with the length nor with the number of videos. Nothing is cached. ``pipeline.py`` does the same for
backbone features.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from evcap_cli.backbones.identity import file_digest
from evcap_cli.errors import DecodeFailed, EvcapError, OpenFailed, OutOfMemory, UsageError, reason_of
from evcap_cli.features.events import Idle, VideoDone
from evcap_cli.features.feed import Feed, ListFeed
from evcap_cli.features.video_reader import DIGEST_FIRST_BYTES
from evcap_cli.media.decode_plan import AudioRequest, DecodedFrame, DecodePlan, FrameRequest
from evcap_cli.media.decode_report import DecodeReport
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.decoder_memory import DEFAULT_BYTES
from evcap_cli.media.frames import Geometry
from evcap_cli.media.segments import parse_segmentation, segment_warnings, segments_of
from evcap_cli.profiling import timed
from evcap_cli.reading.regular import check_regular

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from evcap_cli.media.decode_plan import AudioChunk
    from evcap_cli.media.probe import MediaInfo, Timeline
    from evcap_cli.media.segments import Segment

CLIPS_AHEAD: Final = 1
"""Clips of a video that may lie ready."""
POLL_SECONDS: Final = 0.1
JOIN_SECONDS: Final = 10.0


@dataclass(frozen=True)
class RawRequest:
    """What is read of each segment.

    Args:
        moments: how many frames at most: those on screen in the middles of so many equal parts. None: no frames.
        longest_side: pixels to which larger frames are scaled down; smaller ones stay.
        rate: of the waveform, samples a second; None: no waveform.
        longest_seconds: of the waveform.
    """

    moments: int | None = None
    longest_side: int = 768
    rate: int | None = None
    longest_seconds: float = 30.0

    def geometry(self, height: int, width: int) -> Geometry:
        """How frames of ``height`` x ``width`` are resized."""
        scale = min(Fraction(1), Fraction(self.longest_side, max(height, width)))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        return Geometry(size=size, fit="stretch", interpolation="bicubic")


@dataclass(frozen=True)
class RawClip:
    """One segment of one video.

    Args:
        video: counts the paths of the run.
        frames: (T, H, W, 3) uint8 RGB, upright, in presentation order; None where none are requested.
        times: (T,) seconds from the start of the segment, rising.
        waveform: (S,) float32, mono; None where none is requested or the video has no audio.
    """

    video: int
    segment: Segment
    frames: npt.NDArray[np.uint8] | None
    times: tuple[float, ...]
    waveform: npt.NDArray[np.float32] | None

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.segment.end - self.segment.start)


class _Stopped(Exception):
    """The run is over; a thread ends."""


class RawClips:
    """Clips of videos.

    Args:
        request: what is read.
        segmentation: whole, fixed:SECONDS, scenes or from:ROOT.
        workers: decoding processes.
        timeout: seconds without progress before a file is given up.
        decoder_memory: bytes that decoding a file may take.
        audio_track: counted from 0.
        ahead: videos that may be decoded while another one is in use; no fewer than there are workers.

    Raises:
        UsageError: an unknown segmentation.
    """

    def __init__(
        self,
        request: RawRequest,
        *,
        segmentation: str = "whole",
        workers: int = 2,
        timeout: float = 120.0,
        decoder_memory: int = DEFAULT_BYTES,
        audio_track: int = 0,
        ahead: int = 0,
    ) -> None:
        self.segmentation = parse_segmentation(segmentation)
        self.request, self.audio_track = request, audio_track
        self.workers, self.timeout, self.decoder_memory = max(workers, 1), timeout, decoder_memory
        self.ahead = max(ahead, self.workers)

    def run(self, paths: Sequence[Path]) -> Generator[RawClip | VideoDone, None, None]:
        """Clips and ends of ``paths`` in their order; see ``serve``."""
        with closing(self.serve(ListFeed(paths))) as items:
            for item in items:
                if not isinstance(item, Idle):
                    yield item

    def serve(self, feed: Feed[Path]) -> Generator[RawClip | VideoDone | Idle, None, None]:
        """Clips and ends of the videos of ``feed``, in the order in which they are taken.

        Closing the iterator, or an exception in it, leaves no thread and no child process.

        Raises:
            UsageError: the run cannot work for any video (an extra is missing).
        """
        run = _Run(self, feed)
        try:
            run.start()
            yield from run.items()
        finally:
            run.stop()


Item = RawClip | VideoDone | BaseException


class _Ready:
    """What is ready of one video: ``CLIPS_AHEAD`` clips at most, and its end."""

    def __init__(self) -> None:
        self.items: SimpleQueue[Item] = SimpleQueue()
        self.room = threading.Semaphore(CLIPS_AHEAD)

    def get(self, timeout: float) -> Item:
        """The next item; raises ``Empty`` where there is none."""
        item = self.items.get(timeout=timeout)
        if isinstance(item, RawClip):
            self.room.release()
        return item


class _Run:
    """One call of ``run``: its threads, and a queue for each video under way."""

    def __init__(self, clips: RawClips, feed: Feed[Path]) -> None:
        self.clips, self.feed = clips, feed
        self.queues: dict[int, _Ready] = {}
        self.next = 0
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.taken = threading.Event()
        self.failure: BaseException | None = None
        """Of a thread that was between two videos."""
        # for the video that is in use, and those after it
        self.room = threading.Semaphore(1 + clips.ahead)
        self.decoders: list[Decoder] = []
        self.threads: list[threading.Thread] = []

    def start(self) -> None:
        workers = self.clips.workers if self.feed.most is None else min(self.clips.workers, self.feed.most)
        for number in range(workers):
            decoder = Decoder(timeout=self.clips.timeout, memory=self.clips.decoder_memory)
            self.decoders.append(decoder)
            thread = threading.Thread(target=self._work, args=(decoder,), name=f"evcap-clips-{number}", daemon=True)
            self.threads.append(thread)
            thread.start()

    def items(self) -> Iterator[RawClip | VideoDone | Idle]:
        """What comes of all videos, one after the other."""
        video, idle = 0, False
        while True:
            with self.lock:
                queue = self.queues.get(video)
                over = queue is None and self.feed.ended
            if queue is not None:
                yield from self._items(queue)
                del self.queues[video]
                self.room.release()
                video, idle = video + 1, False
            elif over and self.failure is None:
                return
            elif self.failure is not None:
                raise self.failure
            elif not idle:
                idle = True
                yield Idle()
            else:
                self.taken.wait(POLL_SECONDS)
                self.taken.clear()

    def _items(self, queue: _Ready) -> Iterator[RawClip | VideoDone]:
        """What comes of one video, its end last."""
        while True:
            try:
                with timed("waiting"):
                    item = queue.get(POLL_SECONDS)
            except Empty:
                continue
            if isinstance(item, BaseException):
                raise item
            self.feed.beat()
            yield item
            if isinstance(item, VideoDone):
                return

    def stop(self) -> None:
        self.stopped.set()
        for decoder in self.decoders:
            decoder.close()  # wakes a thread that waits for its child
        for thread in filter(threading.Thread.is_alive, self.threads):
            thread.join(JOIN_SECONDS)

    def _work(self, decoder: Decoder) -> None:
        """A thread: decode videos one after another."""
        queue: _Ready | None = None
        try:
            with decoder:
                while (task := self._next()) is not None:
                    queue, reading = task[1], _Reading(self, decoder, *task)
                    reading.read()
                    queue = None
        except _Stopped:
            pass
        except BaseException as problem:  # a mistake of ours, or a call that works for no video: the run ends with it
            if queue is None:
                self.failure = problem
            else:
                with suppress(_Stopped):
                    self.put(queue, problem)

    def _next(self) -> tuple[int, _Ready, Path] | None:
        """The video that a thread reads next, once there is room for it; None: there is none."""
        while not self.room.acquire(timeout=POLL_SECONDS):
            self._check()
        while True:
            self._check()
            with self.lock:
                path = self.feed.take(wait=False)
                if path is not None:
                    video, self.next = self.next, self.next + 1
                    queue = self.queues[video] = _Ready()
                    self.taken.set()
                    return video, queue, path
                if self.feed.ended:
                    return None
            self.stopped.wait(POLL_SECONDS)

    def put(self, queue: _Ready, item: Item) -> None:
        """Hand something over; a clip waits while there is no room for it."""
        self._check()
        while isinstance(item, RawClip) and not queue.room.acquire(timeout=POLL_SECONDS):
            self._check()
        queue.items.put(item)

    def _check(self) -> None:
        if self.stopped.is_set():
            raise _Stopped


@dataclass
class _Assembled:
    """A segment while it is read.

    Args:
        first: no frame before this one belongs to it or to a segment after it.
    """

    segment: Segment
    ordinals: npt.NDArray[np.int64]
    waveform: npt.NDArray[np.float32] | None
    first: int = 0
    frames: dict[int, npt.NDArray[np.uint8]] = field(default_factory=dict)


class _Reading:
    """One video in one thread."""

    def __init__(self, run: _Run, decoder: Decoder, video: int, queue: _Ready, path: Path) -> None:
        self.run, self.decoder, self.video, self.queue = run, decoder, video, queue
        self.request, self.path = run.clips.request, path
        self.digest = ""
        self.info: MediaInfo | None = None
        self.left_out: list[str] = []
        self.sent = 0

    def read(self) -> None:
        """Send the clips of the video and its end."""
        report = DecodeReport()
        warnings: tuple[str, ...] = ()
        error: EvcapError | None = None
        try:
            timeline = self._open()
            report = self._decode(timeline)
            listed = segment_warnings(self.run.clips.segmentation, self.path, timeline.end)
            warnings = (*timeline.warnings, *listed, *report.warnings)
            if not self.sent:
                raise DecodeFailed("no frame of it can be decoded", path=self.path, hint="check that it plays")
        except UsageError:
            raise
        except EvcapError as problem:
            error = problem
        except MemoryError:
            error = OutOfMemory("no memory for its frames", path=self.path, hint="try fewer --workers")
        except OSError as problem:
            error = OpenFailed(f"cannot be read ({reason_of(problem)})", path=self.path)
        done = VideoDone(
            self.video,
            self.path,
            self.digest,
            self.info,
            [*warnings, *self.left_out],
            error,
            report.skipped_packets,
            report.loss,
        )
        self.run.put(self.queue, done)

    def _open(self) -> Timeline:
        """Open the file; a large one that is no video is not read whole for its digest."""
        check_regular(self.path, error=OpenFailed)
        if self.path.stat().st_size <= DIGEST_FIRST_BYTES:
            self.digest = file_digest(self.path)
        timeline = self.decoder.open(self.path, self.run.clips.audio_track)
        self.info = timeline.info
        self.digest = self.digest or file_digest(self.path)
        return timeline

    def _decode(self, timeline: Timeline) -> DecodeReport:
        request, info = self.request, timeline.info
        segments = segments_of(self.run.clips.segmentation, timeline, self.decoder)
        waiting = [self._begun(segment, timeline) for segment in segments]
        ordinals = np.unique(np.concatenate([each.ordinals for each in waiting]))
        # of overlapping segments one may begin later and need an earlier frame
        firsts = np.minimum.accumulate([each.ordinals[0] for each in reversed(waiting)])
        for each, first in zip(reversed(waiting), firsts.tolist(), strict=True):
            each.first = first
        frames = (
            {} if request.moments is None else {"": FrameRequest(request.geometry(info.height, info.width), ordinals)}
        )
        audio = request.rate is not None and info.has_audio
        end = max(segment.end for segment in segments)
        plan = DecodePlan(
            frames=frames,
            audio=AudioRequest(request.rate, segments[0].start, end) if audio and request.rate else None,
            in_step=len(segments) > 1,
        )
        report, seen, audio_until = DecodeReport(), -1.0 if frames else np.inf, 0.0 if audio else np.inf
        stream = cast("Generator[DecodedFrame | AudioChunk | DecodeReport, None, None]", self.decoder.decode(plan))
        with closing(stream):
            for item in stream:
                self.run._check()
                self.run.feed.beat()
                if isinstance(item, DecodedFrame):
                    seen = item.ordinal
                    for each in waiting:
                        if seen < each.first:
                            break
                        if seen in each.ordinals:
                            each.frames[seen] = item.pixels
                elif isinstance(item, DecodeReport):
                    report = item
                    continue
                else:
                    for each in waiting:
                        self._add(each, item)
                    audio_until = item.until
                while waiting and waiting[0].ordinals[-1] <= seen and self._audio_end(waiting[0]) <= audio_until:
                    self._send(waiting.pop(0), timeline)
        while waiting:
            self._send(waiting.pop(0), timeline)
        return report

    def _begun(self, segment: Segment, timeline: Timeline) -> _Assembled:
        """The frames that are on screen at the moments of a segment, each once, and room for its audio."""
        first, last = timeline.first_from(segment.start), timeline.first_from(segment.end) - 1
        if last < first:  # no frame of its own: the one on screen
            first = last = max(first - 1, 0)
        parts = 2 * (self.request.moments or 1)
        length = segment.end - segment.start
        moments = [segment.start + length * Fraction(number, parts) for number in range(1, parts, 2)]
        shown = [min(max(_on_screen(timeline, moment), first), max(last, first)) for moment in moments]
        waveform = None
        if self.request.rate is not None and timeline.info.has_audio:
            seconds = min(float(length), self.request.longest_seconds)
            waveform = np.zeros(max(round(seconds * self.request.rate), 1), np.float32)
        return _Assembled(segment, np.unique(np.array(shown, np.int64)), waveform)

    def _audio_end(self, each: _Assembled) -> float:
        """Seconds after which no more audio is added."""
        if each.waveform is None or self.request.rate is None:
            return 0.0
        return float(each.segment.start) + len(each.waveform) / self.request.rate

    def _add(self, each: _Assembled, chunk: AudioChunk) -> None:
        """Put the samples of a chunk that belong to a segment in their place."""
        if each.waveform is None or self.request.rate is None:
            return
        offset = round((chunk.start - float(each.segment.start)) * self.request.rate)
        begin, end = max(offset, 0), min(offset + len(chunk.samples), len(each.waveform))
        if begin < end:
            each.waveform[begin:end] = chunk.samples[begin - offset : end - offset]

    def _send(self, each: _Assembled, timeline: Timeline) -> None:
        if self.request.moments is None:
            self.sent += 1
            self.run.put(self.queue, RawClip(self.video, each.segment, None, (), each.waveform))
            return
        if not each.frames:
            start, end = float(each.segment.start), float(each.segment.end)
            self.left_out.append(f"no frame of {start:.2f} s to {end:.2f} s decodes: left out")
            return
        ordinals = sorted(each.frames)
        times = tuple(float(timeline.seconds(ordinal) - each.segment.start) for ordinal in ordinals)
        self.sent += 1
        frames = _by_channels([each.frames.pop(ordinal) for ordinal in ordinals])
        self.run.put(self.queue, RawClip(self.video, each.segment, frames, times, each.waveform))


def _by_channels(pixels: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Frames (H, W, 3) together, (T, H, W, 3). They lie in memory as models take them, (T, 3, H, W)."""
    height, width, channels = pixels[0].shape
    planes = np.empty((len(pixels), channels, height, width), np.uint8)
    for place, frame in zip(planes, pixels, strict=True):
        place[:] = frame.transpose(2, 0, 1)
    return planes.transpose(0, 2, 3, 1)


def _on_screen(timeline: Timeline, moment: Fraction) -> int:
    """The last frame that is shown at ``moment`` or before."""
    following = timeline.first_from(moment)
    exact = following < len(timeline.times) and timeline.seconds(following) == moment
    return following if exact else following - 1
