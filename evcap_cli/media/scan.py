"""Opening a video: its facts, the times of its frames and its key frames, from one walk over its packets.

Runs inside the decoding process (``decoder_child.py``); only the first frame is decoded, for size and rotation.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import av
import numpy as np

from evcap_cli.console import counted
from evcap_cli.errors import DecodeFailed, NoVideoStream, OpenFailed
from evcap_cli.media import ffmpeg_log, stamps, undecodable
from evcap_cli.media.decoder_memory import out_of_memory
from evcap_cli.media.display import orientation, pixel_aspect, shown_size
from evcap_cli.media.hdr import foreign_matrix, stated_colours
from evcap_cli.media.media_file import MediaFile
from evcap_cli.media.packet_walk import PacketWalk, known_times, walk_packets
from evcap_cli.media.packets import Key, Skipped, decoded
from evcap_cli.media.probe import FALLBACK_RATE, Colours, MediaInfo, Timeline

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.video.frame import VideoFrame

    from evcap_cli.media.decoder_memory import Allowance

SAME_START_SECONDS: Final = Fraction(1, 500)
"""Containers round their start to their clock: so much apart is the same time."""
SHORT_BY_SECONDS: Final = Fraction(1, 2)
SHORT_BY_SHARE: Final = Fraction(1, 50)
"""A file that ends so much before its declared end is cut."""
HELD_SECONDS: Final = Fraction(3600)
"""A first or last picture does not stand still longer; a stamp that says so and is alone with it is damaged."""
FIELDS_COUNTED: Final = Fraction(3, 2)
"""A rate so much above that of the frames counts fields."""


@dataclass
class OpenVideo:
    """An open file with what a pass over it needs to know."""

    file: MediaFile
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
    colours: Colours = field(default_factory=Colours)
    """What the container says of the picture's."""
    damaged: bool = False
    """Reading met damage: what is missing between two packets was lost."""

    def keys_before(self, ordinal: int) -> tuple[list[Key], int]:
        """The key frames at or before a frame, and the number of the first frame that the last of them serves."""
        if self.stamps is None:
            return [], 0
        keys = self.keys[: bisect_right(self.keys, self.stamps[ordinal], key=lambda key: key.pts)]
        return keys, bisect_left(self.stamps, keys[-1].pts) if keys else 0


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
    file = MediaFile(path, audio_track)
    try:
        return _scanned(file, alive, allowance)
    except BaseException:
        file.close()
        raise


def _scanned(file: MediaFile, alive: Callable[[], None], allowance: Allowance | None) -> OpenVideo:
    if allowance is not None:
        allowance.opened(file.streams)
    walk = _walk_over_chosen(file, alive)
    # FFmpeg tries to decode encrypted sound while it opens the file: its log then says nothing about damage
    log_lines = ffmpeg_log.take() * (not walk.encrypted)
    if allowance is not None:
        allowance.decoding(file.video.codec_context.width, file.video.codec_context.height)
    colours = stated_colours(file.video)
    first = _first_frame(file, alive)
    aspect = pixel_aspect(file.video, file.warnings)
    rotation, mirrored = orientation(first)
    width, height = shown_size(first.width, first.height, aspect, rotation)
    if (matrix := foreign_matrix(first, colours)) is not None:
        file.warnings.append(f"its colours (matrix {matrix}) cannot be converted: they come out wrong")
    info = MediaInfo(None, _rate(file, walk), width, height, rotation, file.audio is not None, mirrored, aspect)
    if len(walk.stamps) == 1:
        file.warnings.append("the picture is a single frame: nothing moves in it")
    sound_end, doubted = walk.sound(file)
    declared = _declared(file)
    good = _good_stamps(file, walk, declared, sound_end)
    if good is None:
        opened = OpenVideo(file, _counted_timeline(file, walk, info), _start(file), None, [])
    else:
        opened = _timed_video(file, walk, info, good, declared, log_lines)
    opened.sound_end, opened.doubted, opened.colours = sound_end, doubted, colours
    opened.damaged = bool(log_lines) or walk.corrupt
    return opened


def _walk_over_chosen(file: MediaFile, alive: Callable[[], None]) -> PacketWalk:
    """The walk over the packets, which may still change what streams are chosen."""
    walk = walk_packets(file, alive)
    if file.leave_cover({index: len(track.starts) for index, track in walk.tracks.items()}):
        walk = walk_packets(file, alive)
    if file.video.index in walk.encrypted:
        raise undecodable.ENCRYPTED.error(file.path)
    if file.audio is not None and file.audio.index in walk.encrypted:
        file.drop_audio("its sound is encrypted: captioned without sound")
    if not walk.stamps:
        raise undecodable.error_of(file.path) or NoVideoStream(
            "the picture stream is empty", path=file.path, hint="check that the file plays"
        )
    return walk


def _first_frame(file: MediaFile, alive: Callable[[], None]) -> VideoFrame:
    first: VideoFrame | None = next(decoded(file.from_start(), Skipped(), alive), None)
    ffmpeg_log.take()  # the pass that follows meets the same lines again
    if first is None:
        raise undecodable.error_of(file.path) or DecodeFailed(
            "no frame of it can be decoded", path=file.path, hint="check that it plays, or copy it again"
        )
    return first


