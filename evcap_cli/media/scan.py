"""Opening a video: one walk over its packets tells when each frame is shown and where key frames lie.

Runs inside the decoding process (``child.py``); only the first frame is decoded, for size and rotation.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import av
import numpy as np

from evcap_cli.console import counted
from evcap_cli.errors import DecodeFailed, NoVideoStream, OpenFailed
from evcap_cli.media import complaints, kinds, stamps
from evcap_cli.media.display import orientation, pixel_aspect, shown_size
from evcap_cli.media.fields import FieldPairs
from evcap_cli.media.memory import out_of_memory
from evcap_cli.media.probe import FALLBACK_RATE, MediaInfo, Timeline
from evcap_cli.media.source import Key, Skipped, Source, decoded, read_packets

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.packet import Packet
    from av.video.frame import VideoFrame

    from evcap_cli.media.memory import Allowance

SAME_START_SECONDS: Final = Fraction(1, 500)
"""Containers round their start to their clock: so much apart is the same time."""
SHORT_BY_SECONDS: Final = Fraction(1, 2)
SHORT_BY_SHARE: Final = Fraction(1, 50)
"""A file that ends so much before its declared end is cut."""
HELD_SECONDS: Final = Fraction(3600)
"""A first or last picture is not held still longer; a stamp that says so and is alone with it is damaged."""
FIELDS_COUNTED: Final = Fraction(3, 2)
"""A rate so much above that of the frames counts fields."""
NO_TIME: Final = -(1 << 63)
"""In place of a time stamp that a packet does not have."""
PACKETS_BETWEEN_SIGNS_OF_LIFE: Final = 256


@dataclass
class OpenVideo:
    """An open file with what a pass over it needs to know."""

    source: Source
    timeline: Timeline
    origin: Fraction
    """The container's start on its own clock, seconds."""
    stamps: array[int] | None
    """Presentation time stamps of the frames, rising; None where they cannot be trusted and frames are counted."""
    keys: list[Key]
    """Key frames by presentation time."""
    sound_end: Fraction | None = None
    """Where the sound ends, seconds on the container's clock."""
    doubted: frozenset[int] = frozenset()
    """Time stamps of the sound that are out of their place, ticks of its stream."""
    damaged: bool = False
    """Reading met damage: what is missing between two packets was lost."""

    def keys_before(self, ordinal: int) -> tuple[list[Key], int]:
        """The key frames at or before a frame, and the number of the first frame that the last of them serves."""
        if self.stamps is None:
            return [], 0
        keys = self.keys[: bisect_right(self.keys, self.stamps[ordinal], key=lambda key: key.pts)]
        return keys, bisect_left(self.stamps, keys[-1].pts) if keys else 0


@dataclass
class _Track:
    """When the packets of one stream begin and end, ticks, in the order of the file."""

    kind: str
    time_base: Fraction
    starts: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    shown: array[int] = field(default_factory=lambda: array("b"))
    """0: decoded, but neither seen nor heard."""

    def add(self, packet: Packet[Any]) -> None:
        when = packet.pts if packet.pts is not None else packet.dts
        if when is not None:
            self.starts.append(when)
            self.ends.append(when + (packet.duration or 0))
            self.shown.append(not packet.is_discard)

    def reach(self, last: Fraction | None, *, hidden: bool) -> Fraction | None:
        """Where its last packet ends, seconds; damaged stamps do not count, nor do those behind ``last``."""
        starts, ends = np.asarray(self.starts, dtype=np.int64), np.asarray(self.ends, dtype=np.int64)
        good = stamps.within(starts, None, None if last is None else int(last / self.time_base))
        good[good] = ~stamps.out_of_place(starts[good])
        if not good.any():
            good[:] = True  # not one that fits: nothing better is known
        if not hidden:
            good &= np.asarray(self.shown, dtype=np.bool_)
        return int(ends[good].max()) * self.time_base if good.any() else None


@dataclass
class _Walk:
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
    tracks: dict[int, _Track] = field(default_factory=dict)
    encrypted: set[int] = field(default_factory=set)
    """Streams with packets that are."""

    def picture(self, packet: Packet[Any]) -> None:
        if packet.is_keyframe and packet.pts is not None:
            self.keys.append(Key(packet.pts, packet.dts, packet.size))
        if not packet.is_discard:
            self.stamps.append(NO_TIME if packet.pts is None else packet.pts)
            self.decoding.append(NO_TIME if packet.dts is None else packet.dts)

    def add(self, packet: Packet[Any]) -> None:
        track = self.tracks.get(packet.stream_index)
        if track is None:
            if not packet.time_base:
                return
            track = self.tracks[packet.stream_index] = _Track(packet.stream.type, packet.time_base)
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

    def sound(self, source: Source) -> tuple[Fraction | None, frozenset[int]]:
        """Where the chosen sound ends, seconds on the container's clock, and its time stamps that are damaged."""
        track = None if source.audio is None else self.tracks.get(source.audio.index)
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


