"""Decoding from the reader's side: one child process, reused from file to file, replaced when it crashes or hangs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from evcap_cli import profiling
from evcap_cli.errors import DecoderCrashed, DecodeTimeout, EvcapError, OutOfMemory
from evcap_cli.media.decode_plan import AudioChunk, AudioRequest, DecodedFrame, DecodePlan, FrameRequest
from evcap_cli.media.decode_report import DecodeReport
from evcap_cli.media.decoder_memory import DEFAULT_BYTES
from evcap_cli.media.decoder_process import DecoderProcess, start_process
from evcap_cli.media.probe import Timeline

__all__ = (
    "AudioChunk",
    "AudioRequest",
    "DecodePlan",
    "DecodeReport",
    "DecodedFrame",
    "Decoder",
    "FrameRequest",
)
"""A decoder, what it is sent and what it answers: scripts import all of it from here."""

STOP_SECONDS: Final = 2.0
"""How long a child may take to notice that a pass is not needed any more."""


class Decoder:
    """Opens files and decodes what is requested, in a process of its own; for one thread at a time.

    Args:
        timeout: seconds without any progress before a file is given up.
        memory: bytes that decoding a file may take; see ``decoder_memory.py``.
    """

    def __init__(self, timeout: float = 120.0, memory: int = DEFAULT_BYTES) -> None:
        self.timeout, self.memory = timeout, memory
        self.path = ""
        self.timeline: Timeline | None = None
        self.passes = 0
        """Decoding passes over pictures so far."""
        self._process: DecoderProcess | None = None
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
        fresh = self._process is None or not self._process.runs()
        if fresh:
            self._start()
        # the child keeps the folder it was started in
        place = self.path if Path(self.path).is_absolute() else str(Path.cwd() / self.path)
        try:
            timeline: Timeline = self._request("timeline", "open", place, audio_track)
        except DecoderCrashed:
            if fresh or self._closings != closings:
                raise
            # killed while idle, or damaged by an earlier file: only a crash of a fresh child is this file's
            self._start()
            timeline = self._request("timeline", "open", place, audio_track)
        self.timeline = timeline
        return timeline

    def scenes(self) -> list[tuple[Fraction, Fraction]]:
        """Start and end of each scene of the open file (one more pass, at low resolution).

        Raises:
            UsageError: scenedetect is not installed. Also the errors of ``decode``.
        """
        self._opened()
        found: list[tuple[Fraction, Fraction]] = self._request("scenes", "scenes")
        return found

    def restarts(self, ordinals: Sequence[int]) -> list[int] | None:
        """For each of some frames of the open file the first one that a pass which begins there has to decode.

        None where a pass can only begin at the start.
        """
        self._opened()
        found: list[int] | None = self._request("restarts", "restarts", list(ordinals))
        return found

    def decode(self, plan: DecodePlan) -> Iterator[DecodedFrame | AudioChunk | DecodeReport]:
        """One pass over the open file; ends with a ``DecodeReport``. Closing the iterator early ends the pass.

        Frames come in order of their numbers, each in all geometries that want it; the sound in step with them or after
        them, as ``plan`` says.

        Raises:
            DecodeFailed, DecodeTimeout, DecoderCrashed, OutOfMemory.
            ValueError: a frame is requested that the video does not have.
        """
        timeline = self._opened()
        for request in plan.frames.values():
            outside = [int(n) for n in request.ordinals if not 0 <= n < len(timeline.times)]
            if outside:
                raise ValueError(f"frame {outside[0]} of a video of {len(timeline.times)} frames")
        return self._pass(plan)

    def _pass(self, plan: DecodePlan) -> Iterator[DecodedFrame | AudioChunk | DecodeReport]:
        self.passes += bool(plan.frames)
        over = False
        try:
            self._send("decode", plan)
            while not over:
                verb, content = self._receive(self.timeout)
                over = verb == "report"
                if verb == "seconds":
                    for stage, seconds in content.items():
                        profiling.add(stage, seconds)
                if verb in ("frame", "sound", "report"):
                    yield content
        except EvcapError:
            over = True
            raise
        finally:
            if not over:
                self._stop_pass()

    def _opened(self) -> Timeline:
        if self.timeline is None:
            raise RuntimeError("open a file first")
        return self.timeline

    def _stop_pass(self) -> None:
        """Stop a pass that nobody reads any more; a child that does not stop is killed."""
        try:
            self._send("stop")
            while self._receive(min(self.timeout, STOP_SECONDS))[0] not in ("end", "report"):
                pass
        except EvcapError:
            pass

    def _request(self, answer: str, verb: str, *arguments: Any) -> Any:
        self._send(verb, *arguments)
        while True:
            found, content = self._receive(self.timeout)
            if found == answer:
                return content

    def _start(self) -> None:
        self._close()
        closings = self._closings
        self._process = start_process(self.path, self.memory, self.timeout, lambda: self._closings != closings)

    def _send(self, *message: Any) -> None:
        process = self._running()
        try:
            process.send(*message)
        except OSError as problem:
            raise self._crash(process) from problem

    def _receive(self, timeout: float) -> tuple[str, Any]:
        """The child's next message; ``alive`` only resets the clock."""
        process = self._running()
        while True:
            try:
                verb, content = process.receive(timeout)
            except BlockingIOError as problem:
                self._close()
                raise DecodeTimeout(
                    f"no progress for {self.timeout:g} seconds", path=self.path, hint="raise --timeout or leave it out"
                ) from problem
            except (EOFError, OSError) as problem:
                raise self._crash(process) from problem
            if verb == "error":
                if isinstance(content, EvcapError) and content.path is not None:
                    content.path = self.path
                raise content
            if verb != "alive":
                return verb, content

    def _running(self) -> DecoderProcess:
        process = self._process
        if process is None:
            raise DecoderCrashed("the decoder is gone", path=self.path, hint="check that it plays, or re-encode it")
        return process

    def _crash(self, process: DecoderProcess) -> DecoderCrashed | OutOfMemory:
        problem = process.crash_error(self.path)
        self._close()
        return problem

    def _close(self) -> None:
        process, self._process = self._process, None
        self.timeline = None
        if process is not None:
            process.close()

    def close(self) -> None:
        """End the child; safe to call twice, and from another thread than the one that decodes."""
        self._closings += 1
        self._close()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
