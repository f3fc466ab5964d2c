"""Opening a video: one walk over its packets tells when each frame is shown and where key frames lie.

Runs inside the decoding process (``child.py``); only the first frame is decoded, for size and rotation.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import av
import numpy as np

from evcap_cli.errors import DecodeFailed, NoVideoStream
from evcap_cli.media import complaints
from evcap_cli.media.probe import FALLBACK_RATE, MediaInfo, Timeline
from evcap_cli.media.source import Key, Skipped, Source, decoded, read_packets

if TYPE_CHECKING:
    import os

    from av.packet import Packet
    from av.video.frame import VideoFrame

SAME_START_SECONDS: Final = Fraction(1, 500)
"""Containers round their start to their clock: so much apart is the same time."""
SHORT_BY_SECONDS: Final = Fraction(1, 2)
SHORT_BY_SHARE: Final = Fraction(1, 50)
"""A file that ends so much before its declared end is cut."""
FAR_SECONDS: Final = Fraction(10)
FAR_FRAMES: Final = 32
"""Frames are reordered within sixteen of them: a presentation time farther from its decoding time is damage."""
PACKETS_BETWEEN_SIGNS_OF_LIFE: Final = 256


@dataclass
class OpenVideo:
    """An open file with what a pass over it needs to know."""

    source: Source
    timeline: Timeline
    origin: Fraction
    """The container's start on its own clock, seconds."""
    stamps: list[int] | None
    """Presentation time stamps of the frames, rising; None where they cannot be trusted and frames are counted."""
    keys: list[Key]
    """Key frames by presentation time."""

    def keys_before(self, ordinal: int) -> tuple[list[Key], int]:
        """The key frames at or before a frame, and the number of the first frame that the last of them serves."""
        if self.stamps is None:
            return [], 0
        keys = self.keys[: bisect_right(self.keys, self.stamps[ordinal], key=lambda key: key.pts)]
        return keys, bisect_left(self.stamps, keys[-1].pts) if keys else 0


@dataclass
class _Walk:
    """What the packets of a file say."""

    stamps: list[int | None] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    last_dts: int | None = None
    decoding: list[int] = field(default_factory=list)
    """Decoding times of the frames that are shown."""
    jumps: bool = False
    """Decoding times run backwards somewhere: pieces were joined, or a time stamp is damaged."""
    widest: int = 0
    """The largest distance of decoding and presentation time, ticks."""
    end: Fraction | None = None
    """Where the last picture or sound ends, seconds on the container's clock."""
    last: Fraction | None = None
    """The same with subtitles and data."""

    def picture(self, packet: Packet[Any]) -> None:
        if packet.is_keyframe and packet.pts is not None:
            self.keys.append(Key(packet.pts, packet.dts, packet.size))
        if packet.dts is not None:
            self.jumps = self.jumps or (self.last_dts is not None and packet.dts < self.last_dts)
            self.last_dts = packet.dts
            if packet.pts is not None:
                self.widest = max(self.widest, abs(packet.pts - packet.dts))
        if not packet.is_discard:
            self.stamps.append(packet.pts)
            if packet.dts is not None:
                self.decoding.append(packet.dts)

    def believable(self, fps: Fraction, time_base: Fraction) -> bool:
        """Whether the frames' times can be used; damage may send a single one hours away."""
        far = max(FAR_SECONDS, FAR_FRAMES / fps) / time_base
        return None not in self.stamps and not self.jumps and self.widest <= far

    def reach(self, packet: Packet[Any]) -> None:
        when = packet.pts if packet.pts is not None else packet.dts
        if when is None or not packet.time_base:
            return
        end = (when + (packet.duration or 0)) * packet.time_base
        self.last = end if self.last is None else max(self.last, end)
        if packet.stream.type in ("video", "audio") and not packet.is_discard:
            self.end = end if self.end is None else max(self.end, end)


