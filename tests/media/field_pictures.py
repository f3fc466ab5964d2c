"""Films coded in field pictures, written bit by bit: no encoder of FFmpeg makes them.

Notation: a frame is a pair of fields; each field is a picture of its own in the stream, of one grey level, intra only.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

FIELD_TICKS = 1800
"""Of a 90 kHz clock: fifty fields a second."""
Pair = tuple[bytes, bytes]


def _grey(number: int) -> int:
    return 16 + 4 * number


class _Bits:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.length = 0

    def fixed(self, count: int, value: int) -> _Bits:
        return self.put(f"{value:0{count}b}")

    def golomb(self, value: int) -> _Bits:
        return self.put("0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}")

    def put(self, bits: str) -> _Bits:
        self.text.append(bits)
        self.length += len(bits)
        return self

    def align(self) -> _Bits:
        return self.put("0" * (-self.length % 8))

    def data(self) -> bytes:
        self.align()
        bits = "".join(self.text)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")

    def unit(self, head: int) -> bytes:
        """A network unit with its start code; zeros are escaped."""
        out, zeros = bytearray(), 0
        for byte in self.put("1").data():
            if zeros >= 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = 0 if byte else zeros + 1
        return b"\0\0\0\1" + bytes([head]) + bytes(out)


def _h264_parameters() -> bytes:
    """128 x 96, fields allowed, 25 frames a second, output in decoding order."""
    sequence = _Bits().fixed(24, 77 << 16 | 30).golomb(0).golomb(0).golomb(2).golomb(1).fixed(1, 0)
    sequence.golomb(7).golomb(2).fixed(5, 0b00101).fixed(4, 0).fixed(1, 1)
    sequence.fixed(32, 1).fixed(32, 50).fixed(1, 1).fixed(2, 0).fixed(1, 1).fixed(1, 0)
    picture = _Bits().golomb(0).golomb(0).fixed(2, 0).golomb(0).golomb(0).golomb(0).fixed(3, 0)
    picture.golomb(0).golomb(0).golomb(0).fixed(3, 0)
    return sequence.unit(0x67) + picture.unit(0x68)


def _h264_picture(number: int, structure: int, *, key: bool, place: int) -> bytes:
    """One picture in raw macroblocks; structure 0: a frame, 1: a top field, 2: a bottom field."""
    second = structure == 2
    bits = _Bits().golomb(0).golomb(7).golomb(0).fixed(4, place)
    bits.fixed(1, structure > 0)
    if structure:
        bits.fixed(1, second)
    if key and not second:
        bits.golomb(0).fixed(2, 0)
    else:
        bits.fixed(1, 0)
    bits.golomb(0)
    for _ in range(8 * (6 if structure == 0 else 3)):
        bits.golomb(25).align()
        bits.put(f"{_grey(number):08b}" * 256 + "10000000" * 128)
    # a frame in which macroblock pairs are not used
    head = bits.unit(0x65 if key and not second else 0x61)
    return b"\0\0\0\1\x09\x10" + (_h264_parameters() if key and not second else b"") + head


def h264_pairs(count: int, key_every: int = 5) -> list[Pair]:
    """The fields of ``count`` frames."""
    return [
        (
            _h264_picture(n, 1, key=n % key_every == 0, place=n % key_every),
            _h264_picture(n, 2, key=False, place=n % key_every),
        )
        for n in range(count)
    ]


def h264_frame(number: int, key_every: int = 5) -> bytes:
    """A whole frame as one picture, in the same stream."""
    return _h264_picture(number, 0, key=number % key_every == 0, place=number % key_every)


def mpeg2_pairs(count: int) -> list[Pair]:
    """The fields of ``count`` frames of MPEG-2, 64 x 64, all intra, grey."""
    return [(_mpeg2_field(n, 1), _mpeg2_field(n, 2)) for n in range(count)]


def _mpeg2_field(number: int, structure: int) -> bytes:
    data = b""
    if structure == 1:
        sequence = _Bits().fixed(12, 64).fixed(12, 64).fixed(4, 1).fixed(4, 3).fixed(18, 5000).fixed(1, 1)
        sequence.fixed(10, 20).fixed(3, 0)
        extension = _Bits().fixed(4, 1).fixed(8, 0x48).fixed(1, 0).fixed(2, 1).fixed(4, 0).fixed(12, 0).fixed(1, 1)
        extension.fixed(8, 0).fixed(1, 0).fixed(7, 0)
        group = _Bits().fixed(25, 1 << 12).fixed(2, 2).fixed(5, 0)
        data = b"\0\0\1\xb3" + sequence.data() + b"\0\0\1\xb5" + extension.data() + b"\0\0\1\xb8" + group.data()
    picture = _Bits().fixed(10, 0).fixed(3, 1).fixed(16, 0xFFFF).fixed(1, 0)
    coding = _Bits().fixed(4, 8).fixed(16, 0xFFFF).fixed(2, 0).fixed(2, structure).fixed(10, 0).fixed(1, 0)
    coding.fixed(1, 0)
    data += b"\0\0\1\0" + picture.data() + b"\0\0\1\xb5" + coding.data()
    for row in range(2):
        bits = _Bits().fixed(5, 2).fixed(1, 0)
        for column in range(4):
            bits.put("1").put("1")  # the next macroblock, intra
            for block in range(6):
                step = _grey(number) - 128 if column == 0 and block == 0 else 0
                _dc(bits, step, chroma=block >= 4)
                bits.put("10")  # end of block
        data += b"\0\0\1" + bytes([row + 1]) + bits.data()
    return data


def _dc(bits: _Bits, step: int, *, chroma: bool) -> None:
    """A difference of DC coefficients (ISO 13818-2, tables B.12 and B.13)."""
    size = abs(step).bit_length()
    luma = ["100", "00", "01", "101", "110", "1110", "11110", "111110"]
    bits.put((["00"] if chroma else luma)[size])
    if size:
        bits.fixed(size, step if step > 0 else step + (1 << size) - 1)


def write_packets(path: Path, raw: Path, packets: Sequence[tuple[bytes, int]]) -> Path:
    """Packets with their times (90 kHz) into any container, as they are; ``raw`` is the elementary stream they are of.

    The container's own description is FFmpeg's, made of ``raw``.
    """
    with av.open(str(raw)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for data, when in packets:
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 90_000)
            packet.pts = packet.dts = when
            packet.is_keyframe = True
            out.mux(packet)
    return path
