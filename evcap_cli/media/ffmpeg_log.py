"""FFmpeg's log, counted: a damaged picture is patched up without an error, and only the log mentions it.

Runs inside the decoding process, whose standard error is a file without a name (``decoder_process.py`` makes it).
FFmpeg writes there itself: its log never enters Python, where threads that log can lock each other out.
"""

from __future__ import annotations

import os
from typing import Final

import av

STDERR: Final = 2
MOST_BYTES: Final = 1 << 20
"""The log of a very damaged file is counted and forgotten in pieces of this size."""
HARMLESS: Final = (
    # references that lie before the key frame a pass began at: the requested frames do not need them
    b"co located POCs unavailable",
    b"mmco: unref short failure",
    b"reference picture missing during reorder",
    b"Missing reference picture, default is",
    b"Could not find ref with POC",
    # the scaler on formats whose name implies full range
    b"deprecated pixel format used",
)


_listening = False
_counted = 0


def listen() -> None:
    """Let FFmpeg write its errors to standard error; the process must own that file."""
    global _listening
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.ERROR)
    _listening = True


def count() -> int:
    """Lines about damage since the last ``take``."""
    drain(0)
    return _counted


def take() -> int:
    """Lines about damage since the last call."""
    global _counted
    found, _counted = count(), 0
    return found


def drain(most: int = MOST_BYTES) -> None:
    """Count and delete what was written, where it is more than ``most`` bytes."""
    global _counted
    if not _listening:
        return
    size = os.fstat(STDERR).st_size
    if size <= most:
        return
    lines = os.pread(STDERR, size, 0).splitlines()
    _counted += sum(1 for line in lines if line.strip() and not any(word in line for word in HARMLESS))
    os.ftruncate(STDERR, 0)
