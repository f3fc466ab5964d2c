"""Opening what must be a regular file: a pipe, a device, a socket or a folder is refused and never waited for.

Lists of names and JSON lines may be pipes; ``text.py`` reads those.
"""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.errors import DataError

if TYPE_CHECKING:
    from evcap_cli.errors import EvcapError

    Failure = type[EvcapError]

_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
_WITHOUT_WAITING: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(
    path: str | os.PathLike[str], *, error: Failure = DataError, hint: str | None = None
) -> BufferedReader:
    """A regular file, open for reading.

    Args:
        path: of it; links are followed.
        error: what to raise where it is something else.
        hint: the next step.

    Raises:
        OSError: it is not there or may not be read.
        EvcapError: of the kind ``error``; it is no regular file.
    """
    check_regular(path, error=error, hint=hint)  # first: opening a device may do something
    number = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
    try:
        what = _special(os.fstat(number).st_mode)
        if what is not None:
            raise _refused(what, path, error, hint)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def check_regular(path: str | os.PathLike[str], *, error: Failure = DataError, hint: str | None = None) -> None:
    """See that a library which opens files itself may open this one; see ``open_regular``.

    Raises:
        OSError: it is not there.
        EvcapError: of the kind ``error``; it is no regular file.
    """
    what = _special(os.stat(path).st_mode)  # noqa: PTH116  any kind of path
    if what is not None:
        raise _refused(what, path, error, hint)


def read_regular(
    path: str | os.PathLike[str], most: int | None = None, *, error: Failure = DataError, hint: str | None = None
) -> bytes:
    """All bytes of a regular file, of which there may be at most ``most``; see ``open_regular``.

    Raises:
        OSError: it is not there or may not be read.
        EvcapError: of the kind ``error``; it is no regular file, or too large.
    """
    with open_regular(path, error=error, hint=hint) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise error(f"is larger than {most >> 20} MiB", path=path, hint=hint)
        return file.read()


def _special(mode: int) -> str | None:
    """What it is, unless a regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((what for is_kind, what in _KINDS if is_kind(mode)), "something else")


def _refused(what: str, path: str | os.PathLike[str], error: Failure, hint: str | None) -> EvcapError:
    return error(f"is {what}, not a file", path=Path(path), hint=hint or "name a file on a disk")
