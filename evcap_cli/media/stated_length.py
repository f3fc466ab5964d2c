"""How long a container says that it is, read from its header alone: for the order of the work, where a guess will do.

MP4 and its relatives (``mvhd``), Matroska and WebM (``Info``), AVI (``avih``). A few reads in this process, without
FFmpeg: nothing is decoded, and what a damaged or lying header says costs time at most. ``media_file.py`` finds the
length that counts.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO, Final

from evcap_cli.errors import EvcapError
from evcap_cli.reading.regular import open_regular

MOST_SECONDS: Final = 1e7
MOST_ELEMENTS: Final = 64
"""Boxes or elements that are looked at on one level: what says the length stands among the first."""
MOST_INFO_BYTES: Final = 1 << 16
_SEGMENT: Final = 0x18538067
_INFO: Final = 0x1549A966
_SCALE: Final = 0x2AD7B1
_DURATION: Final = 0x4489
_USUAL_SCALE: Final = 1_000_000
"""Nanoseconds of a tick, where a Matroska file does not say."""


def stated_seconds(path: Path) -> float | None:
    """The length that the header of a file states; None: it does not, or it is of another kind."""
    try:
        with open_regular(path) as file:
            start = file.read(12)
            if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
                seconds = _of_boxes(file)
            elif start[:4] == b"\x1a\x45\xdf\xa3":
                seconds = _of_elements(file)
            elif start[:4] == b"RIFF" and start[8:] == b"AVI ":
                seconds = _of_chunks(file)
            else:
                seconds = None
    except (OSError, EvcapError, struct.error, IndexError, OverflowError):
        return None
    return seconds if seconds is not None and 0 < seconds <= MOST_SECONDS else None


def _of_boxes(file: BinaryIO) -> float | None:
    """ISO/IEC 14496-12: ``moov`` among the boxes of the file, ``mvhd`` among its own."""
    at, end, inside = 0, math.inf, False
    for _ in range(2 * MOST_ELEMENTS):
        if at >= end:
            return None
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", file.read(8))[0], 16
        if kind == b"mvhd":
            return _of_movie_header(file.read(32))
        if kind == b"moov" and not inside:
            at, end, inside = at + head, at + size if size else math.inf, True
        elif size < head:  # to the end of the file, or damaged
            return None
        else:
            at += size
    return None


def _of_movie_header(data: bytes) -> float | None:
    if data[0] == 1:
        scale, ticks = struct.unpack_from(">IQ", data, 20)
        unknown = (1 << 64) - 1
    else:
        scale, ticks = struct.unpack_from(">II", data, 12)
        unknown = (1 << 32) - 1
    return ticks / scale if scale and ticks != unknown else None


def _of_elements(file: BinaryIO) -> float | None:
    """RFC 9559: ``Info`` in the ``Segment``."""
    file.seek(0)
    for _ in range(MOST_ELEMENTS):
        name, size = _number(file, keep_marker=True), _number(file)
        if name == _SEGMENT:
            continue
        if name == _INFO:
            return _of_info(file.read(min(size, MOST_INFO_BYTES)))
        file.seek(size, 1)
    return None


def _of_info(data: bytes) -> float | None:
    import io

    file, scale, ticks = io.BytesIO(data), _USUAL_SCALE, None
    while file.tell() < len(data) and ticks is None:
        name, size = _number(file, keep_marker=True), _number(file)
        value = file.read(size)
        if name == _SCALE:
            scale = int.from_bytes(value, "big")
        elif name == _DURATION:
            ticks = struct.unpack(">d" if size == 8 else ">f", value)[0]
    return None if ticks is None or not math.isfinite(ticks) else ticks * scale / 1e9


def _number(file: BinaryIO, *, keep_marker: bool = False) -> int:
    """A number whose first set bit says how many bytes it has; of names the bit belongs to it."""
    first = file.read(1)[0]
    length = 9 - first.bit_length()
    if length > 8:
        raise IndexError("no length")
    value = first if keep_marker else first & ((1 << (8 - length)) - 1)
    return int.from_bytes(bytes([value]) + file.read(length - 1), "big")


def _of_chunks(file: BinaryIO) -> float | None:
    """The main header of AVI: microseconds of a frame, and their number."""
    data = file.read(64)
    if data[:4] != b"LIST" or data[8:16] != b"hdrlavih":
        return None
    microseconds: int
    frames: int
    microseconds, frames = struct.unpack_from("<I12xI", data, 20)
    return microseconds * frames / 1e6
