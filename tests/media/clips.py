"""Clips for tests: each frame carries its number and its four corners in colour, the sound is a tone that one can find.

``make_clip`` writes any container and codec PyAV encodes; ``number_in`` and ``corners_of`` read a decoded picture back,
whatever its size. ``cut`` and ``flip_bits`` damage files.

Notation: frames are drawn upright, (H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

BITS = 10
CORNERS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "yellow": (220, 220, 30)}
TICKS = 90_000
"""Time stamps are written in this fine base, so that any time can be requested."""


def draw(number: int, size: tuple[int, int], shade: int = 0) -> Pixels:
    """Frame ``number`` at (width, height): coloured corners, the number as ten black or white blocks in the middle."""
    width, height = size
    picture = np.empty((height, width, 3), np.uint8)
    names = list(CORNERS)
    for place, name in enumerate(names):
        rows = slice(0, height // 2) if place < 2 else slice(height // 2, None)
        columns = slice(0, width // 2) if place % 2 == 0 else slice(width // 2, None)
        picture[rows, columns] = CORNERS[name]
    # something that moves, so that frames between key frames need the ones before them
    x = (number * 5) % max(1, width - width // 8)
    picture[height // 16 : height // 5, x : x + width // 8] = (shade + 37 * number) % 200 + 20
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        value = 235 if number >> bit & 1 else 20
        picture[3 * height // 8 : 5 * height // 8, edges[bit] : edges[bit + 1]] = value
    return picture


def number_in(pixels: Pixels) -> int:
    """The number that ``draw`` wrote; reads any size and survives compression."""
    height, width = pixels.shape[:2]
    edges = np.linspace(0, width, BITS + 1)
    centres = ((edges[:-1] + edges[1:]) / 2).astype(int)
    band = pixels[int(0.45 * height) : max(int(0.55 * height), int(0.45 * height) + 1)].mean((0, 2))
    return sum(1 << bit for bit, x in enumerate(centres) if band[x] > 127)


def corners_of(pixels: Pixels) -> tuple[str, ...]:
    """Names of the colours at top left, top right, bottom left and bottom right; upright: red, green, blue, yellow."""
    height, width = pixels.shape[:2]
    found = []
    for y in (int(height * 0.28), int(height * 0.9)):
        for x in (int(width * 0.1), int(width * 0.9)):
            distance = {n: float(np.abs(pixels[y, x].astype(int) - c).sum()) for n, c in CORNERS.items()}
            found.append(min(distance, key=lambda name: distance[name]))
    return tuple(found)


UPRIGHT = ("red", "green", "blue", "yellow")


class _Pipe:
    """A file that cannot seek back, as a stream would be written: the container never learns its length."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()


def make_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 25,
    size: tuple[int, int] = (160, 120),
    audio: bool = True,
    video: bool = True,
    codec: str = "libx264",
    gop: int = 12,
    bframes: int = 2,
    vfr: Sequence[float] | None = None,
    rotation: int = 0,
    matrix: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
    start_offset: float = 0.0,
    audio_offset: float | None = None,
    color_range: int | None = None,
    pix_fmt: str = "yuv420p",
    rate: int = 16000,
    channels: str = "mono",
    tone: float = 440.0,
    streamed: bool = False,
    format: str | None = None,  # noqa: A002 (PyAV's word)
    options: dict[str, str] | None = None,
    pictures: Sequence[Pixels] | None = None,
    audio_codec: str | None = None,
) -> Path:
    """Write a clip.

    Args:
        size: (width, height) of the upright picture. vfr: presentation time of each frame; else ``seconds`` x ``fps``.
        rotation: degrees clockwise that a player must turn the stored picture by; what is shown is upright.
        matrix: a, b, c, d of the display matrix, instead of ``rotation``; the picture is stored as it is drawn.
        aspect: width of a pixel over its height.
        start_offset: seconds added to all time stamps. audio_offset: those of the sound, where they differ.
        color_range: 2 is full range. streamed: no length and no index are written.
        pictures: shown instead of ``draw``.
    """
    times = [Fraction(t).limit_denominator(TICKS) for t in vfr] if vfr is not None else []
    if vfr is None:
        count = round(seconds * fps) if pictures is None else len(pictures)
        times = [Fraction(n, fps) for n in range(count)]
    target: Any = _Pipe(path) if streamed else str(path)
    if streamed and format is None:
        format = {"mkv": "matroska", "webm": "webm", "ts": "mpegts"}[path.suffix[1:]]  # noqa: A001
    with av.open(target, "w", format=format) as container:
        sound = None
        if video:
            picture = _picture_stream(
                container, codec, fps, size, gop, bframes, pix_fmt, rotation, color_range, options
            )
            if matrix is not None:
                a, b, c, d = (round(entry * 65536) for entry in matrix)
                picture.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
            if aspect is not None:
                picture.codec_context.sample_aspect_ratio = aspect
        if audio:
            fallback = "libopus" if path.suffix == ".webm" else "aac"
            sound = container.add_stream(
                audio_codec or fallback, rate=48000 if path.suffix == ".webm" else rate, layout=channels
            )
        if video:
            for number, time in enumerate(times):
                drawn = draw(number, size) if pictures is None else pictures[number]
                container.mux(picture.encode(_frame(drawn, time, start_offset, rotation, pix_fmt, color_range)))
            container.mux(picture.encode())
        if sound is not None:
            offset = start_offset if audio_offset is None else audio_offset
            length = seconds if vfr is None and pictures is None else float(times[-1]) + 1 / fps
            _write_tone(container, sound, length, tone, offset)
    if streamed:
        target.close()
    return path


