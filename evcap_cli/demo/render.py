"""One clip of the demo world as a video file: facts in, H.264 and AAC in MP4 out.

Puts place, mood, figures and sound together and encodes them. What is drawn and what sounds is decided in:
scenery.py, motions.py, figure_styles.py, figures.py, sound.py. Everything random comes from ``facts.seed``, from a
stream of its own for each purpose, so that changing one fact leaves everything it does not concern as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from evcap_cli.files import WholeFile

from .brush import Brush, Point
from .cutouts import draw_cutout, make_cutout_style
from .facts import ClipFacts
from .figure_styles import FigureStyle, make_figure_style
from .figures import draw_figure
from .motions import Stage
from .scenery import Air, draw_place, grading
from .sound import RATE, Signal, sound_of

WIDTH, HEIGHT = 256, 192
FPS = Fraction(25, 2)
OVERSAMPLING = 2
MOSAIC = 16
"""Pixels, of the oversampled picture, of a square in the background of the variant world."""
Pixels = npt.NDArray[np.uint8]

PURPOSES = ("place", "air", "stage", "styles", "camera", "grain", "sound")


def render_clip(facts: ClipFacts, path: Path) -> None:
    """Write the clip to ``path`` as MP4, whole or not at all."""
    whole = WholeFile(path)
    try:
        _encode(facts, whole.temporary)
        whole.commit()
    finally:
        whole.discard()


def frame_count(facts: ClipFacts) -> int:
    """How many frames the clip has."""
    return max(1, round(facts.seconds * FPS))


def draw_frames(facts: ClipFacts) -> Iterator[Pixels]:
    """The frames of a clip in order, each (HEIGHT, WIDTH, 3) RGB."""
    pair = len(facts.subjects) == 2
    camera, grain = _random(facts, "camera"), _random(facts, "grain")
    grade = grading(facts.mood, float(camera.uniform(0.6, 1.0)))
    # Figures keep most of their own colours, or they would drown in the mood of their place.
    skin_grade = grading(facts.mood, float(camera.uniform(0.3, 0.5)))
    size = float(camera.uniform(0.60, 0.70) if pair else camera.uniform(0.62, 0.76))
    floor = float(camera.uniform(0.05, 0.10)) * HEIGHT / WIDTH
    stage, air = Stage(facts, _random(facts, "stage")), Air(facts.mood, _random(facts, "air"))
    styles = _looks(facts)

    scale = WIDTH * OVERSAMPLING
    canvas = (scale, HEIGHT * OVERSAMPLING)
    scene = Image.new("RGB", canvas)
    draw_place(Brush(ImageDraw.Draw(scene), (0.0, canvas[1]), scale, grade=grade), facts.place, _random(facts, "place"))
    if facts.variant:
        scene = scene.reduce(MOSAIC).resize(canvas, Image.Resampling.NEAREST)
    else:
        scene = scene.filter(ImageFilter.GaussianBlur(1.2 * OVERSAMPLING))
    draw_one = draw_cutout if facts.variant else draw_figure

    noise = grain.normal(0.0, float(grain.uniform(1.0, 4.0)), (HEIGHT + 32, WIDTH + 32, 1)).astype(np.int16)
    for index in range(frame_count(facts)):
        t = float(index / FPS)
        image = scene.copy()
        draw = ImageDraw.Draw(image)
        air.draw(Brush(draw, (0.0, canvas[1]), scale, grade=grade), t)
        staged = stage.at(t)
        hands: list[Point] = [(0.0, 0.0)] * len(styles)
        # Left before right whoever acts: what covers what must not tell the roles.
        for who in sorted(range(len(styles)), key=lambda who: staged.poses[who].facing, reverse=True):
            pose = staged.poses[who]
            ground = (pose.x * scale, canvas[1] - floor * scale)
            brush = Brush(draw, ground, size * canvas[1], grade=skin_grade)
            hands[who] = draw_one(brush, styles[who], pose, t)
        if staged.parcel is not None:
            passed = Brush(draw, _between(hands, staged.parcel), size * canvas[1], grade=skin_grade)
            (_draw_ball if facts.variant else _draw_parcel)(passed)
        pixels = np.asarray(image.reduce(OVERSAMPLING), np.int16)
        top, left = grain.integers(0, 33, 2)
        yield np.clip(pixels + noise[top : top + HEIGHT, left : left + WIDTH], 0, 255).astype(np.uint8)


def _random(facts: ClipFacts, purpose: str) -> np.random.Generator:
    return np.random.default_rng((facts.seed, PURPOSES.index(purpose)))


def _looks(facts: ClipFacts) -> list[FigureStyle]:
    """Looks of the subjects, drawn in the order of the picture: left, then right."""
    rng = _random(facts, "styles")
    emotion = None if facts.hidden else facts.emotion
    sides = ("left", "right") if facts.actor_side == "left" else ("right", "left")
    placed = dict(zip(sides, facts.subjects, strict=False))
    make = make_cutout_style if facts.variant else make_figure_style
    styles = {side: make(placed.get(side, facts.subjects[0]), emotion, rng) for side in ("left", "right")}
    return [styles[side] for side, _ in zip(sides, facts.subjects, strict=False)]


def _draw_parcel(brush: Brush) -> None:
    brush.outline = ((22, 16, 26), 0.01)
    brush.polygon([(-0.075, -0.02), (0.075, -0.02), (0.075, 0.12), (-0.075, 0.12)], (228, 60, 70))
    brush.stroke([(0.0, -0.02), (0.0, 0.12)], 0.03, (250, 220, 80))
    brush.stroke([(-0.075, 0.05), (0.075, 0.05)], 0.03, (250, 220, 80))


def _draw_ball(brush: Brush) -> None:
    brush.outline = ((250, 250, 246), 0.012)
    brush.disc((0.0, 0.03), 0.08, (240, 120, 30))
    brush.stroke([(-0.06, 0.03), (0.06, 0.03)], 0.02, (250, 250, 246))


def _between(hands: list[Point], share: float) -> Point:
    (x, y), (to_x, to_y) = hands
    return x + (to_x - x) * share, y + (to_y - y) * share


def _encode(facts: ClipFacts, path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        picture = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        # One thread: with more, x264's decisions and so the pixels depend on the machine.
        picture.thread_count = 1
        voice = None
        if not facts.silent:
            voice = container.add_stream("aac", rate=RATE, layout="mono")
            voice.bit_rate = 48000
        for index, pixels in enumerate(draw_frames(facts)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, 1 / FPS
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if voice is not None:
            samples = round(frame_count(facts) / FPS * RATE)
            for sounding in _audio_frames(sound_of(facts.sounding, samples, _random(facts, "sound"))):
                container.mux(voice.encode(sounding))
            container.mux(voice.encode(None))


def _audio_frames(signal: Signal, size: int = 1024) -> Iterator[av.AudioFrame]:
    for start in range(0, len(signal), size):
        frame = av.AudioFrame.from_ndarray(signal[None, start : start + size], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        yield frame
