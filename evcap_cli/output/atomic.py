"""Writing files whole or not at all: a unique temporary neighbour, flushed to disk, then renamed over the target."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from evcap_cli.errors import NameTooLong, WriteError
from evcap_cli.inputs import check_output_name
from evcap_cli.paths import shown

NEXT_STEP = "free space or check permissions and run the same command again: finished videos are kept"


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content`` in one step; text is UTF-8 with LF line ends, whatever is not UTF-8 escaped.

    Raises:
        WriteError: no permission, a full disk, a folder in the way; the old file, if any, is untouched.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    file = WholeFile(path)
    try:
        with file.temporary.open("xb") as opened:
            opened.write(data)
        file.commit()
    except OSError as problem:
        raise write_error(path, problem) from problem
    finally:
        file.discard()


class WholeFile:
    """A file that grows under a name of its own, ``temporary``, and then replaces ``path`` in one step.

    For what is written piece by piece, by whatever library.

    Raises:
        WriteError: the folder cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.temporary = path, _neighbour(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise write_error(path, problem) from problem

    def commit(self) -> None:
        """Flush what was written to disk and rename it over ``path``.

        Raises:
            WriteError: it cannot; the old file, if any, is untouched.
        """
        try:
            with self.temporary.open("rb+") as file:
                os.fsync(file.fileno())
            self.temporary.replace(self.path)
        except OSError as problem:
            raise write_error(self.path, problem) from problem

    def discard(self) -> None:
        """Remove what was not committed."""
        with contextlib.suppress(OSError):
            self.temporary.unlink()


def _neighbour(path: Path) -> Path:
    """A name that nobody else uses; short enough for a file system even in four-byte letters."""
    return path.with_name(f".{path.name[:40]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def write_error(path: Path, problem: OSError) -> WriteError:
    """The line a user sees for an operating system error while writing ``path``."""
    if problem.errno == errno.ENAMETOOLONG:
        return NameTooLong("this name is too long for a file", path=shown(str(path)), hint="choose another name")
    return WriteError(f"cannot write ({problem.strerror or problem})", path=path, hint=NEXT_STEP)


def check_writable(path: Path) -> None:
    """Find out before any work whether ``path`` can be written, by making its folder and a temporary file there.

    Raises:
        WriteError: it cannot. UsageError: no file can have this name.
    """
    check_output_name(path)
    if path.is_dir():
        raise WriteError("is a folder, not a file", path=path, hint="end the name with / to mirror into a folder")
    probe = _neighbour(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as problem:
        raise write_error(path, problem) from problem
