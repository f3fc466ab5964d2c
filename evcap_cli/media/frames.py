"""Sparse decoding of pictures: each requested frame once, resized to every requested geometry in the same pass.

The pass seeks only where a key frame lies between here and the next requested frame, and stops after the last one.

Pretrained networks saw pictures that Pillow had resized. FFmpeg's scaler, which turns YUV into RGB and resizes at once,
is up to 60 grey levels away from that; so for bilinear and bicubic it only makes RGB of the frame's own size and Pillow
does the rest. Area averaging is FFmpeg's, in one step. Pixels that are not square become so in the same step, turns and
mirrors are exact (``display.py``), HDR is mapped afterwards (``hdr.py``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal

from evcap_cli.media.display import shown_size, upright
from evcap_cli.media.hdr import settle, to_sdr, tones_of
from evcap_cli.media.probe import Colours

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from av.video.frame import VideoFrame

    from evcap_cli.media.packets import Skipped
    from evcap_cli.media.probe import MediaInfo
    from evcap_cli.media.scan import OpenVideo

SEEK_WORTH_FRAMES: Final = 12
"""Frames that a seek must save: it costs a demuxer reset and the decoder's delay."""
_PILLOW: Final = {"bilinear": 2, "bicubic": 3}
"""``PIL.Image.Resampling``; Pillow is imported only where it is needed."""


@dataclass(frozen=True)
class Geometry:
    """How a frame is fitted; the words are those of ``backbones.contract.FrameInput``.

    Bilinear and bicubic follow torchvision and Pillow: antialiased, sides that follow from others rounded down, crops
    placed by Python's ``round``. Area is FFmpeg's averaging, sides rounded.
    """

    size: tuple[int, int] | None = None
    short_side: int | None = None
    max_side: int | None = None
    fit: Literal["stretch", "crop", "keep"] = "stretch"
    interpolation: Literal["bilinear", "bicubic", "area"] = "bilinear"

    def scaled_size(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) after resizing, before a crop."""
        if self.fit == "stretch" and self.size is not None:
            return self.size
        if self.fit == "crop" and self.size is not None:
            scale = max(Fraction(self.size[0], height), Fraction(self.size[1], width))
            if self.short_side is not None:
                scale = max(scale, Fraction(self.short_side, min(width, height)))
            return max(self.size[0], self._whole(height * scale)), max(self.size[1], self._whole(width * scale))
        if self.short_side is None:
            raise ValueError("a geometry needs size or short_side")
        scale = Fraction(self.short_side, min(width, height))
        if self.max_side is not None:
            scale = min(scale, Fraction(self.max_side, max(width, height)))
        return max(1, self._whole(height * scale)), max(1, self._whole(width * scale))

    def _whole(self, side: Fraction) -> int:
        return round(side) if self.interpolation == "area" else int(side)

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) of what comes out for an upright frame of ``width`` x ``height``."""
        return self.size if self.fit != "keep" and self.size is not None else self.scaled_size(width, height)


class Fitter:
    """Resizes frames, turns them upright with square pixels and crops them; HDR becomes SDR.

    Keeps one scaler, since making one costs more than using it. What comes out has the size that ``info`` gives, also
    where a stream changes its own on the way. ``colours`` are those that the container states.
    """

    def __init__(self, geometry: Geometry, info: MediaInfo, colours: Colours | None = None) -> None:
        from av.video.reformatter import VideoReformatter

        self.geometry = geometry
        self.info = info
        self.colours = colours or Colours()
        self.size = geometry.output_size(info.width, info.height)
        self.scaled = geometry.scaled_size(info.width, info.height)
        self.scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, upright, as an SDR screen shows it."""
        settle(frame, self.colours)
        if self.geometry.fit == "crop":
            # a stream may change its size on the way: what is cut off then changes, the shape of things does not
            shown = shown_size(frame.width, frame.height, self.info.pixel_aspect, self.info.rotation)
            self.scaled = self.geometry.scaled_size(*shown)
        pixels = self._averaged(frame) if self.geometry.interpolation == "area" else self._resampled(frame)
        tones = tones_of(frame)
        return pixels if tones is None else to_sdr(pixels, tones)

    def _averaged(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """Resized by FFmpeg, before it is turned."""
        height, width = self.scaled[::-1] if self.info.rotation % 180 else self.scaled
        pixels = self._rgb(frame, width=width, height=height, interpolation="AREA")
        top, left = (pixels.shape[0] - self.size[0]) // 2, (pixels.shape[1] - self.size[1]) // 2
        return pixels[top : top + self.size[0], left : left + self.size[1]]

    def _resampled(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """Resized by Pillow, after it was turned: it resizes along one axis first and rounds in between."""
        import numpy as np

        pixels = self._rgb(frame)
        if pixels.shape[:2] != self.scaled:
            from PIL import Image

            # all of it, also where a crop keeps less: Pillow takes a box in single precision, which shows
            picture = Image.fromarray(np.ascontiguousarray(pixels))
            pixels = np.asarray(picture.resize(self.scaled[::-1], _PILLOW[self.geometry.interpolation]))
        top, left = (round((whole - kept) / 2) for whole, kept in zip(self.scaled, self.size, strict=True))
        return pixels[top : top + self.size[0], left : left + self.size[1]]

    def _rgb(self, frame: VideoFrame, **size: Any) -> npt.NDArray[np.uint8]:
        """(H, W, 3), upright, of the size that is given, or the frame's own."""
        pixels: npt.NDArray[Any] = self.scaler.reformat(frame, format="rgb24", threads=1, **size).to_ndarray()
        return upright(pixels, self.info)


