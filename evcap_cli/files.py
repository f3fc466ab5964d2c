"""Writing files whole or not at all: a unique temporary neighbour, flushed to disk, then renamed over the target.

This module makes all temporary names of the program, and removes files that a killed process left under one. A process
holds a lock on its temporary files, which the system drops when the process ends, however it ends: a file whose lock
is free belongs to nobody. Process numbers say nothing: they are used again, and each container counts its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

from evcap_cli import interrupts
from evcap_cli.errors import NameTooLong, WriteError, reason_of
from evcap_cli.paths import check_output_name, is_folder, shown

if sys.platform != "win32":
    import fcntl

NEXT_STEP = "free space or check permissions and run the same command again: finished videos are kept"
TEMPORARY_NAME: Final = re.compile(r"\..+\.\d+-([0-9a-f]{8})[0-9a-f]{8}\.tmp")
"""Process, machine, random number."""
WRITE_BYTES: Final = 1 << 17
"""Of a file that grows piece by piece, as many at a time."""
STALE_SECONDS: Final = 86400.0
"""Another machine's lock cannot be seen on every shared disk: its files are left alone until they are this old."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content`` in one step; text is UTF-8 with LF line ends, whatever is not UTF-8 escaped.

    Raises:
        WriteError: no permission, a full disk, a folder in the way; the old file, if any, is untouched.
    """
    write_pieces(path, [content])


def write_pieces(path: Path, pieces: Iterable[str | bytes]) -> None:
    """``write_whole`` for content that comes piece by piece; where making it fails, the old file is untouched as well.

    Raises:
        WriteError: as ``write_whole``; and whatever ``pieces`` raises.
    """
    file = PieceFile(path)
    try:
        for piece in pieces:
            file.write(piece)
        file.commit()
    finally:
        file.discard()


class PieceFile:
    """A file that is written piece by piece and replaces ``path`` in one step; see ``write_whole``.

    Raises:
        WriteError: it cannot be written; so do ``write`` and ``commit``. The old file, if any, is untouched.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = WholeFile(path)
        try:
            self._opened = self._file.temporary.open("r+b", buffering=WRITE_BYTES)
        except OSError as problem:
            self._file.discard()
            raise write_error(path, problem) from problem

    def write(self, piece: str | bytes) -> None:
        """Add a piece."""
        try:
            self._opened.write(piece.encode("utf-8", "backslashreplace") if isinstance(piece, str) else piece)
        except OSError as problem:
            raise write_error(self.path, problem) from problem

    def commit(self) -> None:
        """The file is whole."""
        try:
            self._opened.close()
        except OSError as problem:
            raise write_error(self.path, problem) from problem
        self._file.commit()

    def discard(self) -> None:
        """Remove what was not committed; safe to call after ``commit``."""
        with contextlib.suppress(OSError):
            self._opened.close()
        self._file.discard()


class WholeFile:
    """A file that grows under a name of its own, ``temporary``, and then replaces ``path`` in one step.

    For what is written piece by piece, by whatever library. The temporary file is there, empty, from the beginning;
    a library must write into it and not put another in its place.

    Raises:
        WriteError: the folder or the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep_once(path.parent)
            self.temporary, self._descriptor = _begin(path)
        except OSError as problem:
            raise write_error(path, problem) from problem

    def commit(self, *, flush: bool = True) -> None:
        """Flush what was written to disk, where ``flush`` is true, and rename it over ``path``.

        Raises:
            WriteError: it cannot; the old file, if any, is untouched.
        """
        try:
            if flush:
                os.fsync(self._descriptor)
            if sys.platform == "win32":
                self._release()  # an open file has a fixed name there
            self.temporary.replace(self.path)
        except OSError as problem:
            raise write_error(self.path, problem) from problem
        self._release()

    def discard(self) -> None:
        """Remove what was not committed; safe to call after ``commit``."""
        if self._descriptor >= 0:
            self._release()
            with contextlib.suppress(OSError):
                self.temporary.unlink()

    def _release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder in the system's place for temporary files, removed at the end, or by a later run after a kill.

    Raises:
        WriteError: it cannot be made.
    """
    place = Path(tempfile.gettempdir())
    folder = place / _name("evcap")
    try:
        _sweep_once(place)
        folder.mkdir(0o700)
        descriptor = os.open(folder, os.O_RDONLY) if sys.platform != "win32" else -1
    except OSError as problem:
        raise write_error(folder, problem) from problem
    try:
        if descriptor >= 0:
            take_lock(descriptor)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def _begin(path: Path) -> tuple[Path, int]:
    """A new empty temporary file for ``path`` and a descriptor of it that holds its lock."""
    while True:
        temporary = path.with_name(_name(path.name))
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        # between these two lines another process may have removed it as abandoned
        if take_lock(descriptor) is not False and _is_at(descriptor, temporary):
            return temporary, descriptor
        os.close(descriptor)


