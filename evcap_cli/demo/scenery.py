"""Places and colour moods: what stands in the background and in which light.

A mood is a grading of every colour and something small in the air; it shows an emotion, not necessarily that of the
clip (hidden clips draw it independently). Places differ in form, not only in colour, since the mood recolours them.

Notation: scene coordinates have one unit of width and ``ASPECT`` of height, y up from the lower edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from .brush import Brush, Color, Grade, Point, arc_points

ASPECT = 0.75
HORIZON = 0.3


@dataclass(frozen=True)
class Mood:
    """Light of one emotion.

    Args:
        tint: multiplies every colour.
        light: mixed in by ``haze``.
        saturation: of what is left.
        motes: form of what is in the air, colour and (x, y) speed in frame widths a second.
    """

    tint: tuple[float, float, float]
    light: Color
    haze: float
    saturation: float
    motes: tuple[str, Color, Point]


MOODS: dict[str, Mood] = {
    "anger": Mood((1.12, 0.66, 0.58), (190, 20, 10), 0.2, 1.15, ("spark", (255, 90, 20), (0.0, 0.03))),
    "anticipation": Mood((1.1, 0.94, 0.62), (255, 150, 40), 0.22, 1.05, ("streak", (255, 214, 120), (0.03, 0.0))),
    "disgust": Mood((0.84, 1.04, 0.52), (120, 140, 20), 0.25, 0.85, ("bubble", (150, 190, 40), (0.0, 0.015))),
    "fear": Mood((0.6, 0.54, 0.82), (40, 10, 80), 0.28, 0.7, ("fog", (150, 130, 190), (0.02, 0.0))),
    "joy": Mood((1.12, 1.08, 0.92), (255, 240, 130), 0.16, 1.35, ("confetti", (255, 90, 150), (0.0, -0.03))),
    "sadness": Mood((0.66, 0.76, 0.92), (90, 110, 140), 0.32, 0.35, ("rain", (150, 180, 220), (0.0, -0.12))),
    "surprise": Mood((1.06, 0.82, 1.14), (240, 90, 240), 0.2, 1.2, ("star", (255, 255, 120), (0.0, 0.0))),
    "trust": Mood((0.9, 1.04, 1.06), (150, 230, 230), 0.24, 0.9, ("petal", (255, 190, 210), (0.008, -0.01))),
}


def grading(mood: str, strength: float) -> Grade:
    """The colour map of a mood, ``strength`` from 0 (none) to 1 (full)."""
    chosen = MOODS[mood]

    @cache
    def grade(color: Color) -> Color:
        grey = sum(color) / 3
        vivid = [grey + (c - grey) * chosen.saturation for c in color]
        tinted = [
            v * k * (1 - chosen.haze) + light * chosen.haze
            for v, k, light in zip(vivid, chosen.tint, chosen.light, strict=True)
        ]
        mixed = [c + (m - c) * strength for c, m in zip(color, tinted, strict=True)]
        red, green, blue = (int(min(255.0, max(0.0, m))) for m in mixed)
        return red, green, blue

    return grade


class Air:
    """What is in the air of a mood: a few small things that drift in the background.

    Args:
        mood: whose.
        rng: of places.
    """

    def __init__(self, mood: str, rng: np.random.Generator) -> None:
        self.form, self.color, self.speed = MOODS[mood].motes
        count = {"rain": 22, "fog": 5, "bubble": 12}.get(self.form, 14)
        self.places = [(float(x), float(y)) for x, y in rng.uniform(0, 1, (count, 2))]

    def draw(self, scene: Brush, t: float) -> None:
        """Draw what is in the air after ``t`` seconds."""
        for index, (x, y) in enumerate(self.places):
            at = (x + self.speed[0] * t) % 1.0, 0.22 + 0.53 * ((y + self.speed[1] * t / 0.53) % 1.0)
            self._draw_mote(scene, at, index, t)

    def _draw_mote(self, scene: Brush, at: Point, index: int, t: float) -> None:
        x, y = at
        size = 0.008 + 0.006 * (index % 3)
        if self.form == "rain":
            scene.stroke([(x, y), (x - 0.006, y - 0.04)], 0.005, self.color)
        elif self.form == "streak":
            scene.stroke([(x, y), (x + 0.04, y)], 0.006, self.color)
        elif self.form == "fog":
            scene.oval((x, y * 0.5 + 0.25), 0.13, 0.018, self.color)
        elif self.form == "bubble":
            scene.arc((x, y), size * 1.3, size * 1.3, 0, 360, 0.005, self.color)
        elif self.form == "star":
            for turn in range(4):
                a = math.radians(45 * turn)
                reach = size * (1.6 + 0.5 * math.sin(3 * t + index))
                dx, dy = reach * math.cos(a), reach * math.sin(a)
                scene.stroke([(x - dx, y - dy), (x + dx, y + dy)], 0.005, self.color)
        elif self.form == "confetti":
            color = ((255, 90, 150), (80, 170, 255), (255, 220, 60), (90, 220, 110))[index % 4]
            scene.polygon([(x, y), (x + size, y + 0.004), (x + size, y + size), (x, y + size)], color)
        elif self.form == "petal":
            scene.oval((x, y), size * 1.2, size * 0.6, self.color, rotation=40.0 * index)
        else:
            scene.disc((x, y), size * 0.8, self.color)


def draw_place(scene: Brush, place: str, rng: np.random.Generator) -> None:
    """Draw everything that stands still in the background."""
    PLACES_DRAWN[place](scene, rng)


def _box(scene: Brush, left: float, low: float, right: float, high: float, color: Color) -> None:
    scene.polygon([(left, low), (right, low), (right, high), (left, high)], color)


def _varied(color: Color, rng: np.random.Generator, spread: int = 16) -> Color:
    red, green, blue = (
        int(min(255, max(0, c + s))) for c, s in zip(color, rng.integers(-spread, spread + 1, 3), strict=True)
    )
    return red, green, blue


def _sky(scene: Brush, top: Color, low: Color) -> None:
    bands = 8
    for band in range(bands):
        share = band / (bands - 1)
        mixed = tuple(int(a + (b - a) * share) for a, b in zip(low, top, strict=True))
        y = HORIZON - 0.06 + (ASPECT - HORIZON + 0.06) * band / bands
        _box(scene, 0, y, 1, y + 0.08, (mixed[0], mixed[1], mixed[2]))


def _street(scene: Brush, rng: np.random.Generator) -> None:
    _sky(scene, (168, 196, 222), (214, 222, 226))
    x = -0.05 - 0.1 * float(rng.uniform())
    while x < 1:
        width, height = float(rng.uniform(0.16, 0.3)), float(rng.uniform(0.26, 0.44))
        wall = _varied(((178, 132, 112), (190, 176, 152), (150, 150, 160))[int(rng.integers(3))], rng)
        _box(scene, x, HORIZON, x + width, HORIZON + height, wall)
        columns = max(2, int(width / 0.07))
        for row in range(int(height / 0.09)):
            for column in range(columns):
                left = x + width * (column + 0.25) / columns
                low = HORIZON + 0.035 + 0.09 * row
                _box(scene, left, low, left + width * 0.5 / columns, low + 0.05, (104, 122, 140))
        x += width + 0.01
    _box(scene, 0, 0.22, 1, HORIZON, _varied((176, 172, 166), rng))
    _box(scene, 0, 0, 1, 0.22, _varied((112, 112, 116), rng))
    start = float(rng.uniform(-0.2, 0))
    for index in range(6):
        _box(scene, start + 0.24 * index, 0.04, start + 0.24 * index + 0.13, 0.06, (226, 222, 206))


def _park(scene: Brush, rng: np.random.Generator) -> None:
    _sky(scene, (160, 204, 236), (214, 232, 238))
    _box(scene, 0, 0, 1, HORIZON, _varied((128, 176, 96), rng))
    scene.oval((float(rng.uniform(0.2, 0.8)), 0.02), 0.6, 0.06, (206, 190, 150))
    for x in (float(rng.uniform(0.0, 0.2)), float(rng.uniform(0.4, 0.6)), float(rng.uniform(0.8, 1.0))):
        size = float(rng.uniform(0.09, 0.13))
        _box(scene, x - 0.018, HORIZON - 0.03, x + 0.018, HORIZON + 0.16, (116, 84, 58))
        leaves = _varied((74, 136, 72), rng)
        for dx, dy in ((-0.6, 0.0), (0.6, 0.0), (0.0, 0.6)):
            scene.disc((x + dx * size, HORIZON + 0.2 + dy * size), size, leaves)
    for _ in range(14):
        x, y = float(rng.uniform()), float(rng.uniform(0.02, HORIZON - 0.04))
        scene.disc((x, y), 0.008, ((240, 220, 120), (236, 160, 180), (240, 240, 240))[int(rng.integers(3))])


def _room(scene: Brush, rng: np.random.Generator) -> None:
    wall = _varied(((214, 196, 170), (186, 198, 196), (208, 184, 184))[int(rng.integers(3))], rng)
    _box(scene, 0, HORIZON, 1, ASPECT, wall)
    stripe = (wall[0] * 95 // 100, wall[1] * 95 // 100, wall[2] * 95 // 100)
    for index in range(8):
        _box(scene, 0.03 + index / 8, HORIZON, 0.08 + index / 8, ASPECT, stripe)
    _box(scene, 0, 0, 1, HORIZON, _varied((158, 118, 84), rng))
    for index in range(1, 4):
        _box(scene, 0, HORIZON * index / 4, 1, HORIZON * index / 4 + 0.004, (126, 92, 64))
    _box(scene, 0, HORIZON - 0.005, 1, HORIZON + 0.015, (236, 230, 220))
    x = float(rng.uniform(0.06, 0.2))
    _box(scene, x, 0.45, x + 0.22, 0.69, (240, 238, 230))
    _box(scene, x + 0.015, 0.465, x + 0.205, 0.675, (170, 206, 230))
    _box(scene, x + 0.1, 0.465, x + 0.12, 0.675, (240, 238, 230))
    x = float(rng.uniform(0.6, 0.72))
    _box(scene, x, 0.5, x + 0.18, 0.64, (110, 80, 56))
    _box(scene, x + 0.015, 0.515, x + 0.165, 0.625, _varied((180, 150, 120), rng, 50))
    sofa = _varied((150, 108, 108), rng, 30)
    left = float(rng.uniform(0.3, 0.5))
    _box(scene, left, HORIZON - 0.03, left + 0.34, HORIZON + 0.1, sofa)
    _box(scene, left - 0.03, HORIZON - 0.04, left + 0.03, HORIZON + 0.05, sofa)
    _box(scene, left + 0.31, HORIZON - 0.04, left + 0.37, HORIZON + 0.05, sofa)


def _beach(scene: Brush, rng: np.random.Generator) -> None:
    _sky(scene, (130, 194, 240), (224, 236, 238))
    scene.disc((float(rng.uniform(0.1, 0.9)), 0.66), 0.055, (255, 240, 170))
    _box(scene, 0, HORIZON - 0.04, 1, HORIZON + 0.12, _varied((70, 150, 190), rng))
    for row in range(3):
        y = HORIZON + 0.02 + 0.03 * row
        for x in rng.uniform(0, 1, 5).tolist():
            scene.stroke([(x, y), (x + 0.08, y)], 0.006, (190, 222, 234))
    _box(scene, 0, 0, 1, HORIZON - 0.02, _varied((232, 208, 152), rng))
    scene.stroke([(i / 12, HORIZON - 0.02 + 0.008 * math.sin(i * 1.7)) for i in range(13)], 0.016, (240, 240, 232))
    x = 0.1 if rng.uniform() < 0.5 else 0.88
    scene.stroke([(x, 0.2), (x + 0.02, 0.56)], 0.012, (160, 130, 100))
    colors = ((214, 96, 86), (240, 234, 222))
    for index in range(4):
        start, end = 180 - 45 * index, 135 - 45 * index
        scene.polygon([(x + 0.02, 0.53), *arc_points((x + 0.02, 0.53), 0.17, 0.12, start, end, 5)], colors[index % 2])


def _night(scene: Brush, rng: np.random.Generator) -> None:
    _sky(scene, (18, 22, 56), (48, 52, 96))
    moon: Point = (float(rng.uniform(0.12, 0.88)), 0.64)
    scene.disc(moon, 0.055, (246, 242, 206))
    scene.disc((moon[0] + 0.028, moon[1] + 0.01), 0.045, (24, 28, 64))
    for x, y in rng.uniform(0, 1, (34, 2)):
        scene.disc((float(x), HORIZON + 0.08 + 0.37 * float(y)), 0.004, (236, 236, 220))
    hills = _varied((28, 34, 52), rng, 8)
    for _ in range(3):
        scene.oval((float(rng.uniform(0, 1)), HORIZON - 0.03), 0.4, float(rng.uniform(0.08, 0.16)), hills)
    _box(scene, 0, 0, 1, HORIZON - 0.03, _varied((40, 50, 62), rng, 8))
    x = float(rng.choice((0.08, 0.92)))
    scene.oval((x, 0.08), 0.16, 0.05, (120, 110, 70))
    scene.stroke([(x, 0.1), (x, 0.5)], 0.012, (20, 20, 26))
    scene.disc((x, 0.52), 0.03, (255, 232, 150))


PLACES_DRAWN: dict[str, Callable[[Brush, np.random.Generator], None]] = {
    "street": _street,
    "park": _park,
    "room": _room,
    "beach": _beach,
    "night": _night,
}
