"""One walk over the packets of a file: when each frame is shown, where key frames lie, where every track ends.

Nothing is decoded; what the times are worth is decided in ``scan.py``.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli.media import stamps
from evcap_cli.media.field_pictures import FieldPairs
from evcap_cli.media.packets import Key, read_packets

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.packet import Packet
    from av.video.stream import VideoStream

    from evcap_cli.media.media_file import MediaFile

NO_TIME: Final = -(1 << 63)
"""In place of a time stamp that a packet does not have."""
PACKETS_BETWEEN_SIGNS_OF_LIFE: Final = 256


@dataclass
class TrackTimes:
    """When the packets of one stream begin and end, ticks, in the order of the file."""

    kind: str
    time_base: Fraction
    starts: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    shown: array[int] = field(default_factory=lambda: array("b"))
    """0: decoded, but neither shown nor played."""

    def add(self, packet: Packet[Any]) -> None:
        """Note the next packet."""
        when = packet.pts if packet.pts is not None else packet.dts
        if when is not None:
            self.starts.append(when)
            self.ends.append(when + (packet.duration or 0))
            self.shown.append(not packet.is_discard)

    def reach(self, last: Fraction | None, *, hidden: bool) -> Fraction | None:
        """Where its last packet ends, seconds; damaged stamps do not count, nor do those after ``last``."""
        starts, ends = np.asarray(self.starts, dtype=np.int64), np.asarray(self.ends, dtype=np.int64)
        good = stamps.within(starts, None, None if last is None else int(last / self.time_base))
        good[good] = ~stamps.out_of_place(starts[good])
        if not good.any():
            good[:] = True  # not one that fits: nothing better is known
        if not hidden:
            good &= np.asarray(self.shown, dtype=np.bool_)
        return int(ends[good].max()) * self.time_base if good.any() else None


@dataclass
class PacketWalk:
    """What the packets of a file say."""

    stamps: array[int] = field(default_factory=lambda: array("q"))
    """Presentation times of the frames that are shown, in decoding order; ``NO_TIME`` where there is none."""
    decoding: array[int] = field(default_factory=lambda: array("q"))
    """Their decoding times, the same way."""
    keys: list[Key] = field(default_factory=list)
    second_fields: int = 0
    """Packets that complete a frame."""
    corrupt: bool = False
    """The demuxer marked packets as incomplete."""
    tracks: dict[int, TrackTimes] = field(default_factory=dict)
    encrypted: set[int] = field(default_factory=set)
    """Streams with packets that are."""

    def picture(self, packet: Packet[Any]) -> None:
        """Note a packet that gives a frame."""
        if packet.is_keyframe and packet.pts is not None:
            self.keys.append(Key(packet.pts, packet.dts, packet.size))
        if not packet.is_discard:
            self.stamps.append(NO_TIME if packet.pts is None else packet.pts)
            self.decoding.append(NO_TIME if packet.dts is None else packet.dts)

    def add(self, packet: Packet[Any]) -> None:
        """Note a packet of any stream."""
        track = self.tracks.get(packet.stream_index)
        if track is None:
            if not packet.time_base:
                return
            track = self.tracks[packet.stream_index] = TrackTimes(packet.stream.type, packet.time_base)
        track.add(packet)
        if packet.has_sidedata("encryption_info"):
            self.encrypted.add(packet.stream_index)

    @property
    def untimed(self) -> bool:
        """Whether a frame has no presentation time."""
        return NO_TIME in self.stamps

    def in_order(self) -> npt.NDArray[np.int64] | None:
        """Decoding times of all frames, where they are there and rise."""
        times = np.asarray(self.decoding, dtype=np.int64)
        return times if (times != NO_TIME).all() and (times[1:] > times[:-1]).all() else None

    def sound(self, file: MediaFile) -> tuple[Fraction | None, frozenset[int]]:
        """Where the chosen sound ends, seconds on the container's clock, and its time stamps that are damaged."""
        track = None if file.audio is None else self.tracks.get(file.audio.index)
        if track is None:
            return None, frozenset()
        starts = np.asarray(track.starts, dtype=np.int64)
        return track.reach(None, hidden=True), frozenset(starts[stamps.out_of_place(starts)].tolist())

    def reach(self, last: Fraction | None) -> tuple[Fraction | None, Fraction | None]:
        """Where the last picture or sound ends, and where anything ends, seconds on the container's clock."""
        parts = [
            end
            for track in self.tracks.values()
            if track.kind in ("video", "audio") and (end := track.reach(last, hidden=False)) is not None
        ]
        whole = [end for track in self.tracks.values() if (end := track.reach(last, hidden=True)) is not None]
        return max(parts, default=None), max(whole, default=None)


class FramePackets:
    """For the packets of the picture stream, in order: which of them begin a frame, and how many complete one."""

    def __init__(self, video: VideoStream) -> None:
        codec = video.codec_context
        self._hides = codec.name in ("vp8", "libvpx")
        self._fields = FieldPairs(codec.name, codec.extradata)
        self.second_fields = 0

    def begins_frame(self, packet: Packet[Any]) -> bool:
        """Whether a frame of its own is decoded from ``packet``."""
        if not packet.size:
            return False
        if self._fields.is_second(packet):
            self.second_fields += 1
            return False
        # VP8 has packets that are never shown: the bit is part of the frame header
        return not (self._hides and not memoryview(packet)[0] & 0x10)


def walk_packets(file: MediaFile, alive: Callable[[], None]) -> PacketWalk:
    """What the packets of ``file`` say; ``alive`` is called now and then."""
    walk = PacketWalk()
    frames = FramePackets(file.video)
    for number, packet in enumerate(read_packets(file.container)):
        if number % PACKETS_BETWEEN_SIGNS_OF_LIFE == 0:
            alive()
        if not packet.size:
            continue
        walk.add(packet)
        walk.corrupt = walk.corrupt or bool(packet.is_corrupt)
        if packet.stream_index != file.video.index:
            continue
        file.note_first(packet)
        if frames.begins_frame(packet):
            walk.picture(packet)
    walk.second_fields = frames.second_fields
    return walk


def known_times(times: array[int]) -> npt.NDArray[np.int64]:
    """Those of ``times`` that are known, sorted."""
    known: npt.NDArray[np.int64] = np.asarray(times, dtype=np.int64)
    return np.sort(known[known != NO_TIME])
