"""One cache entry as bytes: a safetensors file whose header carries a checksum over everything else in it.

Bytes in, values out, or ``BadEntry``; ``cache.py`` says where entries lie and when they are used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy
import xxhash
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

CHECKSUM: Final = "checksum"
ABOUT: Final = "about"
HEADER_LENGTH_BYTES: Final = 8
"""safetensors: the length of the JSON header comes first, little endian."""


class BadEntry(Exception):
    """The bytes are not a whole, unchanged entry of this key."""


def checksum(about: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Digest of the values and arrays of an entry, hex."""
    digest = xxhash.xxh3_128(about.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def pack(key: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An entry: ``about`` are plain values kept next to the arrays."""
    text = json.dumps({**about, "key": key}, sort_keys=True)
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(safetensors.numpy.save(whole, metadata={ABOUT: text, CHECKSUM: checksum(text, whole)}))


def read_about(data: bytes) -> tuple[dict[str, Any], str, str]:
    """The plain values of an entry, their text, and the checksum it claims; nothing is verified yet.

    Raises:
        BadEntry: no such header.
    """
    try:
        length = int.from_bytes(data[:HEADER_LENGTH_BYTES], "little")
        header = json.loads(data[HEADER_LENGTH_BYTES : HEADER_LENGTH_BYTES + length])
        text, claimed = header["__metadata__"][ABOUT], header["__metadata__"][CHECKSUM]
        about = json.loads(text)
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise BadEntry(f"no readable header ({problem})") from problem
    if not isinstance(about, dict):
        raise BadEntry("no readable header")
    return about, text, claimed


def unpack(key: str, data: bytes) -> tuple[dict[str, Any], Arrays]:
    """The inverse of ``pack``.

    Raises:
        BadEntry: truncated, changed, or the entry of another key.
    """
    about, text, claimed = read_about(data)
    try:
        arrays: Arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as problem:
        raise BadEntry(f"not a whole safetensors file ({problem})") from problem
    if checksum(text, arrays) != claimed:
        raise BadEntry("the checksum does not match")
    if about.get("key") != key:
        raise BadEntry("belongs to another key")
    return about, arrays
