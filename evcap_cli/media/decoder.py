"""The parent's side of decoding: one child process, reused from file to file, replaced when it crashes or hangs.

Frames come through a ring in shared memory that has no name (an unlinked file), so that no kill can leak it; a frame's
pixels are a view into it. Whatever goes wrong in a file is a typed error of that file.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli.errors import DecoderCrashed, DecodeTimeout, EvcapError, OutOfMemory
from evcap_cli.interrupts import SIGNALS
from evcap_cli.media.frames import slot_bytes
from evcap_cli.media.memory import DEFAULT_BYTES, out_of_memory
from evcap_cli.media.plan import AudioChunk, AudioRequest, DecodedFrame, DecodePlan, DecodeReport, FrameRequest
from evcap_cli.media.probe import Timeline
from evcap_cli.media.ring import SHORT, patiently, reserve

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "AudioChunk",
    "AudioRequest",
    "DecodePlan",
    "DecodeReport",
    "DecodedFrame",
    "Decoder",
    "FrameRequest",
    "Timeline",
]

SLOTS: Final = 16
SIGNS_OF_NO_MEMORY: Final = ("MemoryError", "bad_alloc", "Cannot allocate memory", "memory allocation of")
"""Last words of a process whose codec gave up at a failed allocation."""
CLOSE_SECONDS: Final = 2.0
"""How long a child may take to notice that a pass is not wanted any more."""


class Decoder:
    """Opens files and decodes what is asked for, in a process of its own; for one thread at a time.

    Args:
        timeout: seconds without any progress before a file is given up.
        slots: frames that may lie between the child and the reader.
        memory: bytes that decoding a file may take; see ``memory.py``.
    """

    def __init__(self, timeout: float = 120.0, slots: int = SLOTS, memory: int = DEFAULT_BYTES) -> None:
        self.timeout, self.slots, self.memory = timeout, slots, memory
        self.path = ""
        self.timeline: Timeline | None = None
        self.passes = 0
        """Decoding passes over pictures so far."""
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._log: IO[bytes] | None = None
        self._ring: mmap.mmap | None = None
        self._slot_bytes = 0
        self._closings = 0

    @property
    def pid(self) -> int | None:
        """The child's process number; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    def open(self, path: str | os.PathLike[str], audio_track: int = 0) -> Timeline:
        """Open a file and learn its frame times; the one opened before is closed.

        Raises:
            OpenFailed, NoVideoStream, DecodeFailed, DecodeTimeout, DecoderCrashed, OutOfMemory.
        """
        self.path = os.fspath(path)
        self.timeline = None
        closings = self._closings
        fresh = self._process is None or self._process.poll() is not None
        if fresh:
            self._start()
        # the child keeps the folder it was started in
        place = self.path if Path(self.path).is_absolute() else str(Path.cwd() / self.path)
        try:
            timeline: Timeline = self._ask("timeline", "open", place, audio_track)
        except DecoderCrashed:
            if fresh or self._closings != closings:
                raise
            # killed while idle, or hurt by an earlier file: only a crash of a fresh child is this file's
            self._start()
            timeline = self._ask("timeline", "open", place, audio_track)
        self.timeline = timeline
        return timeline

    def scenes(self) -> list[tuple[Fraction, Fraction]]:
        """Start and end of each scene of the open file (one more pass, at low resolution).

        Raises:
            UsageError: scenedetect is not installed. Also the errors of ``decode``.
        """
        self._opened()
        found: list[tuple[Fraction, Fraction]] = self._ask("scenes", "scenes")
        return found

    def restarts(self, ordinals: Sequence[int]) -> list[int] | None:
        """For each of some frames of the open file the first one that a pass which begins there has to decode.

        None where a pass can only begin at the start.
        """
        self._opened()
        found: list[int] | None = self._ask("restarts", "restarts", list(ordinals))
        return found

    def decode(self, plan: DecodePlan) -> Iterator[DecodedFrame | AudioChunk | DecodeReport]:
        """One pass over the open file; ends with a ``DecodeReport``. Closing the iterator early ends the pass.

        Frames come in order of their numbers, each in all geometries that want it; the sound in step with them or after
        them, as ``plan`` says.

        Raises:
            DecodeFailed, DecodeTimeout, DecoderCrashed, OutOfMemory.
            ValueError: a frame is asked for that the video does not have.
        """
        timeline = self._opened()
        for request in plan.frames.values():
            outside = [int(n) for n in request.ordinals if not 0 <= n < len(timeline.times)]
            if outside:
                raise ValueError(f"frame {outside[0]} of a video of {len(timeline.times)} frames")
        return self._pass(plan, timeline)

    def _pass(self, plan: DecodePlan, timeline: Timeline) -> Iterator[DecodedFrame | AudioChunk | DecodeReport]:
        info = timeline.info
        self._make_room(slot_bytes({key: r.geometry for key, r in plan.frames.items()}, info.width, info.height))
        self.passes += bool(plan.frames)
        over = False
        try:
            self._send("decode", plan)
            while True:
                verb, content = self._hear()
                if verb == "frame":
                    key, ordinal, slot, shape = content
                    yield DecodedFrame(ordinal, key, self._view(slot, shape))
                    self._send("free", slot)
                elif verb == "sound":
                    yield AudioChunk(*content)
                elif verb == "report":
                    over = True
                    yield content
                    return
        except EvcapError:
            over = True
            raise
        finally:
            if not over:
                self._end_pass()

    def _opened(self) -> Timeline:
        if self.timeline is None:
            raise RuntimeError("open a file first")
        return self.timeline

    def _view(self, slot: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        if self._ring is None:
            raise self._crashed()
        size = int(np.prod(shape))
        return np.frombuffer(self._ring, np.uint8, size, slot * self._slot_bytes).reshape(shape)

    def _end_pass(self) -> None:
        """Stop a pass that nobody reads any more; a child that does not stop is ended."""
        try:
            self._send("stop")
            while self._hear(min(self.timeout, CLOSE_SECONDS))[0] not in ("end", "report"):
                pass
        except EvcapError:
            pass
        # slots that were under way are not counted: the next pass gets a new ring
        self._slot_bytes = 0

    def _make_room(self, size: int) -> None:
        """A ring of slots of at least ``size`` bytes, here and in the child."""
        if size <= self._slot_bytes:
            return
        size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._ring = None  # the smaller one makes room
        closings = self._closings
        try:
            file, slots = reserve(size, self.slots, self.timeout, lambda: self._closings != closings)
            with file:
                self._share(file, slots, size)
        except OSError as problem:
            raise OutOfMemory(
                f"no shared memory for its frames ({problem.strerror}), after a wait of {self.timeout:g} seconds",
                path=self.path,
                hint="try fewer --workers, or give /dev/shm and the temporary folder more room",
            ) from problem
        self._slot_bytes = size

    def _share(self, file: IO[bytes], slots: int, size: int) -> None:
        """Map a ring here and in the child."""
        self._ring = mmap.mmap(file.fileno(), size * slots)
        self._send("ring", slots, size)
        connection = self._connection
        if connection is None:
            raise self._crashed()
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            try:
                socket.send_fds(line, [b"r"], [file.fileno()])
            except OSError as problem:
                raise self._crashed() from problem

    def _ask(self, answer: str, verb: str, *arguments: Any) -> Any:
        self._send(verb, *arguments)
        while True:
            heard, content = self._hear()
            if heard == answer:
                return content

    def _start(self) -> None:
        self._forget()
        closings = self._closings
        try:
            patiently(self._launch, self.timeout, lambda: self._closings != closings)
        except OSError as problem:
            if problem.errno not in SHORT:
                raise
            raise OutOfMemory(
                f"no room for a decoding process ({problem.strerror}), after a wait of {self.timeout:g} seconds",
                path=self.path,
                hint="try fewer --workers",
            ) from problem

    def _launch(self) -> None:
        # FFmpeg's complaints; without a name, so that no kill leaves it behind
        self._log, _ = reserve(0, 1, 0.0)
        fcntl.fcntl(self._log, fcntl.F_SETFL, fcntl.fcntl(self._log, fcntl.F_GETFL) | os.O_APPEND)
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)}
        with theirs:
            arguments = [str(number) for number in (theirs.fileno(), os.getpid(), self.memory)]
            # a signal for the whole process group must not look as if this file had crashed the child
            before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                # -P: a numpy.py that lies beside the videos must not be run
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "evcap_cli.media.child", *arguments],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._log,
                    env=environment,
                )
            except BaseException:
                ours.close()
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._connection = Connection(ours.detach())

    def _send(self, *message: Any) -> None:
        if self._connection is None:
            raise self._crashed()
        try:
            self._connection.send(message)
        except OSError as problem:
            raise self._crashed() from problem

    def _hear(self, timeout: float | None = None) -> tuple[str, Any]:
        """The child's next message; ``alive`` only resets the clock."""
        connection = self._connection
        if connection is None:
            raise self._crashed()
        while True:
            try:
                if not connection.poll(self.timeout if timeout is None else timeout):
                    self._kill()
                    raise DecodeTimeout(
                        f"no progress for {self.timeout:g} seconds",
                        path=self.path,
                        hint="raise --timeout or leave it out",
                    )
                verb, content = connection.recv()
            except (EOFError, OSError) as problem:
                raise self._crashed() from problem
            if verb == "error":
                if isinstance(content, EvcapError) and content.path is not None:
                    content.path = self.path
                raise content
            if verb != "alive":
                return verb, content

    def _crashed(self) -> DecoderCrashed | OutOfMemory:
        how = "is gone"
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(CLOSE_SECONDS)
                how = f"died ({_signal_name(-code)})" if code < 0 else f"ended with code {code}{self._last_words()}"
        said = self._last_words()
        self._kill()
        if any(words in said for words in SIGNS_OF_NO_MEMORY):
            return out_of_memory(self.path, self.memory)
        return DecoderCrashed(
            f"the decoder {how} on this file", path=self.path, hint="check that it plays, or re-encode it"
        )

    def _last_words(self) -> str:
        """What Python said when the child failed by itself, for example that a package is missing."""
        if self._log is None:
            return ""
        with suppress(OSError, ValueError):
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").split("\n")
            said = [line.strip() for line in lines if line.strip()]
            return f" ({said[-1]})" if said else ""
        return ""

    def _kill(self) -> None:
        process = self._process
        self.timeline = None
        self._forget()
        if process is not None:
            process.kill()
            process.wait()

    def _forget(self) -> None:
        connection, log = self._connection, self._log
        # views of the last frame may still be held: the memory goes when the last of them does
        self._process = self._connection = self._log = self._ring = None
        self._slot_bytes = 0
        if connection is not None:
            connection.close()
        if log is not None:
            log.close()

    def close(self) -> None:
        """End the child; safe to call twice, and from another thread than the one that decodes."""
        self._closings += 1
        self._kill()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