def _counted_timeline(file: MediaFile, walk: PacketWalk, info: MediaInfo) -> Timeline:
    """Times of frames whose own stamps cannot be used."""
    time_base = _time_base(file)
    step = max(1, round(1 / (info.fps or FALLBACK_RATE) / time_base))
    decoding = walk.in_order()
    # the times at which frames are decoded are those at which frames are shown, but for a constant delay
    ticks = np.arange(len(walk.stamps), dtype=np.int64) * step if decoding is None else decoding - decoding[0]
    if not walk.untimed and not _guessed(file):
        spaced = "as evenly spaced" if decoding is None else "as they are decoded"
        file.warnings.append(f"its time stamps jump: frames are taken {spaced}")
    return Timeline(info, ticks, time_base, tuple(file.warnings), (int(ticks[-1]) + step) * time_base)


def _timed_video(
    file: MediaFile,
    walk: PacketWalk,
    info: MediaInfo,
    good: npt.NDArray[np.bool_],
    declared: Fraction | None,
    log_lines: int,
) -> OpenVideo:
    """A video whose frames are known by their ``good`` time stamps."""
    time_base, start = _time_base(file), _start(file)
    known = np.unique(np.asarray(walk.stamps, dtype=np.int64)[good])
    if not good.all():
        bad = counted(
            int((~good).sum()), "damaged time stamp: frames that have it", "damaged time stamps: frames that have them"
        )
        file.warnings.append(f"{bad} are left out")
    origin = _origin(file, time_base)
    if known[0] > origin + HELD_SECONDS / time_base:
        # a damaged stamp passed for the start
        origin = int(known[0])
        start = origin * time_base
    ticks = np.maximum(known - origin, 0)
    shown = int(ticks[-1]) * time_base
    end, last = walk.reach(None if good.all() else int(known[-1]) * time_base + HELD_SECONDS)
    # the container's own word where it fits its packets, which may lack durations
    measured = max(shown, (end or start) - start)
    if measured == shown:
        measured += 1 / (info.fps or FALLBACK_RATE)
    length, cut = _length(declared, measured, max(measured, (last or start) - start), shown)
    if cut or log_lines:
        file.warnings.append("the file is cut or damaged: it ends early" if cut else "the file is damaged")
    info = replace(info, duration=length if declared is not None else None)
    timeline = Timeline(info, ticks, time_base, tuple(file.warnings), length)
    keys = sorted((key for key in walk.keys if known[0] <= key.pts <= known[-1]), key=lambda key: key.pts)
    return OpenVideo(file, timeline, start, array("q", known.tobytes()), keys)


def _rate(file: MediaFile, walk: PacketWalk) -> Fraction | None:
    """Frames a second; where the container counts fields, half of what it says."""
    said = file.video.average_rate or file.video.guessed_rate or None
    known = np.unique(known_times(walk.stamps))
    if said is None or not walk.second_fields or len(known) < 2 or not file.video.time_base:
        return said
    real = Fraction(len(known) - 1, int(known[-1]) - int(known[0])) / file.video.time_base
    return said / 2 if said > FIELDS_COUNTED * real else said


def _good_stamps(
    file: MediaFile, walk: PacketWalk, declared: Fraction | None, sound_end: Fraction | None
) -> npt.NDArray[np.bool_] | None:
    """Which frames' time stamps can be used; None: frames are to be counted."""
    if walk.untimed or _guessed(file):
        return None
    time_base = _time_base(file)
    shown = np.asarray(walk.stamps, dtype=np.int64)
    # one witness may be damaged itself: the last but one counts
    decoding = known_times(walk.decoding)[1:-1]
    ends = [int(decoding[-1]) * time_base] if len(decoding) else []
    if declared is not None:
        ends.append(_start(file) + declared)
    if sound_end is not None:
        ends.append(sound_end)
    latest = int((max(ends) + HELD_SECONDS) / time_base) if ends else None
    earliest = int(decoding[0]) - int(HELD_SECONDS / time_base) if len(decoding) else None
    return stamps.believable(shown, earliest, latest)


def _guessed(file: MediaFile) -> bool:
    """AVI holds no presentation times, what FFmpeg guesses is wrong for reordered frames."""
    return file.container.format.name == "avi" and bool(file.video.codec_context.has_b_frames)


def _length(declared: Fraction | None, measured: Fraction, last: Fraction, shown: Fraction) -> tuple[Fraction, bool]:
    """(seconds of the video, whether it was cut).

    Args:
        declared: what the container says.
        measured: end of the last picture or sound.
        last: end of anything.
        shown: when the last frame appears.
    """
    if declared is None or declared <= shown:
        return measured, False
    short = declared - last > max(SHORT_BY_SECONDS, SHORT_BY_SHARE * declared)
    return (measured if short else declared), short


def _time_base(file: MediaFile) -> Fraction:
    return file.video.time_base or Fraction(1, 90_000)


def _start(file: MediaFile) -> Fraction:
    start = file.container.start_time
    return Fraction(0) if start is None else Fraction(start, av.time_base)


def _origin(file: MediaFile, time_base: Fraction) -> int:
    """The container's start in ticks of the picture; the picture's own where they are the same but for rounding."""
    own = file.video.start_time
    if file.container.start_time is None:
        return own or 0
    start = _start(file)
    if own is not None and abs(start - own * time_base) <= SAME_START_SECONDS:
        return own
    return round(start / time_base)


def _declared(file: MediaFile) -> Fraction | None:
    """The duration that the file claims, from its start on."""
    container, video, start = file.container, file.video, _start(file)
    if container.duration is not None and container.duration > 0:
        whole = Fraction(container.duration, av.time_base)
        # Matroska counts from time zero, whatever comes first
        return whole - start if container.format.name.startswith("matroska") and whole > start else whole
    if video.duration is not None and video.time_base is not None and video.duration > 0:
        return video.duration * video.time_base
    return None
