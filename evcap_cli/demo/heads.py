"""Heads: hair, hats, ears and muzzles, and the face or what hides it.

Form tells who it is, whatever the colours. Where the picture must not tell the emotion no face is drawn at all: the
head is turned away, or a mask, a bag or a dark visor is in its place.

Notation: a head is drawn with radius 1 around (0, 0).
"""

from __future__ import annotations

import math

from .brush import Brush, arc_points
from .faces import INK, WHITE, draw_face
from .looks import ANIMALS, Look, darker, lighter
from .poses import Pose


def draw_head(head: Brush, look: Look, pose: Pose, t: float) -> None:
    """Head, hair or ears, and the face or what hides it; the brush is scaled to the head's radius."""
    head.outline = (INK, 0.055)
    animal = look.subject in ANIMALS
    turned = look.cover == "turned"
    if look.subject == "woman":
        head.polygon([(-0.95, 0.4), (0.95, 0.4), (1.12, -1.25), (0.5, -1.35), (-0.5, -1.35), (-1.12, -1.25)], look.hair)
    if look.subject == "girl":
        for side in (-1, 1):
            head.oval((side * 1.2, -0.25), 0.3, 0.62, look.hair, rotation=side * 14.0)
            head.disc((side * 1.04, 0.3), 0.19, look.accent)
    if look.subject == "cat":
        _draw_cat_ears(head, look)
    head.disc((0.0, 0.0), 1.0, look.skin)
    if look.subject == "dog":
        for side in (-1, 1):
            head.oval((side * 0.98, 0.0), 0.28, 0.66, darker(look.skin), rotation=side * 16.0)
        if look.variant < 0.5:
            head.oval((0.4, 0.2), 0.36, 0.42, look.hair, outlined=False)
    if not animal and not turned:
        for side in (-1, 1):
            head.disc((side * 0.98, -0.05), 0.17, look.skin)
    if turned:
        _draw_back_of_head(head, look)
    else:
        front = head.at((0.1, -0.12 * pose.nod))
        if look.subject == "man" and look.variant < 0.75:
            _draw_beard(front, look)
        if animal:
            _draw_muzzle(front, look)
        if look.emotion is not None:
            draw_face(front, look.emotion, t, muzzle=animal, blink=look.phase)
        if not animal:
            front.stroke([(0.02, 0.0), (0.09, -0.13), (0.0, -0.15)], 0.07, darker(look.skin))
        elif look.emotion is not None:
            _draw_nose(front, look)
    _draw_hair(head, look)
    if look.cover is not None and not turned:
        _draw_cover(head, look)


def _draw_beard(front: Brush, look: Look) -> None:
    outer = arc_points((-0.1, 0.0), 0.93, 0.95, 190, 350, 12)
    front.polygon([*outer, (0.62, -0.12), (0.45, -0.2), (-0.45, -0.2), (-0.7, -0.12)], look.hair, outlined=False)
    front.oval((0.0, -0.46), 0.54, 0.34, look.skin, outlined=False)


def _draw_muzzle(front: Brush, look: Look) -> None:
    across, up = (0.62, 0.46) if look.subject == "dog" else (0.5, 0.36)
    front.oval((0.0, -0.48), across, up, lighter(look.skin), outlined=False)
    if look.subject == "cat":
        for side in (-1, 1):
            for slope in (0.12, -0.06):
                front.stroke([(side * 0.6, -0.3), (side * 1.25, -0.3 + slope)], 0.05, INK)


def _draw_nose(front: Brush, look: Look) -> None:
    if look.subject == "dog":
        front.oval((0.0, -0.14), 0.2, 0.14, INK, outlined=False)
    else:
        front.polygon([(-0.13, -0.06), (0.13, -0.06), (0.0, -0.2)], (236, 110, 130), outlined=False)


def _draw_cat_ears(head: Brush, look: Look) -> None:
    for side in (-1, 1):
        head.polygon([(side * 0.95, 0.25), (side * 0.88, 1.42), (side * 0.15, 0.9)], look.skin)
        head.polygon([(side * 0.8, 0.6), (side * 0.8, 1.15), (side * 0.42, 0.85)], (240, 150, 160), outlined=False)


def _draw_back_of_head(head: Brush, look: Look) -> None:
    if look.subject in ANIMALS:
        for x in (-0.3, 0.0, 0.3):
            head.stroke([(x, 0.85), (x * 0.8, 0.45)], 0.12, darker(look.skin))
        return
    low = {"man": -0.45, "boy": -0.4}.get(look.subject, -0.95)
    angle = math.degrees(math.asin(low))
    head.polygon(arc_points((0.0, 0.0), 0.97, 0.97, angle, 180 - angle, 20), look.hair, outlined=False)


def _draw_hair(head: Brush, look: Look) -> None:
    if look.subject in ANIMALS:
        return
    if look.subject == "man":
        head.polygon([*arc_points((0.0, 0.02), 1.06, 1.06, 22, 158, 14), (-0.6, 0.62), (0.5, 0.66)], look.hair)
    elif look.subject == "woman":
        part = -0.4 + 0.8 * look.variant
        head.polygon(
            [*arc_points((0.0, 0.02), 1.08, 1.1, -8, 188, 18), (-0.78, 0.35), (part, 0.82), (0.78, 0.35)], look.hair
        )
    elif look.subject == "girl":
        fringe = [(-0.95, 0.3), (-0.6, 0.52), (-0.3, 0.6), (0.0, 0.58), (0.3, 0.6), (0.6, 0.52), (0.95, 0.3)]
        head.polygon([*arc_points((0.0, 0.02), 1.06, 1.06, 15, 165, 14), *fringe], look.hair)
    else:
        head.polygon([*arc_points((0.0, 0.1), 1.06, 1.06, 18, 162, 14), (-1.0, 0.45), (1.0, 0.45)], look.accent)
        if look.cover != "turned":
            head.polygon([(-0.1, 0.66), (1.45, 0.56), (1.45, 0.38), (-0.1, 0.44)], look.accent)
        head.disc((0.0, 1.13), 0.12, look.top)


def _draw_cover(head: Brush, look: Look) -> None:
    """Something before the face that leaves form and dress to tell who it is."""
    if look.cover == "mask":
        head.oval((0.08, -0.12), 0.8, 0.78, WHITE)
        head.oval((0.08, -0.12), 0.5, 0.48, look.accent, outlined=False)
    elif look.cover == "bag":
        head.polygon([(-0.86, 0.62), (0.9, 0.66), (0.96, -0.98), (-0.92, -0.94)], (200, 164, 112))
        head.stroke([(-0.3, 0.5), (-0.2, -0.8)], 0.06, (160, 124, 80))
        head.stroke([(0.45, 0.45), (0.5, -0.7)], 0.06, (160, 124, 80))
    else:
        head.polygon([*arc_points((0.06, -0.1), 0.9, 0.86, 0, 350, 20)], (52, 50, 58))
        head.polygon(arc_points((0.06, -0.1), 0.72, 0.68, 20, 160, 10), (84, 82, 92), outlined=False)
