"""How a command ends early: Ctrl-C, and SIGTERM and SIGHUP, which batch systems and closed terminals send.

All three raise ``KeyboardInterrupt`` in the main thread, so that whatever is open is finished or dropped on the way
out. Python can do that only between two of its instructions; a thread of its own receives the signals at once and ends
the process hard where the way out takes too long, or where somebody insists. What is on disk is whole at any instant.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from evcap_cli.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

END_SECONDS: Final = 8.0
"""After a SIGTERM: batch systems kill some time after it, Docker after ten seconds."""
REPEAT_SECONDS: Final = 0.2
"""A second signal this soon after the first is the same one: timeout(1) signals the process and then its group."""
REPEATED_END_SECONDS: Final = 2.0
"""Such a repetition may be somebody's haste as well."""
TERMINATING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
SIGNALS: Final = (signal.SIGINT, *TERMINATING)


class _Interrupt:
    """Remembers the signal: the exception it raises can get lost.

    Python raises ``KeyboardInterrupt`` wherever the program happens to be. In a destructor it is dropped, and within
    an import, a callback or a half-started thread it can come out as another exception.
    """

    def __init__(self) -> None:
        self.signal = 0
        """The first one since the command began; 0: none."""
        self.since = 0.0
        self.listening = False
        """Whether all signals come here."""

    def __call__(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002  a signal handler's arguments
        if self.signal and time.monotonic() - self.since < REPEAT_SECONDS:
            return
        if not self.signal:
            self.signal, self.since = signum, time.monotonic()
        raise KeyboardInterrupt


_interrupt = _Interrupt()
_begun = 0


def commands_begun() -> int:
    """How many commands this process has begun: what is done once a command looks here."""
    return _begun


def interrupted() -> bool:
    """Whether a signal came since the command began."""
    return _interrupt.signal != 0


def check_interrupted() -> None:
    """Raise the ``KeyboardInterrupt`` of a signal that was dropped on its way; every ``Bar.advance`` does.

    Raises:
        KeyboardInterrupt: a signal came since the command began.
    """
    if interrupted():
        raise KeyboardInterrupt


def is_interrupt(problem: BaseException) -> bool:
    """Whether a signal raised it; code can raise the same exception by itself."""
    return isinstance(problem, KeyboardInterrupt) and (interrupted() or not _interrupt.listening)


def exit_code() -> int:
    """143 where SIGTERM or SIGHUP ended the command, 130 for Ctrl-C."""
    return _code(_interrupt.signal)


def _code(signum: int) -> int:
    return EXIT_TERMINATED if signum in TERMINATING else EXIT_INTERRUPTED


@contextmanager
def handled() -> Iterator[None]:
    """Let the program receive the signals, unless the caller has a handler of its own or is not the main thread.

    A signal that is ignored, as by nohup(1), stays ignored.
    """
    global _begun
    _begun += 1
    _interrupt.signal = 0
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [n for n, handler in before.items() if handler in (signal.SIG_DFL, signal.default_int_handler)]
    hook = sys.unraisablehook

    def quiet(lost: Any) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            hook(lost)

    sys.unraisablehook = quiet
    try:
        with _watched() if ours else contextlib.nullcontext():
            for number in ours:
                signal.signal(number, _interrupt)
            _interrupt.listening = signal.SIGINT in ours
            yield
    finally:
        _interrupt.listening = False
        for number in ours:
            signal.signal(number, before[number])
        sys.unraisablehook = hook


@contextmanager
def _watched() -> Iterator[None]:
    """Have a thread that ends the process where the main thread does not."""
    receiver, sender = socket.socketpair()
    with receiver, sender:
        sender.setblocking(False)
        before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        if before != -1:  # the caller's event loop
            signal.set_wakeup_fd(before)
            yield
            return
        thread = threading.Thread(target=_watch, args=(receiver,), name="evcap-signals", daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            sender.shutdown(socket.SHUT_WR)
            thread.join()


def _watch(receiver: socket.socket) -> None:
    """A thread: read the numbers of signals, as Python's own handler writes them, until the other side closes."""
    first, since = 0, 0.0
    deadline: float | None = None
    while True:
        wait = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        if not select.select([receiver], [], [], wait)[0]:
            _leave(first)
        numbers = receiver.recv(64)
        if not numbers:
            return
        for number in filter(SIGNALS.__contains__, numbers):
            now = time.monotonic()
            if not first:
                first, since = number, now
                deadline = now + END_SECONDS if number in TERMINATING else None
            elif now - since >= REPEAT_SECONDS:
                _leave(first if first in TERMINATING else number)
            elif deadline is not None:
                deadline = since + REPEATED_END_SECONDS


def _leave(signum: int) -> None:
    """End the process at once. Its children see that it is gone and end as well."""
    if sys.__stderr__ is not None:
        with contextlib.suppress(OSError):
            os.write(2, b"interrupted\n")
    os._exit(_code(signum))
