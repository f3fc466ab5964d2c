"""The decoding process, ``python -m evcap_cli.media.decoder_child FD PARENT BYTES``; answers ``Decoder`` on a socket.

It imports PyAV and numpy only, and Pillow where pictures are resized as pretrained networks expect them. Ctrl-C and
SIGTERM are for the parent, which starts this process with both blocked; when the parent dies, this process dies.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.errors import DecodeFailed, EvcapError, one_line
from evcap_cli.media import ffmpeg_log
from evcap_cli.media.decoder_memory import Allowance, out_of_memory
from evcap_cli.media.decoding_pass import DecodingPass
from evcap_cli.media.media_file import MediaFile
from evcap_cli.media.scan import OpenVideo, open_video

if TYPE_CHECKING:
    from evcap_cli.media.decode_plan import AudioChunk, DecodedFrame, DecodePlan

ALIVE_SECONDS: Final = 0.5
"""How often the parent is sent word of progress that yields no frame yet."""
ORPHAN_SECONDS: Final = 0.5
"""How often to check whether the parent still lives."""


class Stop(Exception):
    """The parent needs no more of this pass."""


class Server:
    """One file at a time: open, decode, close."""

    def __init__(self, connection: Connection, allowance: Allowance) -> None:
        self.connection, self.allowance = connection, allowance
        self.opened: OpenVideo | None = None
        self.second: MediaFile | None = None
        self.path, self.audio_track = "", 0
        self.last_alive = 0.0
        self.sending_seconds = 0.0

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
        elif verb == "decode":
            self._decode(*arguments)
        elif verb == "scenes":
            from evcap_cli.media.scenes import find_scenes

            self.connection.send(("scenes", find_scenes(self._known(), self.alive)))
        elif verb == "restarts":
            self.connection.send(("restarts", self._restarts(*arguments)))
        # "stop" of a pass that is over already needs no answer

    def _open(self, path: str, audio_track: int) -> None:
        if self.opened is not None:
            self.opened.file.close()
            self.opened = None
        if self.second is not None:
            self.second.close()
            self.second = None
        self.path, self.audio_track = path, audio_track
        ffmpeg_log.take()
        self.opened = open_video(path, audio_track, self.alive, self.allowance)
        self.connection.send(("timeline", self.opened.timeline))

    def _known(self) -> OpenVideo:
        if self.opened is None:
            raise DecodeFailed("was never opened", path=self.path)
        return self.opened

    def alive(self) -> None:
        """Send the parent word now and then that work goes on."""
        now = time.monotonic()
        if now - self.last_alive > ALIVE_SECONDS:
            self.last_alive = now
            self.send("alive", None)
            ffmpeg_log.drain()

    def send(self, verb: str, content: Any) -> None:
        """Send a message; waits while the parent reads none.

        Raises:
            Stop: the parent needs no more of this pass.
        """
        while self.connection.poll():
            if self.connection.recv()[0] == "stop":
                raise Stop
        # protocol 5 copies pixels once, and not first into bytes of their own
        begun = time.perf_counter()
        self.connection.send_bytes(pickle.dumps((verb, content), protocol=5))
        self.sending_seconds += time.perf_counter() - begun

    def _restarts(self, ordinals: list[int]) -> list[int] | None:
        """See ``Decoder.restarts``; the last of ``ordinals`` is tried."""
        opened = self._known()
        if opened.stamps is None or not ordinals:
            return None
        keys, _ = opened.keys_before(ordinals[-1])
        opened.file.seeks = True
        if not keys:
            return None
        opened.file.from_key(keys)
        return [opened.keys_before(ordinal)[1] for ordinal in ordinals] if opened.file.seeks else None

    def _decode(self, plan: DecodePlan) -> None:
        opened = self._known()
        # what an earlier pass met must not change this one, which may be the only one after a restart
        opened.file.seeks = True
        ffmpeg_log.take()
        decoding = DecodingPass(opened, plan, self)
        begun, self.sending_seconds = time.perf_counter(), 0.0
        for shown in decoding.pictures():
            if plan.in_step:
                decoding.sound_until(shown)
        decoding.sound_until(math.inf)
        report = decoding.report
        if report.missing and not report.seen and not plan.partial:
            raise DecodeFailed("no frame of it can be decoded", path=self.path, hint="check that it plays")
        took, pixels, sending = time.perf_counter() - begun, decoding.pixel_seconds, self.sending_seconds
        self.connection.send(("seconds", {"decoding": took - pixels - sending, "pixels": pixels, "sending": sending}))
        self.connection.send(("report", report))

    def second_file(self) -> MediaFile:
        """The open file once more, for its sound: a place of its own to read from."""
        opened = self._known()
        if self.second is None:
            with self.allowance.second_opening():
                self.second = MediaFile(opened.file.path, self.audio_track)
        return self.second

    def send_frame(self, frame: DecodedFrame) -> None:
        """Send a frame."""
        self.send("frame", frame)

    def send_sound(self, chunk: AudioChunk) -> None:
        """Send samples."""
        self.send("sound", chunk)


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
    ffmpeg_log.listen()
    Server(Connection(int(sys.argv[1])), Allowance(int(sys.argv[3]))).serve()
    # frame threads of a damaged stream may never end: leave without waiting for them
    os._exit(0)


if __name__ == "__main__":
    main()
