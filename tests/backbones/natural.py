"""Pictures as cameras take them, drawn: structure at every scale, hard edges, saturated colours, grain."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.media.clips import Pixels, make_clip


def natural_pictures(count: int, size: tuple[int, int], seed: int = 0) -> list[Pixels]:
    """``count`` frames (H, W, 3) of (width, height): a scene that drifts, with a few sharp things in it."""
    generator = np.random.default_rng(seed)
    width, height = size
    wide = (width + 4 * count, height)
    scene = np.full((height, wide[0], 3), 110.0)
    for cells in (2, 4, 8, 16, 32, 64, 128):
        noise = generator.normal(0, 1, (cells, 2 * cells, 3))
        planes = [
            np.asarray(Image.fromarray(noise[..., c].astype(np.float32)).resize(wide, Image.Resampling.BICUBIC))
            for c in range(3)
        ]
        scene += 90 / cells**0.7 * np.stack(planes, axis=2)
    for _ in range(12):
        top, left = int(generator.integers(0, height)), int(generator.integers(0, wide[0]))
        bottom, right = top + int(generator.integers(4, height // 3)), left + int(generator.integers(4, height // 3))
        scene[top:bottom, left:right] = generator.uniform(0, 255, 3)
    scene = np.clip(scene + generator.normal(0, 3, scene.shape), 0, 255).astype(np.uint8)
    return [scene[:, 4 * number : 4 * number + width] for number in range(count)]


def natural_clip(path: Path, size: tuple[int, int], *, count: int = 6, rotation: int = 0) -> Path:
    """Those pictures as H.264."""
    return make_clip(
        path,
        pictures=natural_pictures(count, size),
        size=size,
        audio=False,
        rotation=rotation,
        pix_fmt="yuv420p" if not (size[0] % 2 or size[1] % 2) else "yuv444p",
        options={"crf": "20"},
    )


def decoded_images(path: Path, *, rotation: int = 0) -> list[Image.Image]:
    """Every frame of FFmpeg's best stream in Pillow, upright: what one would give to a library's transform."""
    turned = {0: None, 90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
    with av.open(str(path)) as container:
        images = [frame.to_image() for frame in container.decode(container.streams.best("video"))]
    way = turned[rotation]
    return images if way is None else [image.transpose(way) for image in images]
