"""Decimal numbers in bytes to float32, a hundred thousand at a time: word vectors are a gigabyte of "-0.12345".

``float`` takes some hundred nanoseconds a number, which is a minute for 400,000 vectors of 300. Nearly all numbers in
such files have one digit before the point and at most eight behind it; those are read together, eight bytes at once,
and come out as ``float`` gives them: the digits make a whole number below 2^53, which is exact, and so is 10^8, so that
their quotient is rounded once. All others (exponents, longer numbers) go to ``float`` itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_U: Final = np.uint64
_PAD: Final = b" " * 17
"""Behind the last number: the end of it, and room for the eight bytes that are read from each place."""
_KEEP: Final = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=_U)
"""Masks that keep the first 0 to 8 bytes of a little-endian word."""
_ASCII_ZEROS: Final = _U(0x3030303030303030)
_HIGH_BITS: Final = _U(0x8080808080808080)
_ABOVE_NINE: Final = _U(0x7676767676767676)
_SCALE: Final = 10**8


def parse_rows(rows: Sequence[bytes], width: int) -> npt.NDArray[np.float32]:
    """Numbers of rows of text, (len(rows), width) float32.

    Args:
        rows: each ``width`` decimal numbers with one space between two, none at the ends.
        width: numbers a row.

    Raises:
        ValueError: something that is not a finite number, or another count of them.
    """
    if not rows:
        return np.zeros((0, width), dtype=np.float32)
    text = b" ".join(rows) + _PAD
    body = np.frombuffer(text, dtype=np.uint8, count=len(text) - len(_PAD) + 1)
    ends = np.flatnonzero(body == ord(" "))
    if len(ends) != len(rows) * width:
        raise ValueError(f"{len(ends)} numbers where {len(rows) * width} are expected")
    starts = np.concatenate([[0], ends[:-1] + 1])
    # a view with overlap: element i is the eight bytes from i on
    eights = np.ndarray((len(text) - 7,), dtype=np.dtype("<u8"), buffer=text, strides=(1,))
    negative = body[starts] == ord("-")
    first = starts + negative
    head, behind = eights[first], eights[first + 2]
    count = ends - first - 2
    digits = (behind ^ _ASCII_ZEROS) & _KEEP[np.clip(count, 0, 8)]
    lead = (head & _U(0xFF)) - _U(ord("0"))
    usual = (
        (count >= 0)
        & (count <= 8)
        & (lead < _U(10))
        & ((head >> _U(8)) & _U(0xFF) == _U(ord(".")))
        & (((digits + _ABOVE_NINE) | digits) & _HIGH_BITS == _U(0))
    )
    values = (_eight_digits(digits) + lead * _U(_SCALE)).astype(np.float64) / _SCALE
    np.negative(values, out=values, where=negative)
    for place in np.flatnonzero(~usual).tolist():
        number = float(text[starts[place] : ends[place]].decode("utf-8", "replace"))
        if not math.isfinite(number):
            raise ValueError(f"{number} among the numbers")
        values[place] = number
    table: npt.NDArray[np.float32] = values.astype(np.float32).reshape(len(rows), width)
    return table


def _eight_digits(digits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The whole number that eight bytes of 0 to 9 spell, the lowest byte its first digit.

    Neighbours are joined to pairs, and the pairs, weighted by powers of a hundred, meet in the upper half of a product.
    """
    pairs = digits * _U(10) + (digits >> _U(8))
    even = _U(0x000000FF000000FF)
    high = (pairs & even) * _U(1_000_000 << 32 | 100)
    low = ((pairs >> _U(16)) & even) * _U(10_000 << 32 | 1)
    return (high + low) >> _U(32)
