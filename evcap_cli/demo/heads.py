"""Heads: hair, hats, ears and muzzles, and the face or what hides it.

Form shows who it is, whatever the colours. Where the picture must not show the emotion no face is drawn at all: the
head is turned away, or a mask, a bag or a dark visor is in its place.

Notation: a head is drawn with radius 1 around (0, 0).
"""

from __future__ import annotations

import math

from .brush import Brush, arc_points
from .faces import INK, WHITE, draw_face
from .figure_styles import ANIMALS, FigureStyle, darker, lighter
from .poses import Pose


def draw_head(head: Brush, style: FigureStyle, pose: Pose, t: float) -> None:
    """Head, hair or ears, and the face or what hides it; the brush is scaled to the head's radius."""
    head.outline = (INK, 0.055)
    animal = style.subject in ANIMALS
    turned = style.cover == "turned"
    if style.subject == "woman":
        head.polygon(
            [(-0.95, 0.4), (0.95, 0.4), (1.12, -1.25), (0.5, -1.35), (-0.5, -1.35), (-1.12, -1.25)], style.hair
        )
    if style.subject == "girl":
        for side in (-1, 1):
            head.oval((side * 1.2, -0.25), 0.3, 0.62, style.hair, rotation=side * 14.0)
            head.disc((side * 1.04, 0.3), 0.19, style.accent)
    if style.subject == "cat":
        _draw_cat_ears(head, style)
    head.disc((0.0, 0.0), 1.0, style.skin)
    if style.subject == "dog":
        for side in (-1, 1):
            head.oval((side * 0.98, 0.0), 0.28, 0.66, darker(style.skin), rotation=side * 16.0)
        if style.variant < 0.5:
            head.oval((0.4, 0.2), 0.36, 0.42, style.hair, outlined=False)
    if not animal and not turned:
        for side in (-1, 1):
            head.disc((side * 0.98, -0.05), 0.17, style.skin)
    if turned:
        _draw_back_of_head(head, style)
    else:
        front = head.at((0.1, -0.12 * pose.nod))
        if style.subject == "man" and style.variant < 0.75:
            _draw_beard(front, style)
        if animal:
            _draw_muzzle(front, style)
        if style.emotion is not None:
            draw_face(front, style.emotion, t, muzzle=animal, blink=style.phase)
        if not animal:
            front.stroke([(0.02, 0.0), (0.09, -0.13), (0.0, -0.15)], 0.07, darker(style.skin))
        elif style.emotion is not None:
            _draw_nose(front, style)
    _draw_hair(head, style)
    if style.cover is not None and not turned:
        _draw_cover(head, style)


def _draw_beard(front: Brush, style: FigureStyle) -> None:
    outer = arc_points((-0.1, 0.0), 0.93, 0.95, 190, 350, 12)
    front.polygon([*outer, (0.62, -0.12), (0.45, -0.2), (-0.45, -0.2), (-0.7, -0.12)], style.hair, outlined=False)
    front.oval((0.0, -0.46), 0.54, 0.34, style.skin, outlined=False)


def _draw_muzzle(front: Brush, style: FigureStyle) -> None:
    across, up = (0.62, 0.46) if style.subject == "dog" else (0.5, 0.36)
    front.oval((0.0, -0.48), across, up, lighter(style.skin), outlined=False)
    if style.subject == "cat":
        for side in (-1, 1):
            for slope in (0.12, -0.06):
                front.stroke([(side * 0.6, -0.3), (side * 1.25, -0.3 + slope)], 0.05, INK)


def _draw_nose(front: Brush, style: FigureStyle) -> None:
    if style.subject == "dog":
        front.oval((0.0, -0.14), 0.2, 0.14, INK, outlined=False)
    else:
        front.polygon([(-0.13, -0.06), (0.13, -0.06), (0.0, -0.2)], (236, 110, 130), outlined=False)


def _draw_cat_ears(head: Brush, style: FigureStyle) -> None:
    for side in (-1, 1):
        head.polygon([(side * 0.95, 0.25), (side * 0.88, 1.42), (side * 0.15, 0.9)], style.skin)
        head.polygon([(side * 0.8, 0.6), (side * 0.8, 1.15), (side * 0.42, 0.85)], (240, 150, 160), outlined=False)


def _draw_back_of_head(head: Brush, style: FigureStyle) -> None:
    if style.subject in ANIMALS:
        for x in (-0.3, 0.0, 0.3):
            head.stroke([(x, 0.85), (x * 0.8, 0.45)], 0.12, darker(style.skin))
        return
    low = {"man": -0.45, "boy": -0.4}.get(style.subject, -0.95)
    angle = math.degrees(math.asin(low))
    head.polygon(arc_points((0.0, 0.0), 0.97, 0.97, angle, 180 - angle, 20), style.hair, outlined=False)


def _draw_hair(head: Brush, style: FigureStyle) -> None:
    if style.subject in ANIMALS:
        return
    if style.subject == "man":
        head.polygon([*arc_points((0.0, 0.02), 1.06, 1.06, 22, 158, 14), (-0.6, 0.62), (0.5, 0.66)], style.hair)
    elif style.subject == "woman":
        part = -0.4 + 0.8 * style.variant
        head.polygon(
            [*arc_points((0.0, 0.02), 1.08, 1.1, -8, 188, 18), (-0.78, 0.35), (part, 0.82), (0.78, 0.35)], style.hair
        )
    elif style.subject == "girl":
        fringe = [(-0.95, 0.3), (-0.6, 0.52), (-0.3, 0.6), (0.0, 0.58), (0.3, 0.6), (0.6, 0.52), (0.95, 0.3)]
        head.polygon([*arc_points((0.0, 0.02), 1.06, 1.06, 15, 165, 14), *fringe], style.hair)
    else:
        head.polygon([*arc_points((0.0, 0.1), 1.06, 1.06, 18, 162, 14), (-1.0, 0.45), (1.0, 0.45)], style.accent)
        if style.cover != "turned":
            head.polygon([(-0.1, 0.66), (1.45, 0.56), (1.45, 0.38), (-0.1, 0.44)], style.accent)
        head.disc((0.0, 1.13), 0.12, style.top)


def _draw_cover(head: Brush, style: FigureStyle) -> None:
    """Something before the face that leaves form and dress to tell who it is."""
    if style.cover == "mask":
        head.oval((0.08, -0.12), 0.8, 0.78, WHITE)
        head.oval((0.08, -0.12), 0.5, 0.48, style.accent, outlined=False)
    elif style.cover == "bag":
        head.polygon([(-0.86, 0.62), (0.9, 0.66), (0.96, -0.98), (-0.92, -0.94)], (200, 164, 112))
        head.stroke([(-0.3, 0.5), (-0.2, -0.8)], 0.06, (160, 124, 80))
        head.stroke([(0.45, 0.45), (0.5, -0.7)], 0.06, (160, 124, 80))
    else:
        head.polygon([*arc_points((0.06, -0.1), 0.9, 0.86, 0, 350, 20)], (52, 50, 58))
        head.polygon(arc_points((0.06, -0.1), 0.72, 0.68, 20, 160, 10), (84, 82, 92), outlined=False)
