"""Small files that claim to be huge: what they say of themselves must not decide how much memory is taken."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.media.clips import make_clip

BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def many_samples(path: Path, count: int = 85_000_000) -> Path:
    """An MP4 whose index names ``count`` pictures of a byte each, all of them made of the same few thousand bytes."""
    plain = make_clip(path.with_suffix(".plain.mp4"), seconds=2, audio=False)
    data = plain.read_bytes()
    chunks = 4000
    tables = {
        b"stts": struct.pack(">III", 0, 1, count) + struct.pack(">I", 1),
        b"stsc": struct.pack(">IIIII", 0, 1, 1, -(-count // chunks), 1),
        b"stsz": struct.pack(">III", 0, 1, count),
        b"stco": struct.pack(">II", 0, chunks) + struct.pack(">I", 40) * chunks,
        b"stss": None,
        b"ctts": None,
        b"edts": None,
    }
    path.write_bytes(_rewritten(data, tables))
    return path


def _rewritten(data: bytes, tables: dict[bytes, bytes | None]) -> bytes:
    made, at = [], 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        content: bytes | None = data[at + 8 : at + size]
        if name in BOXES:
            content = _rewritten(data[at + 8 : at + size], tables)
        elif name in tables:
            content = tables[name]
        if content is not None:
            made.append(struct.pack(">I4s", 8 + len(content), name) + content)
        at += size
    return b"".join(made)


def huge_picture(path: Path, side: int = 16_000) -> Path:
    """A GIF of ``side`` x ``side`` pixels of one colour, a few hundred kilobytes."""
    from PIL import Image

    Image.new("P", (side, side)).save(path)
    return path


def long_claim(path: Path, seconds: int = 100_000_000) -> Path:
    """A Matroska file of a second whose last packet of sound claims to lie at ``seconds``."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        for second in (0, seconds):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            block.rate, block.time_base, block.pts = 8000, Fraction(1, 8000), second * 8000
            container.mux(sound.encode(block))
        container.mux(sound.encode())
    return path
