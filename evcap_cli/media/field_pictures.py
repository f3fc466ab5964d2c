"""Field pictures: H.264 and MPEG-2 may code the two fields of a frame as two packets, of which one frame is decoded.

``FieldPairs`` reads the few bits at the head of a packet that show it. A frame belongs to its first field; the second
one is no frame of its own, whatever time stamp it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

HEAD_BYTES: Final = 1024
"""Parameter sets and messages before the first slice are rarely longer; where they are, the whole packet is read."""
SLICE_BYTES: Final = 40
START_CODE: Final = b"\0\0\1"
SLICES: Final = (1, 2, 5)
PARAMETERS: Final = 7
WITH_CHROMA: Final = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""H.264 profiles whose parameter sets say more about colours."""


class FieldPairs:
    """For the packets of one stream, in order: which of them are second fields.

    Args:
        codec: FFmpeg's name. extradata: the stream's parameter sets.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._codec = codec
        self._length_bytes = 0
        self._parameters: dict[int, _Parameters] = {}
        self._possible = codec in ("h264", "mpeg2video")
        """Whether the stream may hold fields; H.264 without parameter sets ahead has them in its packets."""
        self._open: tuple[int, int] | None = None
        """(parity, number of its frame) of a first field whose second one may follow."""
        if codec == "h264" and extradata:
            if extradata[0] == 1 and len(extradata) > 6:
                self._length_bytes = (extradata[4] & 3) + 1
                self._learn(_listed_parameters(extradata))
            else:
                self._learn(unit for unit in _start_code_units(extradata) if unit[0] & 31 == PARAMETERS)

    def is_second(self, packet: Any) -> bool:
        """Whether ``packet`` completes the frame that the packet before it began."""
        if not self._possible:
            return False
        data = memoryview(packet)
        try:
            field = self._field(bytes(data[:HEAD_BYTES])) or (
                self._field(bytes(data)) if len(data) > HEAD_BYTES else None
            )
        except IndexError:
            field = None  # damaged: as good as a frame
        if field is None or field[0] == 0:
            self._open = None
            return False
        if self._open is not None and self._open == (-field[0], field[1]):
            self._open = None
            return True
        self._open = field
        return False

    def _field(self, data: bytes) -> tuple[int, int] | None:
        """(-1 top field, 1 bottom field, 0 frame; number of the frame) of the first picture; None: there is none."""
        return _mpeg2_field(data) if self._codec == "mpeg2video" else self._h264_field(data)

    def _h264_field(self, data: bytes) -> tuple[int, int] | None:
        units = _sized_units(data, self._length_bytes) if self._length_bytes else _start_code_units(data)
        for unit in units:
            kind = unit[0] & 31
            if kind == PARAMETERS:
                self._learn([unit])
            elif kind in SLICES:
                return self._slice(unit)
        return None

    def _slice(self, unit: bytes) -> tuple[int, int]:
        # streams with several sets whose sizes differ do not occur where fields do: the first set serves all pictures
        parameters = next(iter(self._parameters.values()), None)
        if parameters is None or not parameters.fields:
            return 0, 0
        bits = _Bits(unit[1:SLICE_BYTES])
        for _ in range(3):  # first macroblock, kind, picture parameter set
            bits.golomb()
        bits.take(2 * parameters.planes)
        number = bits.take(parameters.number_bits)
        return ((1 if bits.take(1) else -1) if bits.take(1) else 0), number

    def _learn(self, units: Iterator[bytes] | list[bytes]) -> None:
        for unit in units:
            try:
                number, parameters = _parameters(unit)
            except IndexError:
                continue
            self._parameters[number] = parameters
        self._possible = not self._parameters or any(known.fields for known in self._parameters.values())


class _Parameters:
    """What a sequence parameter set says that slice headers depend on."""

    def __init__(self, *, fields: bool, number_bits: int, planes: bool) -> None:
        self.fields, self.number_bits, self.planes = fields, number_bits, planes


class _Bits:
    """Reads a unit's payload bit by bit.

    Raises:
        IndexError: by every method, at the end.
    """

    def __init__(self, unit: bytes) -> None:
        payload = unit.replace(b"\0\0\3", b"\0\0")
        self._length = 8 * len(payload)
        self._value = int.from_bytes(payload, "big")
        self._at = 0

    def take(self, count: int) -> int:
        """An unsigned number of ``count`` bits."""
        self._at += count
        if self._at > self._length:
            raise IndexError("a unit that ends early")
        return self._value >> (self._length - self._at) & ((1 << count) - 1)

    def golomb(self) -> int:
        """An unsigned Exp-Golomb number."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """A signed Exp-Golomb number."""
        number = self.golomb()
        return (number + 1) // 2 if number % 2 else -(number // 2)


def _parameters(unit: bytes) -> tuple[int, _Parameters]:
    """Number and content of a sequence parameter set (H.264 7.3.2.1.1)."""
    bits = _Bits(unit[1:])
    profile = bits.take(8)
    bits.take(16)
    number = bits.golomb()
    planes = False
    if profile in WITH_CHROMA:
        chroma = bits.golomb()
        planes = chroma == 3 and bool(bits.take(1))
        bits.golomb()
        bits.golomb()
        bits.take(1)
        if bits.take(1):
            for place in range(8 if chroma != 3 else 12):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if place < 6 else 64)
    number_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        for _ in range(bits.golomb()):
            bits.signed()
    bits.golomb()
    bits.take(1)
    bits.golomb()
    bits.golomb()
    return number, _Parameters(fields=not bits.take(1), number_bits=number_bits, planes=planes)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _listed_parameters(extradata: bytes) -> list[bytes]:
    """The sequence parameter sets of an MP4's or a Matroska file's ``avcC``."""
    at, units = 6, []
    for _ in range(extradata[5] & 31):
        size = int.from_bytes(extradata[at : at + 2], "big")
        units.append(extradata[at + 2 : at + 2 + size])
        at += 2 + size
    return [unit for unit in units if unit]


def _sized_units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at + length_bytes < len(data):
        size = int.from_bytes(data[at : at + length_bytes], "big")
        at += length_bytes
        if size:
            yield data[at : at + size]
        at += size


def _start_code_units(data: bytes) -> Iterator[bytes]:
    at = data.find(START_CODE)
    while at >= 0 and at + 3 < len(data):
        following = data.find(START_CODE, at + 3)
        yield data[at + 3 : following if following >= 0 else len(data)]
        at = following


def _mpeg2_field(data: bytes) -> tuple[int, int] | None:
    """See ``FieldPairs._field``; packets that hold both fields all begin with the same one, so none is a second one."""
    picture = data.find(b"\0\0\1\0")
    if picture < 0:
        return None
    number = data[picture + 4] << 2 | data[picture + 5] >> 6
    extension = data.find(b"\0\0\1\xb5", picture)
    while extension >= 0 and data[extension + 4] >> 4 != 8:
        extension = data.find(b"\0\0\1\xb5", extension + 4)
    if extension < 0:
        return 0, number
    structure = data[extension + 6] & 3
    return {1: -1, 2: 1}.get(structure, 0), number
