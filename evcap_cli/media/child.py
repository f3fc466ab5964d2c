"""The decoding process, ``python -m evcap_cli.media.child FD PARENT BYTES``; answers ``Decoder`` over a socket.

It imports PyAV and numpy only, and Pillow where pictures are resized as pretrained networks want them. Frames go into a
ring in shared memory, slot numbers go over the socket. Ctrl-C and SIGTERM are for the parent, which starts this process
with both blocked; when the parent dies, this process dies.
"""

from __future__ import annotations

import math
import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli.errors import DecodeFailed, EvcapError, one_line
from evcap_cli.media import complaints
from evcap_cli.media.audio import sound
from evcap_cli.media.frames import Fitter, wanted_frames
from evcap_cli.media.memory import Allowance, out_of_memory
from evcap_cli.media.plan import DecodeReport
from evcap_cli.media.scan import OpenVideo, open_video
from evcap_cli.media.source import Skipped, Source

if TYPE_CHECKING:
    from evcap_cli.media.audio import Samples
    from evcap_cli.media.plan import DecodePlan

ALIVE_SECONDS: Final = 0.5
"""How often the parent hears of progress that yields no frame yet."""
ORPHAN_SECONDS: Final = 0.5
"""How often to look whether the parent still lives."""


class Stop(Exception):
    """The parent has seen enough of this file."""


class Server:
    """One file at a time: open, decode, close."""

    def __init__(self, connection: Connection, allowance: Allowance) -> None:
        self.connection, self.allowance = connection, allowance
        self.opened: OpenVideo | None = None
        self.second: Source | None = None
        self.path, self.audio_track = "", 0
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
            return out_of_memory(self.path, self.allowance.most)
        return DecodeFailed(f"cannot be decoded ({one_line(problem)})", path=self.path, hint="check that it plays")

    def _answer(self, verb: str, *arguments: Any) -> None:
        if verb == "open":
            self._open(*arguments)
        elif verb == "ring":
            self._ring(*arguments)
        elif verb == "decode":
            self._decode(*arguments)
        elif verb == "scenes":
            from evcap_cli.media.scenes import find_scenes

            self.connection.send(("scenes", find_scenes(self._known(), self.alive)))
        elif verb == "restarts":
            self.connection.send(("restarts", self._restarts(*arguments)))
        elif verb == "free":
            # the last frames of a pass come back after its report
            self.free.append(*arguments)
        # "stop" of a pass that is over already needs no answer

    def _open(self, path: str, audio_track: int) -> None:
        if self.opened is not None:
            self.opened.source.close()
            self.opened = None
        if self.second is not None:
            self.second.close()
            self.second = None
        self.path, self.audio_track = path, audio_track
        complaints.take()
        self.opened = open_video(path, audio_track, self.alive, self.allowance)
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

    def alive(self) -> None:
        """Tell the parent now and then that work goes on."""
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

    def _restarts(self, ordinals: list[int]) -> list[int] | None:
        """See ``Decoder.restarts``; the last of ``ordinals`` is tried."""
        opened = self._known()
        if opened.stamps is None or not ordinals:
            return None
        keys, _ = opened.keys_before(ordinals[-1])
        opened.source.seeks = True
        if not keys:
            return None
        opened.source.from_key(keys)
        return [opened.keys_before(ordinal)[1] for ordinal in ordinals] if opened.source.seeks else None

    def _decode(self, plan: DecodePlan) -> None:
        opened = self._known()
        # what an earlier pass met must not change this one, which may be the only one after a restart
        opened.source.seeks = True
        complaints.take()
        passing = _Pass(self, opened, plan)
        for shown in passing.pictures():
            if plan.in_step:
                passing.sound_until(shown)
        passing.sound_until(math.inf)
        report = passing.report
        if report.missing and not report.seen and not plan.partial:
            raise DecodeFailed("no frame of it can be decoded", path=self.path, hint="check that it plays")
        self.connection.send(("report", report))

    def second_source(self) -> Source:
        """The open file once more, for its sound: a place of its own to read from."""
        opened = self._known()
        if self.second is None:
            with self.allowance.second_opening():
                self.second = Source(opened.source.path, self.audio_track)
        return self.second

    def hand_over(self, key: str, ordinal: int, pixels: np.ndarray[Any, Any]) -> None:
        """Put a frame into the ring; waits for a free slot."""
        self._hear(wait=False)
        while not self.free:
            self._hear(wait=True)
        if self.ring is None or pixels.nbytes > self.slot_bytes:
            raise RuntimeError(f"a frame of {pixels.nbytes} bytes, slots of {self.slot_bytes}")
        slot = self.free.popleft()
        place = np.frombuffer(self.ring, np.uint8, pixels.nbytes, slot * self.slot_bytes).reshape(pixels.shape)
        place[:] = pixels
        self.connection.send(("frame", (key, ordinal, slot, pixels.shape)))

    def hand_over_sound(self, start: float, samples: Samples, until: float) -> None:
        """Send samples on their way."""
        self.connection.send(("sound", (start, samples, until)))
        self._hear(wait=False)


