"""How much memory the decoding process may take: what a file claims must not decide it.

Linux limits the data of a process (heap, anonymous mappings and stacks; neither code nor files).
Elsewhere only claims that are known to be dear are refused.
"""

from __future__ import annotations

import resource
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.errors import OutOfMemory
from evcap_cli.freed_memory import keep_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from av.stream import Stream

DEFAULT_BYTES: Final = 3 << 30
"""Enough for sixteen pictures of 8K in ten bits that codecs keep, and what turns them into RGB."""
NEAR_SHARE: Final = 3
"""A file that took a third of the limit and then failed had an allocation refused, most likely."""
OPENING_SHARE: Final = 8
OPENING_TIMES: Final = 4
"""Opening a file may take an eighth of it all, and so many times its size: its index is made of what it holds."""
PICTURE_BYTES: Final = 80
"""A pixel's share of all that decoding may keep: sixteen references in ten bits, the picture itself, RGB of it."""
LARGE_BYTES: Final = 1 << 20
MOST_KEPT_BYTES: Final = 32 << 20
INDEX_BYTES: Final = 24
"""FFmpeg's entry of a sample."""


class Allowance:
    """The limits of this process, on top of what it takes when it has loaded its packages.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.base = _bytes_of("VmData")
        self.path, self.opening, self.allowed, self.before = "", most, most, 0

    def begin(self, path: str) -> None:
        """Limit what opening ``path`` may take."""
        _keep_blocks_apart(True)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak is measured from here on
        self.before = _bytes_of("VmHWM")
        size = 0
        with suppress(OSError):
            size = Path(path).stat().st_size
        self.path, self.opening = path, min(self.most, self.most // OPENING_SHARE + OPENING_TIMES * size)
        self._limit(self.opening)

    def exhausted(self) -> bool:
        """Whether the file came near the limit: FFmpeg calls what it had no memory for damaged or empty."""
        return _bytes_of("VmHWM") - self.before > self.allowed // NEAR_SHARE

    def opened(self, streams: Sequence[Stream]) -> None:
        """See whether the index of a stream was left out for lack of memory, of which FFmpeg says nothing.

        Raises:
            OutOfMemory.
        """
        for stream in streams:
            # only the MP4 family makes its index of what its head says
            named = stream.frames if "mp4" in stream.container.format.name else 0
            if named * INDEX_BYTES > self.opening // 4 and not len(stream.index_entries):
                raise out_of_memory(self.path, self.most, f"its index names {named} samples")

    def decoding(self, width: int, height: int) -> None:
        """Limit what decoding pictures of this size may take.

        Raises:
            OutOfMemory: it would surely take more.
        """
        if width * height * PICTURE_BYTES > self.most:
            raise out_of_memory(self.path, self.most, f"its pictures have {width} x {height} pixels")
        self._limit(self.most)
        _keep_blocks_apart(False)

    @contextmanager
    def second_opening(self) -> Iterator[None]:
        """While the same file is opened once more."""
        _keep_blocks_apart(True)
        try:
            yield
        finally:
            _keep_blocks_apart(False)

    def _limit(self, allowed: int) -> None:
        self.allowed = allowed
        if not self.base:
            return
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = self.base + allowed
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def out_of_memory(path: str, most: int, why: str = "") -> OutOfMemory:
    """What to say where a file needs more than ``most`` bytes."""
    cause = f"needs more than {most / 2**30:.3g} GB to be decoded"
    return OutOfMemory(f"{cause}: {why}" if why else cause, path=path, hint="raise --decoder-memory, or re-encode it")


def _keep_blocks_apart(apart: bool) -> None:
    """Whether the C library gives every large block back to the system at once.

    An index grows by being copied, and what it left would stay with us: a third of all memory for a film of two hours.
    Pictures come and go by the thousand: they are better kept.
    """
    keep_blocks(LARGE_BYTES if apart else MOST_KEPT_BYTES)


def _bytes_of(name: str) -> int:
    """A line of what Linux says of this process; 0 where the system does not say."""
    if not sys.platform.startswith("linux"):
        return 0
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) * 1024
    return 0
