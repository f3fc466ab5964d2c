"""The figures of the variant world: cut out of paper, with a white edge, on sticks for limbs.

Form shows who it is, as in the usual world; colours are drawn at random from one palette for all. Faces are those of
the usual world, since emotions are the same.

Notation: a figure is one unit high, feet at (0, 0), facing +x; a head has radius 1.
"""

from __future__ import annotations

import math

import numpy as np

from .brush import Brush, Color, Point, arc_points
from .faces import INK, draw_face
from .figure_styles import FigureStyle, darker, lighter
from .poses import Angles, Pose

PAPER: Color = (250, 250, 246)
PAPERS: tuple[Color, ...] = (
    (255, 176, 160),
    (170, 214, 255),
    (186, 232, 176),
    (255, 226, 140),
    (212, 188, 248),
    (255, 200, 226),
    (176, 236, 228),
    (228, 216, 196),
)
HEIGHTS = {"robot": 0.98, "wizard": 1.0, "ghost": 0.9, "penguin": 0.84, "rabbit": 0.9, "frog": 0.78}


def make_cutout_style(subject: str, emotion: str | None, rng: np.random.Generator) -> FigureStyle:
    """A style drawn at random; ``emotion`` None hides the face behind a visor."""
    skin, hair, top, bottom, accent = (PAPERS[i] for i in rng.permutation(len(PAPERS))[:5])
    height = HEIGHTS[subject] * float(rng.uniform(0.96, 1.04))
    variant, phase = float(rng.uniform()), float(rng.uniform())
    cover = None if emotion else "visor"
    return FigureStyle(subject, height, skin, hair, top, bottom, accent, cover, emotion, variant, phase)


def draw_cutout(ground: Brush, style: FigureStyle, pose: Pose, t: float) -> Point:
    """Draw one figure; arguments and result as in ``draw_figure``."""
    fallen = abs(math.sin(math.radians(pose.topple)))
    over = max(0.0, -math.cos(math.radians(pose.topple)))
    body = Brush(
        ground.draw,
        # who lies or stands on the head still rests on the ground
        ground.pixel((0.0, (pose.lift + 0.17 * fallen + 0.85 * over) * style.height)),
        ground.scale * style.height,
        -pose.topple,
        mirrored=pose.facing < 0,
        grade=ground.grade,
        outline=(PAPER, 0.018),
    )
    hip = 0.26 - 0.12 * pose.crouch
    wide = {"ghost": 0.0, "wizard": 0.0, "frog": 0.11, "robot": 0.09}.get(style.subject, 0.07)
    for (thigh, shin), x in zip(pose.legs, (-wide, wide), strict=True):
        if style.subject != "ghost":
            _leg(body, style, (x, hip), (thigh + 55.0 * pose.crouch, shin - 55.0 * pose.crouch))
    upper = body.at((0.0, hip), -pose.lean)
    _arm(upper, style, -1, pose.back)
    _TRUNKS[style.subject](upper, style, t)
    _head(upper, style, pose, t)
    return upper.pixel(_arm(upper, style, 1, pose.front))


def _leg(body: Brush, style: FigureStyle, hip: Point, angles: Angles) -> None:
    knee = _along(hip, angles[0], 0.13)
    foot = _along(knee, angles[1], 0.13)
    flat = 0.1 if style.subject in ("frog", "penguin") else 0.06
    width = 0.07 if style.subject == "robot" else 0.045
    body.limb([hip, knee, foot, (foot[0] + flat, foot[1])], width, darker(style.bottom))


def _arm(brush: Brush, style: FigureStyle, side: int, angles: Angles) -> Point:
    shoulder = (side * 0.1, 0.25)
    elbow = _along(shoulder, side * angles[0], 0.14)
    hand = _along(elbow, side * angles[1], 0.15)
    if style.subject == "penguin":
        brush.limb([shoulder, elbow, hand], 0.085, darker(style.skin))
        return hand
    brush.limb([shoulder, elbow, hand], 0.045, darker(style.skin))
    if style.subject == "robot":
        brush.polygon(
            [(hand[0] + 0.045 * x, hand[1] + 0.045 * y) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))], style.accent
        )
    else:
        brush.disc(hand, 0.045, style.skin)
    return hand


def _robot(upper: Brush, style: FigureStyle, t: float) -> None:
    upper.polygon([(-0.17, -0.02), (0.17, -0.02), (0.17, 0.31), (-0.17, 0.31)], style.top)
    upper.polygon([(-0.09, 0.08), (0.09, 0.08), (0.09, 0.22), (-0.09, 0.22)], lighter(style.top), outlined=False)
    for number in range(3):
        lit = int(3 * (t * 0.8 + style.phase)) % 3 == number
        upper.disc((-0.05 + 0.05 * number, 0.15), 0.018, (230, 60, 50) if lit else INK, outlined=False)