def open_video(
    path: str | os.PathLike[str],
    audio_track: int = 0,
    alive: Callable[[], None] = lambda: None,
    allowance: Allowance | None = None,
) -> OpenVideo:
    """Open ``path``, choose its streams and walk over its packets; ``alive`` is called now and then on the way.

    Raises:
        OutOfMemory: it needs more than ``allowance``.
        OpenFailed: not there, not readable, not a video container, cut before its index.
        NoVideoStream: no picture in it. DecodeFailed: not one frame decodes.
    """
    if allowance is None:
        return _opened(path, audio_track, alive, None)
    allowance.begin(os.fspath(path))
    try:
        return _opened(path, audio_track, alive, allowance)
    except (OpenFailed, NoVideoStream, DecodeFailed) as problem:
        if not allowance.exhausted():
            raise
        raise out_of_memory(os.fspath(path), allowance.most) from problem


def _opened(
    path: str | os.PathLike[str], audio_track: int, alive: Callable[[], None], allowance: Allowance | None
) -> OpenVideo:
    source = Source(path, audio_track)
    try:
        return _open(source, alive, allowance)
    except BaseException:
        source.close()
        raise


def _open(source: Source, alive: Callable[[], None], allowance: Allowance | None) -> OpenVideo:
    if allowance is not None:
        allowance.opened(source.streams)
    walk = _walk(source, alive)
    if source.leave_cover({index: len(track.starts) for index, track in walk.tracks.items()}):
        walk = _walk(source, alive)
    if source.video.index in walk.encrypted:
        raise kinds.ENCRYPTED.error(source.path)
    if source.audio is not None and source.audio.index in walk.encrypted:
        source.drop_audio("its sound is encrypted: captioned without sound")
    if not walk.stamps:
        raise kinds.error_of(source.path) or NoVideoStream(
            "the picture stream is empty", path=source.path, hint="check that the file plays"
        )
    complained = complaints.take()
    if walk.encrypted:
        complained = complaints.Complaints()  # FFmpeg tries to decode encrypted sound while it opens the file
    if allowance is not None:
        allowance.decoding(source.video.codec_context.width, source.video.codec_context.height)
    first: VideoFrame | None = next(decoded(source.from_start(), Skipped(), alive), None)
    complaints.take()  # the pass that follows meets them again
    if first is None:
        raise kinds.error_of(source.path) or DecodeFailed(
            "no frame of it can be decoded", path=source.path, hint="check that it plays, or copy it again"
        )
    video = source.video
    aspect = pixel_aspect(video, source.warnings)
    rotation, mirrored = orientation(first)
    size = shown_size(first.width, first.height, aspect, rotation)
    time_base = video.time_base or Fraction(1, 90_000)
    fps = _rate(source, walk)
    if len(walk.stamps) == 1:
        source.warnings.append("the picture is a single frame: nothing moves in it")
    start = _start(source)
    sound_end, doubted = walk.sound(source)
    damaged = bool(complained.damage) or walk.corrupt
    declared = _declared(source, start)
    good = _good_stamps(source, walk, declared, sound_end, time_base)
    if good is None:
        info = MediaInfo(None, fps, *size, rotation, source.audio is not None, mirrored, aspect)
        ticks, step = _places(source, walk, fps, time_base)
        timeline = Timeline(info, ticks, time_base, tuple(source.warnings), (int(ticks[-1]) + step) * time_base)
        return OpenVideo(source, timeline, start, None, [], sound_end, doubted, damaged)
    known = np.unique(np.asarray(walk.stamps, dtype=np.int64)[good])
    if not good.all():
        bad = counted(
            int((~good).sum()), "damaged time stamp: frames that have it", "damaged time stamps: frames that have them"
        )
        source.warnings.append(f"{bad} are left out")
    origin = _origin(source, time_base)
    if known[0] > origin + HELD_SECONDS / time_base:
        # a damaged stamp passed for the start
        origin = int(known[0])
        start = origin * time_base
    ticks = np.maximum(known - origin, 0)
    shown = int(ticks[-1]) * time_base
    end, last = walk.reach(None if good.all() else int(known[-1]) * time_base + HELD_SECONDS)
    # the container's own word where it fits its packets, which may lack durations
    held = max(shown, (end or start) - start)
    if held == shown:
        held += 1 / (fps or FALLBACK_RATE)
    length, cut = _length(declared, held, max(held, (last or start) - start), shown)
    if cut or complained.damage:
        source.warnings.append("the file is cut or damaged: it ends early" if cut else "the file is damaged")
    info = MediaInfo(
        length if declared is not None else None, fps, *size, rotation, source.audio is not None, mirrored, aspect
    )
    timeline = Timeline(info, ticks, time_base, tuple(source.warnings), length)
    keys = sorted((key for key in walk.keys if known[0] <= key.pts <= known[-1]), key=lambda key: key.pts)
    return OpenVideo(source, timeline, start, array("q", known.tobytes()), keys, sound_end, doubted, damaged)