def open_video(
    path: str | os.PathLike[str], audio_track: int = 0, alive: Callable[[], None] = lambda: None
) -> OpenVideo:
    """Open ``path``, choose its streams and walk over its packets; ``alive`` is called now and then on the way.

    Raises:
        OpenFailed: not there, not readable, not a video container, cut before its index.
        NoVideoStream: no picture in it. DecodeFailed: not one frame decodes.
    """
    source = Source(path, audio_track)
    try:
        return _open(source, alive)
    except BaseException:
        source.close()
        raise


def _open(source: Source, alive: Callable[[], None]) -> OpenVideo:
    walk = _walk(source, alive)
    if not walk.stamps:
        raise NoVideoStream("the picture stream is empty", path=source.path, hint="check that the file plays")
    complained = complaints.take()
    first: VideoFrame | None = next(decoded(source.from_start(), Skipped(), alive), None)
    complaints.take()  # the pass that follows meets them again
    if first is None:
        raise DecodeFailed(
            "no frame of it can be decoded", path=source.path, hint="check that it plays, or copy it again"
        )
    rotation = round(-first.rotation / 90) % 4 * 90
    size = (first.height, first.width) if rotation in (90, 270) else (first.width, first.height)
    video = source.video
    time_base = video.time_base or Fraction(1, 90_000)
    fps = video.average_rate or video.guessed_rate or None
    if len(walk.stamps) == 1:
        source.warnings.append("the picture is a single frame: nothing moves in it")
    guessed = source.container.format.name == "avi" and bool(video.codec_context.has_b_frames)
    if guessed or not walk.believable(fps or FALLBACK_RATE, time_base):
        if None not in walk.stamps and not guessed:
            source.warnings.append("its time stamps jump: frames are taken as evenly spaced")
        step = max(1, round(1 / (fps or FALLBACK_RATE) / time_base))
        ticks = np.arange(len(walk.stamps), dtype=np.int64) * step
        if guessed and len(walk.decoding) == len(ticks) and not walk.jumps:
            # AVI holds no presentation times, what FFmpeg guesses is wrong for reordered frames; their places are right
            ticks = np.asarray(walk.decoding, dtype=np.int64) - walk.decoding[0]
        info = MediaInfo(None, fps, *size, rotation, has_audio=source.audio is not None)
        timeline = Timeline(info, ticks, time_base, tuple(source.warnings), (int(ticks[-1]) + step) * time_base)
        return OpenVideo(source, timeline, _start(source), None, [])
    known = sorted({stamp for stamp in walk.stamps if stamp is not None})
    origin = _origin(source, time_base)
    ticks = np.maximum(np.asarray(known, dtype=np.int64) - origin, 0)
    start = origin * time_base
    declared = _declared(source, start)
    shown = int(ticks[-1]) * time_base
    # the container's own word where it fits its packets, which may lack durations
    held = max(shown, (walk.end or start) - start)
    if held == shown:
        held += 1 / (fps or FALLBACK_RATE)
    length, cut = _length(declared, held, max(held, (walk.last or start) - start), shown)
    if cut or complained.damage:
        source.warnings.append("the file is cut or damaged: it ends early" if cut else "the file is damaged")
    info = MediaInfo(length if declared is not None else None, fps, *size, rotation, has_audio=source.audio is not None)
    timeline = Timeline(info, ticks, time_base, tuple(source.warnings), length)
    return OpenVideo(source, timeline, start, known, sorted(walk.keys, key=lambda key: key.pts))


def _walk(source: Source, alive: Callable[[], None]) -> _Walk:
    walk = _Walk()
    hides = source.video.codec_context.name in ("vp8", "libvpx")
    for number, packet in enumerate(read_packets(source.container)):
        if number % PACKETS_BETWEEN_SIGNS_OF_LIFE == 0:
            alive()
        if not packet.size:
            continue
        walk.reach(packet)
        if packet.stream_index != source.video.index:
            continue
        source.note_first(packet)
        # VP8 has packets that are never shown: the bit is part of the frame header
        if not (hides and not memoryview(packet)[0] & 0x10):
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
