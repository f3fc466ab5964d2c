"""Bodies: how a pose of one of the six subjects becomes a drawing.

Styles are drawn in figure_styles.py, heads in heads.py.

Notation: a figure is one unit high, feet at (0, 0), facing +x.
"""

from __future__ import annotations

import math

from .brush import Brush, Color, Point
from .faces import INK
from .figure_styles import ANIMALS, FigureStyle, darker, lighter
from .heads import draw_head
from .poses import Angles, Pose


def draw_figure(ground: Brush, style: FigureStyle, pose: Pose, t: float) -> Point:
    """Draw one figure.

    Args:
        ground: origin on the ground under the figure, scaled to a grown-up's height.
        style: who.
        pose: how.
        t: seconds.

    Returns:
        The front hand in pixels, where a parcel would be held.
    """
    shadow = ground.at((0.0, 0.0))
    shadow.outline = None
    along = math.sin(math.radians(pose.topple)) * pose.facing * style.height
    shadow.oval((0.45 * along, 0.0), 0.26 + 0.24 * abs(along), 0.035, (40, 40, 46))
    fallen = abs(math.sin(math.radians(pose.topple)))
    body = Brush(
        ground.draw,
        # Whoever lies rests on the side of trunk and head, not on the line through the middle of the body.
        ground.pixel((0.0, (pose.lift + 0.17 * fallen) * style.height)),
        ground.scale * style.height,
        -pose.topple,
        mirrored=pose.facing < 0,
        grade=ground.grade,
        outline=(INK, 0.011),
    )
    if style.subject in ANIMALS and not pose.upright:
        return _draw_four_legged(body, style, pose, t)
    return _draw_standing(body, style, pose, t)


def _draw_standing(body: Brush, style: FigureStyle, pose: Pose, t: float) -> Point:
    animal, child = style.subject in ANIMALS, style.subject in ("boy", "girl")
    skirt = style.subject in ("woman", "girl")
    drop = 0.13 * pose.crouch
    hip_y, trunk = 0.30 - drop, 0.30
    bare = style.skin
    trousers = bare if skirt or animal else style.bottom
    for (thigh, shin), x in zip(pose.legs, (-0.075, 0.075), strict=True):
        bend = 55.0 * pose.crouch
        knee = _along((x, hip_y), thigh + bend, 0.15)
        foot = _along(knee, shin - bend, 0.15)
        body.limb([(x, hip_y), knee, foot], 0.085, trousers)
        if style.subject == "boy":
            body.stroke([_between(knee, foot, 0.3), foot], 0.08, bare)
        body.limb([foot, (foot[0] + 0.055, foot[1])], 0.07, style.skin if animal else style.accent)
    upper = body.at((0.0, hip_y), -pose.lean)
    if animal:
        _draw_tail(upper, style, pose.tail, (-0.1, 0.03))
    shoulder_y = trunk - 0.03
    sleeve = style.skin if animal else style.top
    wide = 0.15 if style.subject == "man" else 0.115 if child else 0.12
    back_at, front_at = (-wide + 0.03, shoulder_y), (wide - 0.03, shoulder_y)
    _draw_arm(upper, back_at, pose.back, -1, sleeve, bare)
    if skirt:
        flare = 0.2 if style.subject == "woman" else 0.22
        upper.polygon([(-0.1, trunk), (0.1, trunk), (flare, -0.1), (-flare, -0.1)], style.top)
        upper.stroke([(-0.12, 0.1), (0.12, 0.1)], 0.035, style.accent)
    elif animal:
        upper.oval((0.0, trunk / 2), 0.15, 0.2, style.skin)
        upper.oval((0.02, trunk / 2 - 0.02), 0.085, 0.13, lighter(style.skin), outlined=False)
    else:
        upper.polygon([(-wide, trunk), (wide, trunk), (wide * 0.82, -0.03), (-wide * 0.82, -0.03)], style.top)
        if style.subject == "man":
            upper.polygon([(-0.025, trunk), (0.025, trunk), (0.03, 0.08), (0.0, 0.04), (-0.03, 0.08)], style.accent)
        else:
            for y in (0.08, 0.17):
                upper.stroke([(-wide * 0.85, y), (wide * 0.85, y)], 0.035, style.accent)
    size = 0.255 if child else 0.24 if animal else 0.225
    head_y = trunk + size * 0.86 - 0.05 * max(0.0, pose.nod)
    head = upper.at((0.04 * pose.nod, head_y), pose.lean * 0.7 - pose.tilt - 14.0 * pose.nod, size)
    draw_head(head, style, pose, t)
    if pose.back[1] > 185.0:
        _draw_arm(upper, back_at, pose.back, -1, sleeve, bare)
    hand = _draw_arm(upper, front_at, pose.front, 1, sleeve, bare)
    return upper.pixel(hand)


