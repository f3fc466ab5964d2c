"""Memory without a name that parent and decoding process share, found where there is room for it.

Linux gives such memory without any folder. Elsewhere, and where that is forbidden, it is an unlinked file: in /dev/shm,
which may be small and is shared by all processes of a machine or container, else in the temporary folder. Short room
means fewer slots, then another place, then waiting: it is nobody's fault, least of all that of the video at hand.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, TypeVar

RING_BYTES: Final = 256 << 20
"""A ring is not larger, whatever the size of the frames, if it has its fewest slots."""
FEWEST_SLOTS: Final = 2
"""One frame that is read while the next is written."""
WAIT_SECONDS: Final = 0.25

Made = TypeVar("Made")
Place = Callable[[int], IO[bytes]]
"""Makes an open file without a name whose bytes exist: no later access can fail for lack of room."""


def in_memory(size: int) -> IO[bytes]:
    """A file of ``size`` bytes that lies in no folder."""
    return _filled(os.fdopen(os.memfd_create("evcap"), "w+b"), size)


def in_folder(folder: Path) -> Place:
    """Files without a name in ``folder``."""

    def place(size: int) -> IO[bytes]:
        status = os.statvfs(folder)
        # looked at first: room that is taken and given back would be missing to another process in between
        if status.f_bavail * status.f_frsize < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        # closed by whoever asked for it
        return _filled(tempfile.TemporaryFile(dir=folder), size)

    return place


def places() -> Iterator[Place]:
    """All places of this machine, the best first."""
    if hasattr(os, "memfd_create"):
        yield in_memory
    shared = Path("/dev/shm")  # noqa: S108 (files there have no name)
    if shared.is_dir() and os.access(shared, os.W_OK):
        yield in_folder(shared)
    yield in_folder(Path(tempfile.gettempdir()))


def reserve(
    slot_bytes: int,
    slots: int,
    patience: float,
    gone: Callable[[], bool] = lambda: False,
    where: Sequence[Place] | None = None,
) -> tuple[IO[bytes], int]:
    """An open file with room for slots of ``slot_bytes``, and how many: ``slots``, or fewer where room is short.

    Args:
        slot_bytes: of a frame.
        slots: as many as there should be.
        patience: seconds to wait for room.
        gone: whether nobody waits for it any more.
        where: the places to try; None: those of this machine.

    Raises:
        OSError: there was no room all that time.
    """
    most = max(min(slots, RING_BYTES // max(slot_bytes, 1)), min(slots, FEWEST_SLOTS))
    return patiently(
        lambda: _reserve_now(slot_bytes, most, tuple(places()) if where is None else where), patience, gone
    )


def _reserve_now(slot_bytes: int, most: int, where: Sequence[Place]) -> tuple[IO[bytes], int]:
    problem = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for place in where:
        slots = most
        while True:
            try:
                return place(slot_bytes * slots), slots
            except OSError as short:
                problem = short
            if slots <= FEWEST_SLOTS:
                break
            slots = max(slots // 2, FEWEST_SLOTS)
    raise problem


SHORT: Final = frozenset({errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EDQUOT})
"""What a machine lacks for the moment: room, memory, open files, processes."""


def patiently(make: Callable[[], Made], patience: float, gone: Callable[[], bool] = lambda: False) -> Made:
    """What ``make`` returns; while it fails for something that the machine is short of, it is called again.

    Raises:
        OSError: of the last try.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return make()
        except OSError as problem:
            if problem.errno not in SHORT or gone() or time.monotonic() > deadline:
                raise
        time.sleep(WAIT_SECONDS)


def _filled(file: IO[bytes], size: int) -> IO[bytes]:
    try:
        if size:
            # written, not only sized: what has no room must fail here and not as a bus error later
            os.posix_fallocate(file.fileno(), 0, size)
    except BaseException:
        file.close()
        raise
    return file