class _Pass:
    """One pass: its pictures, its sound, and how they went."""

    def __init__(self, server: Server, opened: OpenVideo, plan: DecodePlan) -> None:
        self.server, self.opened, self.plan = server, opened, plan
        self.seen, self.patched, self.heard = 0, False, 0.0
        self.missing: list[int] = []
        self.lost_pictures, self.lost_sound = Skipped(), Skipped()
        self._sound = self._chunks()
        self._chunk: tuple[float, Samples, float] | None = None
        self._began = False

    @property
    def report(self) -> DecodeReport:
        """How it went so far."""
        return DecodeReport(
            self.seen,
            tuple(self.missing),
            self.lost_pictures.packets,
            self.lost_sound.packets,
            self.patched,
            self.heard,
            round(float(self.lost_pictures.lost), 3),
            round(float(self.lost_sound.lost), 3),
        )

    def pictures(self) -> Iterator[float]:
        """Hand over all requested frames; yields the time of each, seconds, before it is handed over."""
        requests = {key: np.asarray(r.ordinals, dtype=np.int64) for key, r in self.plan.frames.items()}
        everything = np.unique(np.concatenate([*requests.values(), np.zeros(0, np.int64)]))
        info = self.opened.timeline.info
        fitters = {key: Fitter(request.geometry, info) for key, request in self.plan.frames.items()}
        place = 0
        for ordinal, frame in wanted_frames(self.opened, everything.tolist(), self.lost_pictures, self.server.alive):
            self._note_damage()
            at = int(np.searchsorted(everything, ordinal))
            self.missing += everything[place:at].tolist()
            place, self.seen = at + 1, self.seen + 1
            yield float(self.opened.timeline.seconds(ordinal))
            for key, ordinals in requests.items():
                where = int(np.searchsorted(ordinals, ordinal))
                if where < len(ordinals) and ordinals[where] == ordinal:
                    self.server.hand_over(key, ordinal, fitters[key](frame))
        self.missing += everything[place:].tolist()
        self._note_damage()

    def _note_damage(self) -> None:
        self.patched = bool(complaints.take().damage) or self.patched

    def sound_until(self, seconds: float) -> None:
        """Hand over the sound that begins at ``seconds`` or before."""
        if not self._began:
            self._began, self._chunk = True, next(self._sound, None)
        while self._chunk is not None and self._chunk[0] <= seconds:
            self.server.hand_over_sound(*self._chunk)
            self._chunk = next(self._sound, None)
        complaints.take()  # only those about the picture are counted

    def _chunks(self) -> Iterator[tuple[float, Samples, float]]:
        """(start, samples, start of the next) of the sound; first where it begins, with no samples."""
        wanted, opened = self.plan.audio, self.opened
        if wanted is None or opened.source.audio is None:
            return
        if self.plan.in_step:
            opened = replace(opened, source=self.server.second_source())
        start, samples = float(wanted.start), np.zeros(0, np.float32)
        for following, more in sound(opened, wanted.rate, wanted.start, wanted.end, self.lost_sound, self.server.alive):
            self.heard += len(more) / wanted.rate
            if len(samples) or self.plan.in_step:
                yield start, samples, following
            start, samples = following, more
        if len(samples) or self.plan.in_step:
            yield start, samples, math.inf


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
    Server(Connection(int(sys.argv[1])), Allowance(int(sys.argv[3]))).serve()
    # frame threads of a damaged stream may never end: leave without waiting for them
    os._exit(0)


if __name__ == "__main__":
    main()