def _timed(times: array[int]) -> npt.NDArray[np.int64]:
    """Those of ``times`` that are known, sorted."""
    known: npt.NDArray[np.int64] = np.asarray(times, dtype=np.int64)
    return np.sort(known[known != NO_TIME])


def _rate(source: Source, walk: _Walk) -> Fraction | None:
    """Frames a second; where the container counts fields, half of what it says."""
    said = source.video.average_rate or source.video.guessed_rate or None
    known = np.unique(_timed(walk.stamps))
    if said is None or not walk.second_fields or len(known) < 2 or not source.video.time_base:
        return said
    real = Fraction(len(known) - 1, int(known[-1]) - int(known[0])) / source.video.time_base
    return said / 2 if said > FIELDS_COUNTED * real else said


def _good_stamps(
    source: Source, walk: _Walk, declared: Fraction | None, sound_end: Fraction | None, time_base: Fraction
) -> npt.NDArray[np.bool_] | None:
    """Which frames' time stamps can be used; None: frames are to be counted."""
    if walk.untimed or _guessed(source):
        return None
    shown = np.asarray(walk.stamps, dtype=np.int64)
    # one witness may be damaged itself: the last but one is asked
    decoding = _timed(walk.decoding)[1:-1]
    ends = [int(decoding[-1]) * time_base] if len(decoding) else []
    if declared is not None:
        ends.append(_start(source) + declared)
    if sound_end is not None:
        ends.append(sound_end)
    latest = int((max(ends) + HELD_SECONDS) / time_base) if ends else None
    earliest = int(decoding[0]) - int(HELD_SECONDS / time_base) if len(decoding) else None
    return stamps.believable(shown, earliest, latest)


def _guessed(source: Source) -> bool:
    """AVI holds no presentation times, what FFmpeg guesses is wrong for reordered frames."""
    return source.container.format.name == "avi" and bool(source.video.codec_context.has_b_frames)


def _places(
    source: Source, walk: _Walk, fps: Fraction | None, time_base: Fraction
) -> tuple[npt.NDArray[np.int64], int]:
    """Times of frames whose own stamps cannot be used, and a frame's length: all in ticks."""
    step = max(1, round(1 / (fps or FALLBACK_RATE) / time_base))
    decoding = walk.in_order()
    # the times at which frames are decoded are those at which frames are shown, but for a constant delay
    ticks = np.arange(len(walk.stamps), dtype=np.int64) * step if decoding is None else decoding - decoding[0]
    if not walk.untimed and not _guessed(source):
        spaced = "as evenly spaced" if decoding is None else "as they are decoded"
        source.warnings.append(f"its time stamps jump: frames are taken {spaced}")
    return ticks, step


def _walk(source: Source, alive: Callable[[], None]) -> _Walk:
    walk = _Walk()
    codec = source.video.codec_context
    hides = codec.name in ("vp8", "libvpx")
    fields = FieldPairs(codec.name, codec.extradata)
    for number, packet in enumerate(read_packets(source.container)):
        if number % PACKETS_BETWEEN_SIGNS_OF_LIFE == 0:
            alive()
        if not packet.size:
            continue
        walk.add(packet)
        walk.corrupt = walk.corrupt or bool(packet.is_corrupt)
        if packet.stream_index != source.video.index:
            continue
        source.note_first(packet)
        if fields.is_second(packet):
            walk.second_fields += 1
        # VP8 has packets that are never shown: the bit is part of the frame header
        elif not (hides and not memoryview(packet)[0] & 0x10):
            walk.picture(packet)
    return walk


def _length(declared: Fraction | None, held: Fraction, last: Fraction, shown: Fraction) -> tuple[Fraction, bool]:
    """(seconds of the video, whether it was cut).

    Args:
        declared: what the container says.
        held: end of the last picture or sound.
        last: end of anything.
        shown: when the last frame appears.
    """
    if declared is None or declared <= shown:
        return held, False
    short = declared - last > max(SHORT_BY_SECONDS, SHORT_BY_SHARE * declared)
    return (held if short else declared), short


def _start(source: Source) -> Fraction:
    start = source.container.start_time
    return Fraction(0) if start is None else Fraction(start, av.time_base)


def _origin(source: Source, time_base: Fraction) -> int:
    """The container's start in ticks of the picture; the picture's own where they are the same but for rounding."""
    own = source.video.start_time
    if source.container.start_time is None:
        return own or 0
    start = _start(source)
    if own is not None and abs(start - own * time_base) <= SAME_START_SECONDS:
        return own
    return round(start / time_base)


def _declared(source: Source, start: Fraction) -> Fraction | None:
    """The duration that the file claims, from its start on."""
    container, video = source.container, source.video
    if container.duration is not None and container.duration > 0:
        whole = Fraction(container.duration, av.time_base)
        # Matroska counts from time zero, whatever comes first
        return whole - start if container.format.name.startswith("matroska") and whole > start else whole
    if video.duration is not None and video.time_base is not None and video.duration > 0:
        return video.duration * video.time_base
    return None
