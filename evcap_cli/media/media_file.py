"""An open file: the streams that were chosen, and ways to any of their packets.

Runs inside the decoding process. What packets and frames mean is left to ``scan.py``, ``frames.py`` and ``audio.py``.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, cast

import av
from av.error import FFmpegError
from av.format import Flags

from evcap_cli.errors import DecodeFailed, EvcapError, NoVideoStream, OpenFailed, OutOfMemory, reason_of
from evcap_cli.media import undecodable
from evcap_cli.media.packets import Key, read_packets

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

PLAYLISTS: Final = frozenset({"hls", "concat", "dash", "imf", "applehttp"})
"""Formats that name other files: a video must not make us read those."""
LEAST_SOUND_RATE: Final = 1000
"""Samples a second; fewer hold nothing that one hears, and a few kilobytes of them become gigabytes when resampled."""
MOST_CHANNELS: Final = 64
"""What FFmpeg's filters mix."""


class MediaFile:
    """A file with its picture stream and, where it has one, its sound stream.

    Raises:
        OpenFailed: not there, not readable, not a video container, cut before its index.
        NoVideoStream: no picture in it. DecodeFailed: a codec that cannot be decoded.
    """

    def __init__(self, path: str | os.PathLike[str], audio_track: int = 0) -> None:
        self.path = os.fspath(path)
        self.container: InputContainer = _open(self.path)
        self.first: tuple[int | None, ...] | None = None
        """Marks of the picture's first packet; known once ``note_first`` was called."""
        self.seeks = True
        """False once a seek landed past its key frame: this file's index lies."""
        try:
            if undecodable.protected(self.container, self.path):
                raise undecodable.ENCRYPTED.error(self.path)
            self._video = _picture(self.container, self.path).index
            self.warnings: list[str] = []
            self._audio = _sound(self.container, audio_track, self.warnings)
        except BaseException:
            self.close()
            raise
        self._prepare()

    @property
    def video(self) -> VideoStream:
        """The picture."""
        stream: Any = self.container.streams[self._video]
        return stream  # type: ignore[no-any-return]

    @property
    def audio(self) -> AudioStream | None:
        """The sound."""
        stream: Any = None if self._audio is None else self.container.streams[self._audio]
        return stream  # type: ignore[no-any-return]

    def drop_audio(self, warning: str) -> None:
        """Go on without the sound."""
        self._audio = None
        self.warnings.append(warning)

    @property
    def streams(self) -> list[Stream]:
        """Those that were chosen."""
        return [self.video] if self.audio is None else [self.video, self.audio]

    def close(self) -> None:
        """Let go of the file."""
        self.container.close()

    def _prepare(self) -> None:
        # slices, not frames: frame threads may lose the tail of a stream and make damaged pictures depend on timing
        self.video.codec_context.thread_type = "SLICE"

    def _reopen(self) -> None:
        self.close()
        self.container = _open(self.path)
        self._prepare()

    def leave_cover(self, packets: Mapping[int, int]) -> bool:
        """Whether another picture was chosen: a single picture next to a film is a cover that does not say so.

        Args:
            packets: how many each stream of the file has.

        Raises:
            DecodeFailed: the film is in a codec that cannot be decoded.
        """
        films = [stream for stream in _not_covers(self.container) if packets.get(stream.index, 0) > 1]
        if packets.get(self._video, 0) > 1 or not films:
            return False
        decodable = [stream for stream in films if stream.codec_context is not None]
        if not decodable:
            raise _no_decoder(self.path)
        self._video = max(decodable, key=lambda stream: packets[stream.index]).index
        self.first = None
        self._reopen()
        return True

    def note_first(self, packet: Packet[Any]) -> None:
        """Remember the picture's first packet, to know it again after a rewind."""
        if self.first is None:
            self.first = _marks(packet)

    def from_start(self) -> Iterator[Packet[VideoStream]]:
        """All packets of the picture; where seeking does not lead to the first one the file is opened again."""
        with suppress(FFmpegError):
            self.container.seek(self.video.start_time or 0, stream=self.video, backward=True)
            packets = read_packets(self.container, self.video)
            packet = next(packets, None)
            if packet is not None and (self.first is None or _marks(packet) == self.first):
                return chain([packet], packets)
        self._reopen()
        return read_packets(self.container, self.video)

    def from_key(self, keys: Sequence[Key]) -> Iterator[Packet[VideoStream]]:
        """Packets from the last of ``keys``, or one before it, on; what lies before it cannot decode and is left out.

        Some containers give other time stamps after a seek: then, and where the seek lands too late, from the start.
        """
        key = keys[-1]
        if self.seeks:
            with suppress(FFmpegError):
                self.container.seek(self._target(key), stream=self.video, backward=True)
                packets = read_packets(self.container, self.video)
                for packet in packets:
                    if packet.is_keyframe and packet.pts is not None:
                        found = keys[bisect_right(keys, packet.pts, key=lambda known: known.pts) - 1]
                        if (found.pts, found.size) != (packet.pts, packet.size):
                            break
                        return chain([packet], packets)
            self.seeks = False
        return self.from_start()

    def _target(self, key: Key) -> int:
        """Matroska's index and formats with the flag go by presentation time, all others by decoding time."""
        kind = self.container.format
        by_pts = kind.name.startswith("matroska") or kind.flags & cast(int, Flags.seek_to_pts.value)
        return key.pts if by_pts or key.dts is None else key.dts

    def sound_from(self, seconds: Fraction) -> Iterator[Packet[AudioStream]]:
        """Packets of the sound from ``seconds`` (on the container's own clock) or before."""
        stream = self.audio
        if stream is None:
            return iter(())
        time_base = stream.time_base or Fraction(1, av.time_base)
        earliest = stream.start_time or 0
        target = round(seconds / time_base)
        # an encoder's priming lies before the start; some formats refuse to seek there
        targets = [target] if target > earliest else [earliest - round(1 / time_base), earliest]
        for target in targets:
            with suppress(FFmpegError):
                self.container.seek(target, stream=stream, backward=True)
                return read_packets(self.container, stream)
        self._reopen()
        stream = self.audio
        return read_packets(self.container, stream) if stream is not None else iter(())