def requested_frames(
    opened: OpenVideo, ordinals: Sequence[int], skipped: Skipped, alive: Callable[[], None]
) -> Iterator[tuple[int, VideoFrame]]:
    """The frames numbered ``ordinals`` (sorted, distinct), each once, in order, without those that do not decode."""
    if not ordinals:
        return
    if opened.stamps is None:
        from evcap_cli.media.counted_frames import counted_frames

        yield from counted_frames(opened, ordinals, skipped, alive)
    else:
        yield from _sought(opened, opened.stamps, ordinals, skipped, alive)


def _sought(
    opened: OpenVideo, stamps: Sequence[int], ordinals: Sequence[int], skipped: Skipped, alive: Callable[[], None]
) -> Iterator[tuple[int, VideoFrame]]:
    from evcap_cli.media import ffmpeg_log
    from evcap_cli.media.packets import decoded

    ticks = opened.timeline.time_base
    here, place, resuming = -1, 0, False
    while place < len(ordinals):
        first = ordinals[place]
        keys, begin = opened.keys_before(first)
        seeking = opened.file.seeks and bool(keys) and (resuming or begin - here >= SEEK_WORTH_FRAMES)
        packets = opened.file.from_key(keys) if seeking else opened.file.from_start()
        fresh, bad = True, skipped.packets
        due = max(begin, here + 1) if seeking else here + 1
        shown_frame: VideoFrame | None = None
        skipped.gave_up = False
        for frame in decoded(packets, skipped, alive):
            number = None if frame.pts is None else _number(stamps, frame.pts)
            if number is None or number <= here:
                continue
            if fresh and number > first and seeking and skipped.packets == bad:
                # the key frame did not begin a run that decodes: this file's index lies
                opened.file.seeks = False
                break
            if skipped.packets > bad:
                skipped.lost += (stamps[number] - stamps[due]) * ticks
            fresh, due = False, number + 1
            while place < len(ordinals) and ordinals[place] < number:
                if shown_frame is not None and not (skipped.packets or ffmpeg_log.count()):
                    # a packet of a sound stream that gives no frame of its own leaves the one before it on screen
                    yield ordinals[place], shown_frame
                place += 1  # else it did not decode
            here, shown_frame = number, frame
            if place < len(ordinals) and ordinals[place] == number:
                yield number, frame
                place += 1
            if place == len(ordinals) or _worth_a_seek(opened, here, ordinals[place]):
                break
        else:
            if skipped.packets > bad and due < len(stamps):
                until = stamps[-1] if skipped.reached is None else min(max(skipped.reached, stamps[due]), stamps[-1])
                skipped.lost += (until - stamps[due]) * ticks
            if shown_frame is not None and not (skipped.packets or skipped.gave_up or ffmpeg_log.count()):
                for ordinal in ordinals[place:]:
                    yield ordinal, shown_frame
            if not (skipped.gave_up and opened.file.seeks and skipped.reached is not None):
                return
            # nothing decodes here: go on with what a later key frame serves
            place = _behind(opened, ordinals, place, skipped.reached)
            resuming = True
            continue
        resuming = False


def _number(stamps: Sequence[int], stamp: int) -> int | None:
    """The number of the frame that has this time stamp."""
    number = bisect_left(stamps, stamp)
    return number if number < len(stamps) and stamps[number] == stamp else None


def _behind(opened: OpenVideo, ordinals: Sequence[int], place: int, reached: int) -> int:
    """The first of ``ordinals`` from ``place`` on whose key frame lies past what was tried."""
    while place < len(ordinals):
        keys, _ = opened.keys_before(ordinals[place])
        if keys and keys[-1].pts > reached:
            break
        place += 1
    return place


def _worth_a_seek(opened: OpenVideo, here: int, target: int) -> bool:
    if not opened.file.seeks or target - here < SEEK_WORTH_FRAMES:
        return False
    return opened.keys_before(target)[1] - here >= SEEK_WORTH_FRAMES