def _wizard(upper: Brush, style: FigureStyle, _t: float) -> None:
    upper.polygon([(-0.1, 0.31), (0.1, 0.31), (0.25, -0.22), (-0.25, -0.22)], style.top)
    for x, y in ((-0.09, 0.05), (0.08, -0.05), (-0.02, -0.14)):
        points = arc_points((x, y), 0.035, 0.035, 90, 450, 6)
        upper.polygon(points, style.accent, outlined=False)


def _ghost(upper: Brush, style: FigureStyle, t: float) -> None:
    hem = [(0.24 - 0.06 * i, -0.2 + (0.04 if i % 2 else 0.0) + 0.015 * math.sin(5 * t + i)) for i in range(9)]
    upper.polygon([*arc_points((0.0, 0.18), 0.22, 0.2, 180, 0, 12), *hem], style.skin)


def _penguin(upper: Brush, style: FigureStyle, _t: float) -> None:
    upper.oval((0.0, 0.13), 0.2, 0.23, darker(style.skin))
    upper.oval((0.03, 0.1), 0.13, 0.18, PAPER, outlined=False)


def _rabbit(upper: Brush, style: FigureStyle, _t: float) -> None:
    upper.disc((-0.17, 0.0), 0.07, PAPER)
    upper.oval((0.0, 0.14), 0.14, 0.2, style.skin)
    upper.polygon([(-0.14, 0.2), (0.14, 0.2), (0.12, 0.06), (-0.12, 0.06)], style.top, outlined=False)


def _frog(upper: Brush, style: FigureStyle, _t: float) -> None:
    upper.oval((0.0, 0.12), 0.23, 0.18, style.skin)
    upper.oval((0.03, 0.09), 0.15, 0.13, lighter(style.skin), outlined=False)


_TRUNKS = {"robot": _robot, "wizard": _wizard, "ghost": _ghost, "penguin": _penguin, "rabbit": _rabbit, "frog": _frog}


def _head(upper: Brush, style: FigureStyle, pose: Pose, t: float) -> None:
    size = 0.22 if style.subject == "ghost" else 0.24
    high = 0.28 if style.subject == "ghost" else 0.31 + 0.8 * size - 0.05 * max(0.0, pose.nod)
    head = upper.at((0.04 * pose.nod, high), pose.lean * 0.6 - pose.tilt - 14.0 * pose.nod, size)
    head.outline = (PAPER, 0.08)
    _form(head, style)
    front = head.at((0.08, -0.1 * pose.nod))
    if style.emotion is not None:
        draw_face(front, style.emotion, t, blink=style.phase)
    else:
        front.polygon([(-0.85, -0.75), (0.85, -0.75), (0.85, 0.6), (-0.85, 0.6)], (58, 60, 76))
        front.stroke([(-0.6, 0.3), (0.3, 0.3)], 0.12, (120, 124, 150))
    if style.subject == "penguin":
        front.polygon([(-0.12, -0.08), (0.12, -0.08), (0.0, -0.3)], (255, 160, 40), outlined=False)
    if style.subject == "wizard":
        head.polygon([(-1.15, 0.55), (1.15, 0.55), (0.35, 0.95), (-0.2, 2.3), (-0.35, 0.95)], style.hair)


def _form(head: Brush, style: FigureStyle) -> None:
    """What of a head stands behind its face."""
    subject, skin = style.subject, style.skin
    if subject == "robot":
        head.stroke([(0.0, 0.9), (0.0, 1.4)], 0.1, INK)
        head.disc((0.0, 1.5), 0.2, style.accent)
        head.polygon([(-1.0, -0.95), (1.0, -0.95), (1.0, 0.9), (-1.0, 0.9)], skin)
        return
    if subject == "rabbit":
        for side in (-1, 1):
            head.oval((side * 0.42, 1.45), 0.26, 0.85, skin, rotation=-side * 8.0)
            head.oval((side * 0.42, 1.45), 0.12, 0.6, style.accent, rotation=-side * 8.0, outlined=False)
    if subject == "frog":
        for side in (-1, 1):
            head.disc((side * 0.62, 0.8), 0.36, skin)
        head.oval((0.0, -0.05), 1.3, 0.95, skin)
        return
    if subject == "wizard":
        head.polygon([(-0.8, -0.4), (0.8, -0.4), (0.0, -2.0)], PAPER)
    if subject != "ghost":
        head.disc((0.0, 0.0), 1.0, darker(skin) if subject == "penguin" else skin)
    if subject == "penguin":
        head.oval((0.08, -0.1), 0.8, 0.75, PAPER, outlined=False)


def _along(point: Point, angle: float, length: float) -> Point:
    """The point ``length`` away, ``angle`` degrees from straight down towards +x."""
    radians = math.radians(angle)
    return point[0] + length * math.sin(radians), point[1] - length * math.cos(radians)