def _draw_four_legged(body: Brush, style: FigureStyle, pose: Pose, t: float) -> Point:
    drop = 0.12 * pose.crouch
    y = 0.33 - drop
    far = darker(style.skin)
    swings = [leg[0] for leg in pose.legs]
    for x, angle, color in ((-0.2, swings[1], far), (0.14, swings[0], far)):
        _draw_paw(body, (x, y - 0.04), angle, color, drop)
    trunk = body.at((0.0, y), -0.5 * pose.lean + 4.0)
    _draw_tail(trunk, style, pose.tail, (-0.27, 0.06))
    trunk.oval((-0.03, 0.0), 0.29, 0.145, style.skin)
    trunk.oval((-0.01, -0.06), 0.2, 0.06, lighter(style.skin), outlined=False)
    if style.subject == "cat":
        for x in (-0.18, -0.08, 0.02):
            trunk.stroke([(x, 0.125), (x - 0.02, 0.04)], 0.03, far)
    elif style.variant > 0.5:
        trunk.oval((-0.12, 0.04), 0.09, 0.06, style.hair, outlined=False)
    for x, angle in ((-0.22, swings[0]), (0.17, swings[1])):
        _draw_paw(body, (x, y - 0.05), angle, style.skin, drop)
    size = 0.25
    raised = 0.24 - 0.1 * max(0.0, pose.nod)
    trunk.limb([(0.16, 0.05), (0.2, raised - 0.12)], 0.15, style.skin)
    trunk.stroke([(0.1, 0.07), (0.27, 0.06)], 0.05, style.accent)
    head = trunk.at((0.22, raised), 0.4 * pose.lean - pose.tilt - 14.0 * pose.nod, size)
    draw_head(head, style, pose, t)
    return trunk.pixel((0.3, 0.0))


def _draw_paw(body: Brush, hip: Point, angle: float, color: Color, drop: float) -> None:
    knee = _along(hip, 0.8 * angle, 0.14 - drop / 2)
    foot = _along(knee, 0.45 * angle, 0.15 - drop / 2)
    body.limb([hip, knee, foot, (foot[0] + 0.035, foot[1])], 0.075, color)


def _draw_tail(brush: Brush, style: FigureStyle, angle: float, root: Point) -> None:
    length, width = (0.34, 0.05) if style.subject == "cat" else (0.24, 0.085)
    points = [root]
    for step in range(4):
        turn = math.radians(180 - angle * 0.7 - (18.0 * step if style.subject == "cat" else 9.0 * step))
        x, y = points[-1]
        points.append((x + length / 4 * math.cos(turn), y + length / 4 * math.sin(turn)))
    brush.limb(points, width, style.skin)


def _draw_arm(brush: Brush, shoulder: Point, angles: Angles, side: int, sleeve: Color, skin: Color) -> Point:
    elbow = _along(shoulder, side * angles[0], 0.145)
    hand = _along(elbow, side * angles[1], 0.15)
    brush.limb([shoulder, elbow, _between(elbow, hand, 0.75)], 0.07, sleeve)
    brush.disc(hand, 0.052, skin)
    return hand


def _along(point: Point, angle: float, length: float) -> Point:
    """The point ``length`` away, ``angle`` degrees from straight down towards +x."""
    radians = math.radians(angle)
    return point[0] + length * math.sin(radians), point[1] - length * math.cos(radians)


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