def _marks(packet: Packet[Any]) -> tuple[int | None, ...]:
    return packet.pts, packet.dts, packet.pos, packet.size


def _open(path: str) -> InputContainer:
    try:
        # a name such as "a:b.mp4" is a file and no protocol, one such as "a%03d.jpg" no series of pictures, and what a
        # file refers to is never fetched
        options = {"protocol_whitelist": "file", "pattern_type": "none"}
        container = av.open(f"file:{path}", metadata_errors="replace", options=options)
    except (Exception, av.error.ExitError) as problem:
        raise _cannot_open(path, problem) from problem
    if PLAYLISTS.intersection(container.format.name.split(",")):
        container.close()
        raise OpenFailed("is a playlist, not a video", path=path, hint="name the videos themselves")
    return container


def _cannot_open(path: str, problem: Exception) -> EvcapError:
    if isinstance(problem, MemoryError):
        return OutOfMemory("out of memory while opening", path=path, hint="raise --decoder-memory, or re-encode it")
    if isinstance(problem, FileNotFoundError):
        return OpenFailed("no such file", path=path, hint="check the path")
    if isinstance(problem, PermissionError):
        return OpenFailed("no permission to read it", path=path, hint="check its permissions")
    if os.path.isdir(path):  # noqa: PTH112 (a path of any encoding)
        return OpenFailed("is a folder", path=path, hint="name the videos, or the folder as an input")
    return undecodable.error_of(path) or OpenFailed(
        _what_is_wrong(path, problem), path=path, hint="check that it plays, or copy it again"
    )


def _what_is_wrong(path: str, problem: Exception) -> str:
    """The cause in words, from the first bytes; FFmpeg only says "invalid data"."""
    head = b""
    with suppress(OSError), open(path, "rb") as file:  # noqa: PTH123 (a path of any encoding)
        head = file.read(12)
        if not head:
            return "the file is empty"
    if head[4:8] in (b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip"):
        return "the MP4 is cut before its index or damaged"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "the Matroska file is cut or damaged at its head"
    return f"not a video file ({reason_of(problem)})"


def _picture(container: InputContainer, path: str) -> VideoStream:
    """FFmpeg's best picture stream that is not a cover."""
    moving = _not_covers(container)
    if not moving:
        raise undecodable.error_of(path) or NoVideoStream(
            "no picture in this file", path=path, hint="leave it out, or check that it is a video"
        )
    for stream in moving:
        if stream.codec_context is not None:
            if stream.codec_context.name in undecodable.TEXT_ART:
                raise NoVideoStream("is a text, not a video", path=path, hint="leave it out")
            return stream  # type: ignore[no-any-return]
    raise undecodable.error_of(path) or _no_decoder(path)


def _not_covers(container: InputContainer) -> list[Any]:
    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    best = container.streams.best("video")
    streams: list[Stream] = [*([best] if best is not None else []), *container.streams.video]
    return [stream for stream in streams if not stream.disposition & covers]


def _no_decoder(path: str) -> DecodeFailed:
    return DecodeFailed("its picture is in a codec that cannot be decoded", path=path, hint="re-encode it")


def _sound(container: InputContainer, track: int, warnings: list[str]) -> int | None:
    """Index of the stream: track 0 is the one a player takes, the others count as the file lists them."""
    streams = list(container.streams.audio)
    if not streams:
        return None
    if track >= len(streams):
        warnings.append(f"has {len(streams)} audio tracks, no track {track}: captioned without sound")
        return None
    marked = [stream for stream in streams if stream.disposition & av.stream.Disposition.default]
    stream = marked[0] if track == 0 and marked else streams[track]
    if stream.codec_context is None:
        warnings.append("its sound is in a codec that cannot be decoded: captioned without sound")
        return None
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
    if 0 < rate < LEAST_SOUND_RATE or channels > MOST_CHANNELS:
        form = f"{channels} channels" if channels > MOST_CHANNELS else f"a rate of {rate} Hz"
        warnings.append(f"its sound has {form}, which cannot be used: captioned without sound")
        return None
    return stream.index