def _name(name: str) -> str:
    """A name that nobody else uses; short enough for a file system even in four-byte letters."""
    return f".{name[:40]}.{os.getpid()}-{_machine()}{secrets.token_hex(4)}.tmp"


@cache
def _machine() -> str:
    """Eight digits for the running system, the same in all of its containers and others after a restart."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    except (OSError, ValueError):
        import platform

        text = platform.node()
    return f"{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


def take_lock(descriptor: int, *, shared: bool = False) -> bool | None:
    """Take the lock of an open file at once, or, of those who share it, wait for the one who does not.

    Returns:
        False where another has it, None where the file system has no locks.
    """
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def release_lock(descriptor: int) -> None:
    """Give back what ``take_lock`` took; closing the file does so too."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


_swept: set[tuple[int, str]] = set()
"""Folders that were swept, each with the number of the command that did."""


def _sweep_once(folder: Path) -> None:
    """``sweep``, once a command: a folder may hold a hundred thousand files."""
    key = (interrupts.commands_begun(), os.path.realpath(folder))
    if key not in _swept:
        _swept.add(key)
        sweep(folder)


def sweep(folder: Path) -> int:
    """Remove the temporary files in ``folder`` whose processes are gone; returns how many bytes they had."""
    freed = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            named = TEMPORARY_NAME.fullmatch(entry.name)
            if named:
                with contextlib.suppress(OSError):
                    freed += _remove_abandoned(Path(entry.path), here=named[1] == _machine())
    return freed


def _remove_abandoned(path: Path, *, here: bool) -> int:
    """Remove ``path`` unless its writer lives, and return its size.

    Args:
        path: of a temporary file or folder.
        here: it was made on this machine, whose locks are seen.
    """
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        return 0  # not of our making
    folder = path.is_dir()
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        lock, status = take_lock(descriptor), os.fstat(descriptor)
        known = here and lock is True
        if lock is False or not (known or time.time() - status.st_mtime > STALE_SECONDS):
            return 0
        if folder:
            shutil.rmtree(path, ignore_errors=True)
            return 0
        path.unlink()
        return status.st_size
    finally:
        os.close(descriptor)


def write_error(path: Path, problem: OSError) -> WriteError:
    """The line a user sees for an operating system error while writing ``path``."""
    if problem.errno == errno.ENAMETOOLONG:
        return NameTooLong("this name is too long for a file", path=shown(str(path)), hint="choose another name")
    return WriteError(f"cannot write ({cause_of(problem)})", path=path, hint=NEXT_STEP)


def cause_of(problem: OSError | WriteError) -> str:
    """What the operating system said when something could not be written, for a line of its own."""
    if isinstance(problem, WriteError):
        said = problem.__cause__
        return reason_of(said) if isinstance(said, OSError) else problem.cause
    return reason_of(problem)


def check_writable(path: Path) -> None:
    """Find out before any work whether ``path`` can be written, by making its folder and a temporary file there.

    Raises:
        WriteError: it cannot. UsageError: no file can have this name.
    """
    check_output_name(path)
    if is_folder(path):
        raise WriteError("is a folder, not a file", path=path, hint="end the name with / to mirror into a folder")
    WholeFile(path).discard()
