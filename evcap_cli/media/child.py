"""The decoding process, ``python -m evcap_cli.media.child FD PARENT``; answers ``Decoder`` over a socket.

It imports PyAV and numpy only, and Pillow where pictures are resized as pretrained networks want them. Frames go into a
ring in shared memory, slot numbers go over the socket. Ctrl-C and SIGTERM are for the parent, which starts this process
with both blocked; when the parent dies, this process dies.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli.errors import DecodeFailed, EvcapError, OutOfMemory
from evcap_cli.media import complaints
from evcap_cli.media.audio import sound
from evcap_cli.media.frames import Fitter, wanted_frames
from evcap_cli.media.scan import OpenVideo, open_video
from evcap_cli.media.source import Skipped

if TYPE_CHECKING:
    from evcap_cli.media.plan import AudioRequest, DecodePlan

ALIVE_SECONDS: Final = 0.5
"""How often the parent hears of progress that yields no frame yet."""
ORPHAN_SECONDS: Final = 0.5
"""How often to look whether the parent still lives."""


class Stop(Exception):
    """The parent has seen enough of this file."""


class Server:
    """One file at a time: open, decode, close."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.opened: OpenVideo | None = None
        self.path = ""
        self.ring: mmap.mmap | None = None
        self.slot_bytes = 0
        self.free: deque[int] = deque()
        self.told = 0.0

    def serve(self) -> None:
        """Answer requests until the socket closes."""
        while True:
            try:
                request = self.connection.recv()
                try:
                    self._answer(*request)
                except Stop:
                    self.connection.send(("end", None))
                except (BrokenPipeError, ConnectionError):
                    return
                except Exception as problem:
                    self.connection.send(("error", self._explained(problem)))
            except (EOFError, OSError):
                return

    def _explained(self, problem: Exception) -> EvcapError:
        if isinstance(problem, EvcapError):
            return problem
        if isinstance(problem, MemoryError):
            return OutOfMemory("out of memory while decoding", path=self.path, hint="try fewer --workers")
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        return DecodeFailed(f"cannot be decoded ({reason})", path=self.path, hint="check that it plays")

    def _answer(self, verb: str, *arguments: Any) -> None:
        if verb == "open":
            self._open(*arguments)
        elif verb == "ring":
            self._ring(*arguments)
        elif verb == "decode":
            self._decode(*arguments)
        elif verb == "scenes":
            from evcap_cli.media.scenes import find_scenes

            self.connection.send(("scenes", find_scenes(self._known(), self._alive)))
        elif verb == "free":
            # the last frames of a pass come back after its report
            self.free.append(*arguments)
        # "stop" of a pass that is over already needs no answer

    def _open(self, path: str, audio_track: int) -> None:
        if self.opened is not None:
            self.opened.source.close()
            self.opened = None
        self.path = path
        complaints.take()
        self.opened = open_video(path, audio_track, self._alive)
        self.connection.send(("timeline", self.opened.timeline))

    def _known(self) -> OpenVideo:
        if self.opened is None:
            raise DecodeFailed("was never opened", path=self.path)
        return self.opened

    def _ring(self, slots: int, slot_bytes: int) -> None:
        """Map the memory whose descriptor follows the message."""
        with socket.socket(fileno=os.dup(self.connection.fileno())) as line:
            _, descriptors, _, _ = socket.recv_fds(line, 1, 1)
        if self.ring is not None:
            self.ring.close()
        self.ring = mmap.mmap(descriptors[0], slots * slot_bytes)
        os.close(descriptors[0])
        self.slot_bytes = slot_bytes
        self.free = deque(range(slots))

    def _alive(self) -> None:
        now = time.monotonic()
        if now - self.told > ALIVE_SECONDS:
            self.told = now
            self.connection.send(("alive", None))
            complaints.sip()
            self._hear(wait=False)

    def _hear(self, *, wait: bool) -> None:
        """Take in freed slots; raise ``Stop`` when told to."""
        while wait or self.connection.poll():
            verb, *arguments = self.connection.recv()
            if verb == "stop":
                raise Stop
            if verb == "free":
                self.free.append(arguments[0])
                wait = False

    def _decode(self, plan: DecodePlan) -> None:
        opened = self._known()
        complaints.take()
        skipped = Skipped()
        missing, seen = self._pictures(opened, plan, skipped)
        if missing and not seen:
            raise DecodeFailed("no frame of it can be decoded", path=self.path, hint="check that it plays")
        warnings = []
        if missing:
            warnings.append(f"{len(missing)} of {len(missing) + seen} wanted frames do not decode")
        if skipped.packets:
            warnings.append(f"{skipped.packets} damaged packets were skipped")
        elif complaints.take().damage:
            warnings.append("the picture is damaged: some frames are patched up")
        if plan.audio is not None and opened.source.audio is not None:
            warnings += self._sound(opened, plan.audio, skipped)
        self.connection.send(("report", (skipped.packets, tuple(warnings), missing)))

    def _pictures(self, opened: OpenVideo, plan: DecodePlan, skipped: Skipped) -> tuple[list[int], int]:
        """Hand over all wanted frames; returns the numbers of those that did not decode and how many did."""
        wanted: dict[int, list[str]] = {}
        for key, request in plan.frames.items():
            for ordinal in request.ordinals:
                wanted.setdefault(int(ordinal), []).append(key)
        fitters = {key: Fitter(request.geometry, opened.timeline.info) for key, request in plan.frames.items()}
        missing = set(wanted)
        for ordinal, frame in wanted_frames(opened, sorted(wanted), skipped, self._alive):
            missing.discard(ordinal)
            for key in wanted[ordinal]:
                self._hand_over(key, ordinal, fitters[key](frame))
        return sorted(missing), len(wanted) - len(missing)

    def _hand_over(self, key: str, ordinal: int, pixels: np.ndarray[Any, Any]) -> None:
        self._hear(wait=False)
        while not self.free:
            self._hear(wait=True)
        if self.ring is None or pixels.nbytes > self.slot_bytes:
            raise RuntimeError(f"a frame of {pixels.nbytes} bytes, slots of {self.slot_bytes}")
        slot = self.free.popleft()
        place = np.frombuffer(self.ring, np.uint8, pixels.nbytes, slot * self.slot_bytes).reshape(pixels.shape)
        place[:] = pixels
        self.connection.send(("frame", (key, ordinal, slot, pixels.shape)))

    def _sound(self, opened: OpenVideo, wanted: AudioRequest, skipped: Skipped) -> list[str]:
        before, heard = skipped.packets, False
        for start, samples in sound(opened, wanted.rate, wanted.start, wanted.end, skipped, self._alive):
            heard = True
            self.connection.send(("sound", (start, samples)))
            self._hear(wait=False)
        lost = skipped.packets - before
        if not heard and lost:
            return ["its sound does not decode: captioned without sound"]
        return [f"{lost} damaged sound packets were skipped"] if lost else []


def watch_parent(parent: int) -> None:
    """End this process when ``parent`` is gone, whatever FFmpeg is at.

    Linux's death signal would come when the *thread* that started us ends, and pools of threads end their threads.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_parent(int(sys.argv[2]))
    complaints.listen()
    Server(Connection(int(sys.argv[1]))).serve()
    # frame threads of a damaged stream may never end: leave without waiting for them
    os._exit(0)


if __name__ == "__main__":
    main()
