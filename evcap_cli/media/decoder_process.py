"""The parent's end of one decoding process: starting it, messages to and from it, its end.

Messages are pickled tuples over a socket, frames among them. The socket holds little, so a child that is ahead of its
reader waits: that bounds the memory of both. Whatever ends the child is a typed error of the file it had open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, Final

from evcap_cli.errors import DecoderCrashed, OutOfMemory
from evcap_cli.interrupts import SIGNALS
from evcap_cli.media.decoder_memory import out_of_memory

SIGNS_OF_NO_MEMORY: Final = ("MemoryError", "bad_alloc", "Cannot allocate memory", "memory allocation of")
"""Last words of a process whose codec gave up at a failed allocation."""
EXIT_SECONDS: Final = 2.0
"""How long a child whose socket has closed may take to end."""
RETRY_SECONDS: Final = 0.25
SHORTAGES: Final = frozenset({errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EDQUOT})
"""What a machine lacks for the moment: room, memory, open files, processes."""


class DecoderProcess:
    """A running ``decoder_child.py``.

    Args:
        memory: bytes that decoding a file may take; see ``decoder_memory.py``.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._log = _nameless_file()
        self._socket, theirs = socket.socketpair()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)}
        # a signal for the whole process group must not look as if this file had crashed the child
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            with theirs:
                arguments = [str(number) for number in (theirs.fileno(), os.getpid(), memory)]
                # -P: a numpy.py next to the videos must not be run
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "evcap_cli.media.decoder_child", *arguments],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._log,
                    env=environment,
                )
            self._connection = Connection(os.dup(self._socket.fileno()))
        except BaseException:
            self._socket.close()
            self._log.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def send(self, *message: Any) -> None:
        """Send a message.

        Raises:
            OSError: the child is gone.
        """
        self._connection.send(message)

    def receive(self, timeout: float) -> tuple[str, Any]:
        """The child's next message, (verb, content).

        Raises:
            BlockingIOError: not one byte came for ``timeout`` seconds, at the start of a message or in the middle.
            EOFError, OSError: the child is gone.
        """
        microseconds = max(1, round(timeout * 1e6))
        self._socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", *divmod(microseconds, 1_000_000))
        )
        message: tuple[str, Any] = self._connection.recv()
        return message

    def crash_error(self, path: str) -> DecoderCrashed | OutOfMemory:
        """The error of the file at ``path``, on which the child ended."""
        how = "is gone"
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(EXIT_SECONDS)
            how = f"died ({_signal_name(-code)})" if code < 0 else f"ended with code {code}{self._last_words()}"
        said = self._last_words()
        if any(words in said for words in SIGNS_OF_NO_MEMORY):
            return out_of_memory(path, self.memory)
        return DecoderCrashed(f"the decoder {how} on this file", path=path, hint="check that it plays, or re-encode it")

    def _last_words(self) -> str:
        """What Python wrote when the child failed by itself, for example that a package is missing."""
        with suppress(OSError, ValueError):
            self._log.seek(0)
            lines = [line.strip() for line in self._log.read().decode(errors="replace").split("\n")]
            return next((f" ({line})" for line in reversed(lines) if line), "")
        return ""

    def close(self) -> None:
        """Kill the child; safe to call twice, and while another thread waits for a message."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._socket.close()
        self._log.close()


def start_process(path: str, memory: int, patience: float, cancelled: Callable[[], bool]) -> DecoderProcess:
    """A decoding process for the file at ``path``; where the machine is short of something, tried again.

    Args:
        path: named in the error.
        memory: see ``DecoderProcess``.
        patience: seconds to try.
        cancelled: whether nobody waits for it any more.

    Raises:
        OutOfMemory: there was no room for it all that time.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return DecoderProcess(memory)
        except OSError as problem:
            if problem.errno not in SHORTAGES:
                raise
            if cancelled() or time.monotonic() > deadline:
                raise OutOfMemory(
                    f"no room for a decoding process ({problem.strerror}), after a wait of {patience:g} seconds",
                    path=path,
                    hint="try fewer --workers",
                ) from problem
        time.sleep(RETRY_SECONDS)


def _nameless_file() -> IO[bytes]:
    """A file for FFmpeg's log; without a name, so that no kill leaves it behind."""
    has_memfd = hasattr(os, "memfd_create")
    file: IO[bytes] = os.fdopen(os.memfd_create("evcap"), "w+b") if has_memfd else tempfile.TemporaryFile()  # noqa: SIM115
    fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
    return file


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
