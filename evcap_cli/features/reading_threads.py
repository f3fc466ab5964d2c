"""The threads that read videos, each with a decoding process of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from evcap_cli.features.backpressure import Backpressure, ByteQueue, Stopped
from evcap_cli.features.reader_messages import Broken, Message
from evcap_cli.features.video_reader import VideoReader
from evcap_cli.media.decoder import Decoder

if TYPE_CHECKING:
    from evcap_cli.features.pipeline import FeaturePipeline

IDLE_JOIN_SECONDS: Final = 0.5
JOIN_SECONDS: Final = 10.0


class ReadingThreads:
    """Readers of videos, started at once; what they find comes through ``queue``."""

    def __init__(self, pipeline: FeaturePipeline, workers: int) -> None:
        self.pipeline = pipeline
        self.queue: ByteQueue[Message] = ByteQueue()
        self.backpressure = Backpressure()
        self._tasks: SimpleQueue[tuple[int, Path] | None] = SimpleQueue()
        self._decoders: list[Decoder] = []
        self._threads: list[threading.Thread] = []
        self._workers = workers

    def start(self) -> None:
        """Start the threads; whatever happens then, ``stop`` ends them."""
        for number in range(self._workers):
            decoder = Decoder(timeout=self.pipeline.timeout, memory=self.pipeline.decoder_memory)
            self._decoders.append(decoder)
            # a daemon: whatever a codec does, the interpreter can leave
            thread = threading.Thread(target=self._read, args=(decoder,), name=f"evcap-reader-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def read(self, video: int, path: Path) -> None:
        """Have a thread read this video, after those that were named before."""
        self._tasks.put((video, path))

    def _read(self, decoder: Decoder) -> None:
        reader = VideoReader(self.pipeline, decoder, self.queue, self.backpressure)
        try:
            with decoder:
                while (task := self._tasks.get()) is not None:
                    reader.read(*task)
        except Stopped:
            pass
        except BaseException as problem:
            # a mistake of ours, or a call that cannot work: the run ends with it
            with contextlib.suppress(Stopped):
                self.queue.put(Broken(problem))

    def stop(self) -> None:
        """End all threads and their children."""
        self.backpressure.stop()
        self.queue.stop()
        for _ in self._threads:
            self._tasks.put(None)
        deadline = time.monotonic() + IDLE_JOIN_SECONDS
        # Ctrl-C may have come between a decoder, its thread and the thread's start: all three can be missing
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(max(deadline - time.monotonic(), 0.0))
        for thread, decoder in zip(self._threads, self._decoders, strict=False):
            if thread.is_alive():
                decoder.close()  # wakes a thread that waits for its child
                thread.join(JOIN_SECONDS)
