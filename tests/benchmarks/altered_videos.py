"""Copies of videos whose pictures are changed, each frame in the same way; the audio is copied as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
import numpy.typing as npt

Frame: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3) RGB."""
Alteration: TypeAlias = Callable[[Frame, np.random.Generator, np.random.Generator], Frame]
"""Takes a frame, random numbers that are the same for each frame of a video, and others that go on."""
NOISE_DEVIATION = 64.0
"""Of the levels 0 to 255."""
TILES = 4
"""Along each side of a mosaic."""
ENCODING = {"preset": "veryfast", "crf": "23"}
"""As the clips of the demo world are encoded."""


def same(frame: Frame, of_video: np.random.Generator, of_frame: np.random.Generator) -> Frame:
    """Nothing is changed: what encoding once more does on its own."""
    return frame


def inverted(frame: Frame, of_video: np.random.Generator, of_frame: np.random.Generator) -> Frame:
    """Each colour is its complement."""
    return 255 - frame


def noisy(frame: Frame, of_video: np.random.Generator, of_frame: np.random.Generator) -> Frame:
    """Gaussian noise on each colour of each pixel, other noise in each frame."""
    noise = of_frame.normal(0, NOISE_DEVIATION, frame.shape)
    return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


def mosaic(frame: Frame, of_video: np.random.Generator, of_frame: np.random.Generator) -> Frame:
    """Tiles in another order, which is the same in each frame; a rest at the right and below stays."""
    height, width = frame.shape[0] // TILES, frame.shape[1] // TILES
    corners = [(row * height, column * width) for row in range(TILES) for column in range(TILES)]
    order = of_video.permutation(len(corners))
    made = frame.copy()
    for (top, left), number in zip(corners, order, strict=True):
        from_top, from_left = corners[number]
        made[top : top + height, left : left + width] = frame[
            from_top : from_top + height, from_left : from_left + width
        ]
    return made


ALTERATIONS: dict[str, Alteration] = {
    "encoded again": same,
    "inverted colours": inverted,
    "noise": noisy,
    "mosaic": mosaic,
}


def alter(source: Path, target: Path, alteration: Alteration) -> None:
    """Write ``source`` with other pictures to ``target``, which appears whole; one that is there is kept."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    seed = int.from_bytes(hashlib.blake2b(source.stem.encode(), digest_size=8).digest(), "big")
    of_frame = np.random.default_rng([seed, 1])
    with av.open(str(source)) as read, av.open(str(part), "w", format="mp4") as write:
        picture = read.streams.video[0]
        made = write.add_stream("libx264", rate=picture.average_rate, options=ENCODING)
        made.width, made.height, made.pix_fmt = picture.width, picture.height, "yuv420p"
        sounds = {stream.index: write.add_stream_from_template(stream) for stream in read.streams.audio}
        for packet in read.demux():
            if packet.stream_index in sounds:
                if packet.dts is not None:
                    packet.stream = sounds[packet.stream_index]
                    write.mux(packet)
                continue
            for frame in packet.decode():
                pixels = alteration(frame.to_ndarray(format="rgb24"), np.random.default_rng(seed), of_frame)
                changed = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                changed.pts, changed.time_base = frame.pts, frame.time_base
                write.mux(made.encode(changed))
        write.mux(made.encode())
    part.replace(target)


def altered(sources: Sequence[Path], folder: Path, kind: str) -> list[Path]:
    """The copies of ``sources`` of one kind of ``ALTERATIONS``, in a folder of their own below ``folder``."""
    targets = [folder / kind.replace(" ", "-") / source.name for source in sources]
    for source, target in zip(sources, targets, strict=True):
        alter(source, target, ALTERATIONS[kind])
    return targets
