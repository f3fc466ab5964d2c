"""Faces of the demo world: eight emotions in thick strokes that survive being scaled to a few dozen pixels.

A face is drawn into a round head of radius 1 around (0, 0); whose head it is (hair, ears, muzzle) is figures.py's
matter. Every emotion differs in three places at once, brows, eyes and mouth, and most add a sign of their own (tears,
sweat, blush, ...), so that no single small detail decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .brush import Brush, Color, Point, arc_points

INK: Color = (22, 16, 26)
WHITE: Color = (252, 252, 248)
MOUTH: Color = (110, 14, 28)
TONGUE: Color = (236, 92, 112)
TEAR: Color = (74, 162, 255)
HEART: Color = (232, 32, 74)

EYE_X, EYE_Y = 0.37, 0.12
MOUTH_Y = -0.46
LINE = 0.115


def draw_face(brush: Brush, emotion: str, t: float, *, muzzle: bool = False, blink: float = 0.0) -> None:
    """Draw brows, eyes, mouth and signs of one emotion.

    Args:
        brush: origin in the middle of the head, scaled to its radius.
        emotion: one of ``EMOTIONS``.
        t: seconds, for tears that run and the like.
        muzzle: the mouth sits on an animal's muzzle, a little lower and smaller.
        blink: phase of the small movements, 0 to 1.
    """
    plain = Brush(
        brush.draw, brush.origin, brush.scale, brush.rotation, mirrored=brush.mirrored, grade=brush.grade, outline=None
    )
    mouth = plain.at((0.0, -0.06 if muzzle else 0.0), scale=0.92 if muzzle else 1.0)
    FACES[emotion](plain, mouth, t + blink)


def _brow(brush: Brush, side: int, inner: float, outer: float, width: float = 0.15) -> None:
    """A straight brow from its inner to its outer height."""
    brush.stroke([(side * 0.16, inner), (side * 0.6, outer)], width, INK)


def _round_eyes(brush: Brush, radius: float, pupil: float, gaze: Point = (0.0, 0.0), tall: float = 1.0) -> None:
    for side in (-1, 1):
        brush.oval((side * EYE_X, EYE_Y), radius + 0.05, radius * tall + 0.05, INK)
        brush.oval((side * EYE_X, EYE_Y), radius, radius * tall, WHITE)
        brush.disc((side * EYE_X + gaze[0], EYE_Y + gaze[1]), pupil, INK)


def _anger(brush: Brush, mouth: Brush, _t: float) -> None:
    for side in (-1, 1):
        brush.oval((side * 0.55, -0.22), 0.27, 0.2, (216, 40, 30))
        brush.oval((side * EYE_X, EYE_Y - 0.02), 0.22, 0.17, WHITE)
        brush.disc((side * (EYE_X - 0.05), EYE_Y - 0.03), 0.11, INK)
        brush.polygon([(side * 0.06, 0.1), (side * 0.7, 0.52), (side * 0.7, 0.28), (side * 0.06, -0.06)], INK)
    mouth.polygon([(-0.44, -0.66), (-0.32, -0.3), (0.32, -0.3), (0.44, -0.66)], INK)
    mouth.polygon([(-0.34, -0.6), (-0.27, -0.37), (0.27, -0.37), (0.34, -0.6)], WHITE)
    mouth.stroke([(-0.31, -0.485), (0.31, -0.485)], 0.05, INK)
    for x in (-0.15, 0.0, 0.15):
        mouth.stroke([(x, -0.58), (x, -0.39)], 0.045, INK)


def _anticipation(brush: Brush, mouth: Brush, t: float) -> None:
    gaze = (0.07, 0.12 + 0.02 * math.sin(6 * t))
    _round_eyes(brush, 0.23, 0.15, gaze, tall=1.15)
    for side in (-1, 1):
        brush.disc((side * EYE_X + gaze[0] + 0.05, EYE_Y + gaze[1] + 0.05), 0.06, WHITE)
    brush.arc((-EYE_X, 0.42), 0.26, 0.14, 20, 160, 0.13, INK)
    brush.arc((EYE_X, 0.54), 0.26, 0.16, 20, 160, 0.13, INK)
    mouth.arc((0.04, MOUTH_Y + 0.1), 0.26, 0.14, 190, 350, LINE, INK)
    mouth.oval((0.22, MOUTH_Y - 0.04), 0.1, 0.12, TONGUE)


def _disgust(brush: Brush, mouth: Brush, _t: float) -> None:
    for side in (-1, 1):
        brush.oval((side * 0.56, -0.2), 0.3, 0.24, (112, 176, 40))
        brush.stroke([(side * 0.6, 0.3), (side * 0.2, 0.12), (side * 0.6, -0.04)], 0.125, INK)
    _brow(brush, -1, 0.24, 0.4)
    _brow(brush, 1, 0.3, 0.62)
    for x in (-0.08, 0.08):
        brush.stroke([(x, 0.16), (x * 1.4, 0.0)], 0.06, INK)
    wave = [(-0.46 + 0.115 * i, MOUTH_Y + 0.06 + (0.09 if i % 2 else -0.03)) for i in range(9)]
    mouth.stroke(wave, LINE, INK)
    mouth.oval((0.2, MOUTH_Y - 0.16), 0.17, 0.23, INK)
    mouth.oval((0.2, MOUTH_Y - 0.15), 0.12, 0.19, TONGUE)


def _fear(brush: Brush, mouth: Brush, t: float) -> None:
    shiver = 0.02 * math.sin(40 * t)
    brush.polygon([(-0.8, 0.5), (-0.5, 0.85), (0.5, 0.85), (0.8, 0.5), (0.0, 0.42)], (120, 130, 214))
    for side in (-1, 1):
        _brow(brush, side, 0.62, 0.38, 0.12)
    _round_eyes(brush, 0.3, 0.075, (shiver, 0.0), tall=1.05)
    mouth.polygon([(-0.42, -0.62), (-0.26, -0.34), (0.26, -0.34), (0.42, -0.62)], INK)
    teeth = [(-0.34 + 0.085 * i + shiver, -0.48 + (0.06 if i % 2 else -0.05)) for i in range(9)]
    mouth.stroke(teeth, 0.07, WHITE)
    for x, y in ((-0.86, 0.22), (0.86, 0.34)):
        brush.oval((x, y - 0.1 * (t % 1.0)), 0.09, 0.16, TEAR)


def _joy(brush: Brush, mouth: Brush, _t: float) -> None:
    for side in (-1, 1):
        brush.oval((side * 0.62, -0.2), 0.2, 0.14, (255, 120, 130))
        brush.arc((side * EYE_X, EYE_Y - 0.05), 0.2, 0.24, 10, 170, 0.14, INK)
        brush.arc((side * EYE_X, 0.42), 0.22, 0.12, 30, 150, 0.09, INK)
    grin = [(-0.52, -0.22), (0.52, -0.22), *arc_points((0.0, -0.22), 0.52, 0.52, 0, -180)]
    mouth.polygon(grin, INK)
    mouth.polygon([(-0.44, -0.27), (0.44, -0.27), *arc_points((0.0, -0.27), 0.44, 0.4, 0, -180)], MOUTH)
    mouth.polygon([(-0.44, -0.26), (0.44, -0.26), (0.38, -0.4), (-0.38, -0.4)], WHITE)
    mouth.oval((0.0, -0.58), 0.22, 0.09, TONGUE)


def _sadness(brush: Brush, mouth: Brush, t: float) -> None:
    for side in (-1, 1):
        _brow(brush, side, 0.56, 0.28, 0.13)
        brush.oval((side * EYE_X, 0.05), 0.22, 0.17, WHITE)
        brush.disc((side * EYE_X, 0.0), 0.12, INK)
        brush.stroke([(side * 0.14, 0.2), (side * 0.62, 0.08)], 0.1, INK)
        run = (t * 0.9 + 0.4 * side) % 1.0
        brush.stroke([(side * 0.46, -0.1), (side * 0.5, -0.72)], 0.15, TEAR)
        brush.oval((side * 0.5, -0.3 - 0.5 * run), 0.13, 0.17, (176, 220, 255))
    mouth.arc((0.0, -0.72), 0.28, 0.26, 15, 165, 0.13, INK)


def _surprise(brush: Brush, mouth: Brush, t: float) -> None:
    for side in (-1, 1):
        brush.arc((side * EYE_X, 0.52), 0.24, 0.22, 15, 165, 0.12, INK)
    _round_eyes(brush, 0.27, 0.12, tall=1.25)
    swell = 0.02 * math.sin(5 * t)
    mouth.oval((0.0, -0.55), 0.26 + swell, 0.33 + swell, INK)
    mouth.oval((0.0, -0.57), 0.19 + swell, 0.25 + swell, MOUTH)


def _trust(brush: Brush, mouth: Brush, t: float) -> None:
    for side in (-1, 1):
        brush.oval((side * 0.6, -0.24), 0.17, 0.11, (255, 150, 150))
        brush.oval((side * EYE_X, EYE_Y), 0.14, 0.2, INK)
        brush.disc((side * EYE_X + 0.04, EYE_Y + 0.08), 0.055, WHITE)
        brush.arc((side * EYE_X, 0.44), 0.24, 0.06, 20, 160, 0.08, INK)
    mouth.arc((0.0, -0.26), 0.42, 0.26, 195, 345, LINE, INK)
    size = 0.13 + 0.015 * math.sin(5 * t)
    heart = brush.at((0.78, 0.66), scale=size / 0.13)
    for side in (-1, 1):
        heart.disc((side * 0.11, 0.06), 0.14, HEART)
    heart.polygon([(-0.245, 0.02), (0.245, 0.02), (0.0, -0.27)], HEART)


FACES: dict[str, Callable[[Brush, Brush, float], None]] = {
    "anger": _anger,
    "anticipation": _anticipation,
    "disgust": _disgust,
    "fear": _fear,
    "joy": _joy,
    "sadness": _sadness,
    "surprise": _surprise,
    "trust": _trust,
}