def _picture_stream(
    container: Any,
    codec: str,
    fps: int,
    size: tuple[int, int],
    gop: int,
    bframes: int,
    pix_fmt: str,
    rotation: int,
    color_range: int | None,
    options: dict[str, str] | None,
) -> Any:
    quality = {"libx264": {"crf": "12", "preset": "veryfast", "threads": "1"}}.get(codec, {})
    if codec == "libx265":
        quality = {"x265-params": f"log-level=none:pools=1:keyint={gop}:bframes={bframes}", "crf": "14"}
    stream = container.add_stream(codec, rate=fps, options={**quality, **(options or {})})
    stream.width, stream.height = size if rotation % 180 == 0 else size[::-1]
    stream.pix_fmt = pix_fmt
    stream.gop_size = gop
    if codec in ("libx264", "mpeg4", "mpeg2video", "libx265"):
        stream.codec_context.max_b_frames = bframes
    if codec in ("mpeg4", "mpeg2video", "mjpeg", "libvpx", "libvpx-vp9"):
        stream.bit_rate = 3_000_000
    if codec not in ("mpeg4", "mpeg2video", "libsvtav1"):
        stream.codec_context.time_base = Fraction(1, TICKS)
    if color_range is not None:
        stream.codec_context.color_range = color_range
    if rotation:
        stream.set_display_rotation(-rotation)
    return stream


def _frame(
    drawn: Pixels, time: Fraction, offset: float, rotation: int, pix_fmt: str, color_range: int | None
) -> av.VideoFrame:
    stored = np.ascontiguousarray(np.rot90(drawn, rotation // 90)) if rotation else drawn
    frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
    if color_range is not None:
        frame = frame.reformat(format=pix_fmt, dst_color_range=color_range)
    frame.pts = round((time + Fraction(offset).limit_denominator(TICKS)) * TICKS)
    frame.time_base = Fraction(1, TICKS)
    return frame


def _write_tone(container: Any, stream: Any, seconds: float, tone: float, offset: float) -> None:
    rate = stream.rate
    clock = np.arange(round(seconds * rate)) / rate
    wave = (0.5 * np.sin(2 * np.pi * tone * clock)).astype(np.float32)
    layout = stream.layout.name
    for start in range(0, len(wave), 960):
        block = np.repeat(wave[None, start : start + 960], stream.layout.nb_channels, 0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
        frame.rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = start + round(offset * rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def cut(source: Path, target: Path, share: float) -> Path:
    """The first ``share`` of a file's bytes."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def flip_bits(
    source: Path, target: Path, *, every: int = 400, start: float = 0.3, end: float = 0.9, seed: int = 0
) -> Path:
    """One flipped bit in about ``every`` bytes between ``start`` and ``end`` (shares of the file)."""
    data = bytearray(source.read_bytes())
    generator = np.random.default_rng(seed)
    first, last = int(len(data) * start), int(len(data) * end)
    for place in generator.integers(first, last, max(1, (last - first) // every)):
        data[place] ^= 1 << int(generator.integers(8))
    target.write_bytes(bytes(data))
    return target
