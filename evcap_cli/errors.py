"""The one tree of errors: everything evcap raises on purpose, and the exit code each class stands for.

A user sees one line, ``str(error)``: the file, the cause, the next step. ``console.py`` prints it; tracebacks appear
only under ``EVCAP_DEBUG=1``. ``code`` is what a JSONL record carries in ``error.code``.
"""

from __future__ import annotations

import os
from functools import partial
from typing import ClassVar, Final

EXIT_DONE = 0
EXIT_NOTHING_DONE = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
_LONGEST_REASON: Final = 300


class EvcapError(Exception):
    """Base of all deliberate errors.

    Args:
        cause: what went wrong, in words a user knows, without a full stop.
        path: the file or name it happened to; printed first.
        hint: the next step for the user; printed last.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = EXIT_NOTHING_DONE

    def __init__(self, cause: str, *, path: str | os.PathLike[str] | None = None, hint: str | None = None) -> None:
        self.cause = cause
        self.path = None if path is None else os.fspath(path)
        self.hint = hint
        super().__init__(cause)

    @property
    def message(self) -> str:
        """Cause and hint on one line, without the path (a record names the path elsewhere)."""
        line = self.cause if self.hint is None else f"{self.cause}; {self.hint}"
        return " ".join(line.split())

    def __str__(self) -> str:
        return self.message if self.path is None else f"{self.path}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process borders: rebuild with the keyword arguments."""
        return partial(type(self), path=self.path, hint=self.hint), (self.cause,)


def one_line(problem: BaseException) -> str:
    """An exception with its type, on a line that is not too long: what libraries say can fill pages."""
    return _shortened(f"{type(problem).__name__}: {problem}")


def reason_of(problem: BaseException) -> str:
    """The same without the type, unless the exception says nothing else; of the system's errors what went wrong."""
    return _shortened(getattr(problem, "strerror", None) or str(problem)) or type(problem).__name__


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."


class UsageError(EvcapError):
    """The command line requests something impossible: found before any work starts."""

    code = "usage"
    exit_code = EXIT_USAGE


class CheckpointError(UsageError):
    """A checkpoint is missing, incomplete, or needs a backbone that is not installed."""

    code = "checkpoint"


class DataError(UsageError):
    """A data root, caption file, lexicon or embedding file cannot be used."""

    code = "data"


class PluginError(UsageError):
    """A plugin is missing, broken or clashes with another."""

    code = "plugin"


class WeightsError(PluginError):
    """Weights of a backbone are missing, damaged, of another architecture, or cannot be downloaded."""

    code = "weights"


class TrainingError(EvcapError):
    """Training cannot go on (a loss that is not a number, nothing to train on)."""

    code = "training"


class WriteError(EvcapError):
    """An output cannot be written: no permission, a full disk."""

    code = "write"


class NameTooLong(WriteError):
    """No file system takes the name of this output."""

    exit_code = EXIT_USAGE


class UploadError(EvcapError):
    """A checkpoint cannot be pushed to the hub: what was trained is there all the same."""

    code = "upload"
    exit_code = EXIT_SOME_FAILED


class CaptionerStopped(EvcapError):
    """A captioner cannot go on for any video: its server does not answer any more. What was captioned is kept."""

    code = "captioner"


class WorkersGone(EvcapError):
    """No worker of an engine is left, and none comes. What was done is kept."""

    code = "engine"


class VideoError(EvcapError):
    """Something that concerns one video; the others go on."""

    code = "decode"


class OpenFailed(VideoError):
    """The file cannot be opened or is not a video container."""

    code = "open"


class NoVideoStream(VideoError):
    """The file holds no picture (audio only, zero frames)."""

    code = "no-video"


class DecodeFailed(VideoError):
    """The container opened, the frames do not decode."""

    code = "decode"


class DecodeTimeout(VideoError):
    """The decoder made no progress for the time that ``--timeout`` allows."""

    code = "timeout"


class DecoderCrashed(VideoError):
    """The decoding process died (a segfault in a codec, a kill)."""

    code = "crash"


class WorkerCrashed(VideoError):
    """Workers of an engine died on this video, each time with no other video in hand."""

    code = "crash"


class OutOfMemory(VideoError):
    """Decoding or a model ran out of memory on this video."""

    code = "memory"


class BackboneError(VideoError):
    """A backbone failed, or returned something its spec does not allow, on this video."""

    code = "backbone"


class CaptionerError(VideoError):
    """A captioner gave no caption for this video: an empty answer, one that ends within its reasoning."""

    code = "captioner"
