"""Standard input, output and error: closed ones are replaced, and standard output is kept for data.

While a command of evcap runs, whatever plugins and libraries print goes to standard error: by ``print``, from C code or
from a program that they start. The command itself writes its data with ``write_data``. What people read is printed by
``console.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TextIO

from evcap_cli.errors import WriteError

_INPUT, _OUTPUT, _ERROR = 0, 1, 2


@dataclass
class _Data:
    """Where data goes while standard output leads to standard error."""

    stream: TextIO | None
    number: int | None
    """A copy of the descriptor of standard output; None where the stream is not the process's own."""


_kept: _Data | None = None


def replace_closed() -> None:
    """Open the null device in place of standard streams that are closed: a file of ours must not take their number.

    ``sys.stdin`` and ``sys.stdout`` stay None where they were closed, so that who needs them can say so.
    """
    for number in (_INPUT, _OUTPUT, _ERROR):
        try:
            os.fstat(number)
        except OSError:
            # the system gives the lowest free number, and the lower ones are taken by now
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY if number == _INPUT else os.O_WRONLY), True)
    if sys.stderr is None:  # libraries take it for granted
        sys.stderr = open(_ERROR, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


@contextmanager
def data_only(*, process: bool = False) -> Iterator[None]:
    """Within this block standard output takes data only; everything else that is printed goes to standard error.

    Args:
        process: for C code and started programs too, not only for Python's ``print``.
    """
    global _kept
    if _kept is not None:
        yield
        return
    stream, number = sys.stdout, None
    if process and stream is not None and _is_our_own(stream):
        stream.flush()
        number = os.dup(_OUTPUT)
        os.dup2(_ERROR, _OUTPUT)
    _kept = _Data(stream, number)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        _kept = None
        sys.stdout = stream
        if number is not None:
            os.dup2(number, _OUTPUT)
            os.close(number)


def _is_our_own(stream: TextIO) -> bool:
    try:
        return stream.fileno() == _OUTPUT
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def captured() -> Iterator[list[str]]:
    """What the block prints on standard output, from Python or C: one text, which is there once the block has ended."""
    import tempfile  # here: every call of evcap loads this module

    texts: list[str] = []
    stream = sys.stdout
    if stream is not None:
        stream.flush()
    number = os.dup(_OUTPUT)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), _OUTPUT)
        sys.stdout = open(_OUTPUT, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        try:
            yield texts
        finally:
            sys.stdout.flush()
            sys.stdout = stream
            os.dup2(number, _OUTPUT)
            os.close(number)
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))


def check_output() -> None:
    """See that there is a standard output to write data to.

    Raises:
        WriteError: it is closed.
    """
    if (sys.stdout if _kept is None else _kept.stream) is None:
        raise WriteError("standard output is closed", hint="leave it open, or write to a file")


def write_data(data: bytes) -> None:
    """Write ``data`` on standard output at once.

    Raises:
        WriteError: it is closed. OSError: it cannot take them.
    """
    check_output()
    if _kept is not None and _kept.number is not None:
        left = memoryview(data)
        while left:
            left = left[os.write(_kept.number, left) :]
        return
    stream = sys.stdout if _kept is None else _kept.stream
    if stream is not None:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()


def output_is_terminal() -> bool:
    """Whether people read standard output as it comes."""
    if _kept is not None and _kept.number is not None:
        return os.isatty(_kept.number)
    stream = sys.stdout if _kept is None else _kept.stream
    return stream is not None and stream.isatty()


def end_of_data() -> bool:
    """Nothing more is data: what is printed while the process ends goes to standard error.

    Returns:
        False where standard output could not take what was left.
    """
    taken = True
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        taken = False
        drop_output()
    with suppress(OSError):
        os.dup2(_ERROR, _OUTPUT)
    sys.stdout = sys.stderr
    return taken


def drop_output() -> None:
    """Let what is left for standard output go nowhere: nobody reads it any more."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        sys.stdout.flush()
