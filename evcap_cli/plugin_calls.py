"""Calling into plugins: what they raise, print and change does not reach the rest of evcap.

A call that ends the program (``sys.exit``, an interrupt of their own making) becomes an error like any other. Nothing
can be done about ``os._exit``, a crash in C code or a call that never returns: ``EVCAP_PLUGINS`` leaves such a plugin
out.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from evcap_cli import console, interrupts, standard_streams


@contextmanager
def contained() -> Iterator[None]:
    """Turn what would end the program into a ``RuntimeError``; Ctrl-C and evcap's own signals pass.

    Raises:
        RuntimeError: the block called ``sys.exit`` or raised another exception that is no ``Exception``.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as problem:
        if interrupts.is_interrupt(problem) or type(problem).__module__.startswith("evcap_cli."):
            raise
        raise RuntimeError(_how_it_ended(problem)) from problem


def _how_it_ended(problem: BaseException) -> str:
    if isinstance(problem, SystemExit):
        return f"it called sys.exit({'' if problem.code is None else repr(problem.code)})"
    return f"it raised {type(problem).__name__}" + (f": {problem}" if str(problem) else "")


@contextmanager
def registering() -> Iterator[None]:
    """``contained`` for imports and hooks: they print on standard error, and what belongs to the process is put back.

    That is the folder it works in, what it does on signals, and its standard streams.
    """
    folder = None
    with suppress(OSError):
        folder = os.getcwd()  # noqa: PTH109  Path.cwd makes the start of every command slower
    streams = sys.stdin, sys.stdout, sys.stderr
    handlers = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    try:
        with standard_streams.data_only(), contained():
            yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, handler in handlers.items():
            with suppress(ValueError, TypeError):  # not the main thread, or set by C code
                if signal.getsignal(number) is not handler:
                    signal.signal(number, handler)
        with suppress(OSError):
            if folder is not None and os.getcwd() != folder:  # noqa: PTH109
                os.chdir(folder)


def show_traceback(problem: BaseException) -> None:
    """Show where a plugin failed, if EVCAP_DEBUG is set; evcap goes on without it."""
    if console.debug():
        traceback.print_exception(problem)
