"""Files that no decoder makes pictures of, and what they are in words: encrypted ones, animated WebP, archives.

``error_of`` is called where a file does not open or decode; ``protected`` before anything is decoded, for the kinds of
encryption that leave something that decodes: noise would be captioned.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from evcap_cli.errors import OpenFailed

if TYPE_CHECKING:
    from av.container import InputContainer

HEAD_BYTES: Final = 1 << 21
"""So much of a file is read."""
TEXT_ART: Final = frozenset({"ansi", "bintext", "xbin", "idf"})
"""Codecs with which FFmpeg draws text files, chosen by their suffix."""
MOST_BOXES: Final = 10_000
NULL_PACKET: Final = 0x1FFF


class UndecodableKind(NamedTuple):
    """What a file is, and what its owner can do about it."""

    words: str
    hint: str

    def error(self, path: str) -> OpenFailed:
        """The error of a file of this kind."""
        return OpenFailed(self.words, path=path, hint=self.hint)


ENCRYPTED: Final = UndecodableKind("is encrypted (copy protection)", "only a copy without protection can be captioned")
ANIMATED_WEBP: Final = UndecodableKind("is an animated WebP, which cannot be decoded", "convert it to MP4 or GIF")
_UNPACK: Final = "unpack it and name the videos in it"
_DECRYPT: Final = "decrypt it first"
_BEGINNINGS: Final = (
    (b"Salted__", UndecodableKind("is encrypted (OpenSSL)", _DECRYPT)),
    (b"age-encryption.org/", UndecodableKind("is encrypted (age)", _DECRYPT)),
    (b"-----BEGIN PGP MESSAGE", UndecodableKind("is encrypted (PGP)", _DECRYPT)),
    (b"LUKS\xba\xbe", UndecodableKind("is encrypted (LUKS)", _DECRYPT)),
    (b"PK\x03\x04", UndecodableKind("is an archive (ZIP)", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", UndecodableKind("is an archive (7z)", _UNPACK)),
    (b"Rar!\x1a\x07", UndecodableKind("is an archive (RAR)", _UNPACK)),
    (b"\x1f\x8b", UndecodableKind("is an archive (gzip)", _UNPACK)),
    (b"\xfd7zXZ\x00", UndecodableKind("is an archive (xz)", _UNPACK)),
    (b"%PDF-", UndecodableKind("is a PDF", "name a video")),
)
_ASF: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_ENCRYPTION: Final = tuple(
    bytes.fromhex(identity)
    for identity in (
        "fbb31122 23bd d211 b4b7 00a0c955fc6e",  # content encryption
        "14e68a29 2226 174c b935 dae07ee9289c",  # extended
        "33850543 8169 e649 9b74 ad12cb86d58c",  # advanced
    )
)
_ENCRYPTED_ENTRIES: Final = frozenset({b"encv", b"enca", b"drmi", b"drms"})
_BOXES_AROUND_ENTRIES: Final = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


def error_of(path: str) -> OpenFailed | None:
    """The error of a file that does not decode and whose kind is known."""
    kind = recognised(path)
    return None if kind is None else kind.error(path)


def recognised(path: str) -> UndecodableKind | None:
    """What a file is that does not decode; None where that is not known."""
    with suppress(OSError), open(path, "rb") as file:  # noqa: PTH123 (a path of any encoding)
        head = file.read(HEAD_BYTES)
        for beginning, kind in _BEGINNINGS:
            if head.startswith(beginning):
                return kind
        if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and head[20] & 2:
            return ANIMATED_WEBP
        if _asf_is_encrypted(head) or _transport_is_scrambled(head) or _program_is_scrambled(head):
            return ENCRYPTED
        if _ENCRYPTED_ENTRIES.intersection(_sample_entries(file)):
            return ENCRYPTED
    return None


def protected(container: InputContainer, path: str) -> bool:
    """Whether the file says that it is encrypted, where what it holds might decode to noise."""
    if any("enc_key_id" in stream.metadata for stream in container.streams):
        return True  # Matroska and WebM
    if container.format.name not in ("asf", "mpeg"):
        return False
    with suppress(OSError), open(path, "rb") as file:  # noqa: PTH123 (a path of any encoding)
        head = file.read(HEAD_BYTES)
        return _asf_is_encrypted(head) or _program_is_scrambled(head)
    return False


def _asf_is_encrypted(head: bytes) -> bool:
    if head[:16] != _ASF:
        return False
    header = head[: int.from_bytes(head[16:24], "little")]
    return any(identity in header for identity in _ASF_ENCRYPTION)


def _transport_is_scrambled(head: bytes) -> bool:
    """Most of the packets of an MPEG transport stream carry the bits of scrambling; 192 bytes apart on Blu-ray."""
    for apart, first in ((188, 0), (192, 4)):
        packets = [head[at : at + 4] for at in range(first, len(head) - 3, apart)]
        if len(packets) > 2 and all(packet[0] == 0x47 for packet in packets):
            # the tables are never scrambled, and padding says nothing
            content = [packet for packet in packets if 0x20 <= _identity(packet) < NULL_PACKET]
            scrambled = sum(1 for packet in content if packet[3] & 0x80)
            return scrambled * 2 > len(content)
    return False


def _identity(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def _program_is_scrambled(head: bytes) -> bool:
    """A quarter of the picture's packets of an MPEG program stream (a DVD's start is not) carry those bits."""
    if head[:4] != b"\x00\x00\x01\xba":
        return False
    packets = scrambled = 0
    at = head.find(b"\x00\x00\x01\xe0")
    while at >= 0 and at + 6 < len(head):
        # MPEG-1 has no such bits
        if head[at + 6] & 0xC0 == 0x80:
            packets += 1
            scrambled += bool(head[at + 6] & 0x30)
        # within the packet the same bytes may be content
        at = head.find(b"\x00\x00\x01\xe0", at + 6 + int.from_bytes(head[at + 4 : at + 6], "big"))
    return scrambled * 4 > packets


def _sample_entries(file: BinaryIO) -> set[bytes]:
    """Names of the sample descriptions of all tracks of an MP4 or MOV; none for other files."""
    file.seek(0)
    if file.read(12)[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
        return set()
    return set(_entries(file, 0, file.seek(0, os.SEEK_END), [MOST_BOXES]))


def _entries(file: BinaryIO, start: int, end: int, left: list[int]) -> Iterator[bytes]:
    for name, inside, stop in _boxes(file, start, end, left):
        if name in _BOXES_AROUND_ENTRIES:
            yield from _entries(file, inside, stop, left)
        elif name == b"stsd":
            yield from (entry for entry, _, _ in _boxes(file, inside + 8, stop, left))


def _boxes(file: BinaryIO, start: int, end: int, left: list[int]) -> Iterator[tuple[bytes, int, int]]:
    """(name, start of the content, end) of each box; ``left`` counts down over all levels."""
    while start + 8 <= end and left[0] > 0:
        left[0] -= 1
        file.seek(start)
        header = file.read(16)
        size, inside = int.from_bytes(header[:4], "big"), start + 8
        if size == 1:
            size, inside = int.from_bytes(header[8:16], "big"), start + 16
        stop = end if size == 0 else min(start + size, end)
        if stop < inside:
            return
        yield header[4:8], inside, stop
        start = stop
