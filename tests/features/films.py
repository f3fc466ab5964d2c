"""Short films for the pipeline's tests: a bright square that wanders over a gradient, a tone that rises."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def make_film(path: Path, *, frames: int = 40, fps: int = 20, size=(64, 48), sound: bool = True, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    width, height = size
    base = np.linspace(0, 160, width * height * 3).reshape(height, width, 3) * generator.uniform(0.3, 1, 3)
    speed = generator.uniform(0.5, 2)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=fps, options={"g": "10", "crf": "10"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        tone = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number in range(frames):
            drawn = base.copy()
            x = int(number * speed) % (width - 8)
            drawn[10:20, x : x + 8] = 255
            frame = av.VideoFrame.from_ndarray(drawn.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        if tone is not None:
            time = np.arange(frames * 16000 // fps) / 16000
            samples = (np.sin(2 * np.pi * (200 + 300 * seed + 100 * time) * time) * 0.5).astype(np.float32)
            for at in range(0, len(samples), 1024):
                block = av.AudioFrame.from_ndarray(samples[None, at : at + 1024], format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 16000, at, Fraction(1, 16000)
                container.mux(tone.encode(block))
            container.mux(tone.encode())
    return path
