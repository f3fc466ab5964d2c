"""Drawing in a figure's own coordinates: an affine frame over Pillow's ImageDraw.

Everything drawn in the demo world goes through a Brush, so that figures can be moved, mirrored, leant and scaled
as a whole and every colour passes the clip's colour mood once. It knows nothing of people, places or emotions.

Notation: a point is (x, y) in the brush's coordinates, x to the right and y up; angles are in degrees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]
Grade = Callable[[Color], Color]

CIRCLE = tuple((math.cos(math.tau * i / 24), math.sin(math.tau * i / 24)) for i in range(24))
"""A unit circle of as many corners as a figure's parts need."""


def ungraded(color: Color) -> Color:
    """The colour as it is."""
    return color


class Brush:
    """Draws shapes given in local coordinates.

    Args:
        draw: where it goes, in pixels.
        origin: pixel of the local (0, 0).
        scale: pixels of one local unit.
        rotation: of the local axes, counter-clockwise.
        mirrored: local x runs to the left.
        grade: the clip's colour mood.
        outline: (colour, width in local units) drawn around every filled shape; None for no outline.
    """

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        origin: Point,
        scale: float,
        rotation: float = 0.0,
        *,
        mirrored: bool = False,
        grade: Grade = ungraded,
        outline: tuple[Color, float] | None = None,
    ) -> None:
        self.draw, self.origin, self.scale, self.rotation = draw, origin, scale, rotation
        self.mirrored, self.grade, self.outline = mirrored, grade, outline
        angle = math.radians(rotation)
        self._across = (math.cos(angle) * scale * (-1 if mirrored else 1), -math.sin(angle) * scale)
        self._up = (-math.sin(angle) * scale * (-1 if mirrored else 1), -math.cos(angle) * scale)

    def at(self, point: Point, rotation: float = 0.0, scale: float = 1.0) -> Brush:
        """A brush whose origin lies at ``point``, turned and scaled further."""
        return Brush(
            self.draw,
            self.pixel(point),
            self.scale * scale,
            self.rotation + rotation,
            mirrored=self.mirrored,
            grade=self.grade,
            outline=self.outline and (self.outline[0], self.outline[1] / scale),
        )

    def pixel(self, point: Point) -> Point:
        """Where a local point lies in the picture."""
        x, y = point
        return (
            self.origin[0] + x * self._across[0] + y * self._up[0],
            self.origin[1] + x * self._across[1] + y * self._up[1],
        )

    def polygon(self, points: Sequence[Point], fill: Color, *, outlined: bool = True) -> None:
        """A filled polygon."""
        corners = [self.pixel(point) for point in points]
        self.draw.polygon(corners, fill=self.grade(fill))
        if outlined and self.outline is not None:
            self._line([*corners, corners[0]], self.outline[1] * self.scale, self.outline[0])

    def oval(
        self, center: Point, across: float, up: float, fill: Color, *, rotation: float = 0.0, outlined: bool = True
    ) -> None:
        """A filled ellipse with half axes ``across`` and ``up``."""
        cosine, sine = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
        points = [
            (center[0] + across * x * cosine - up * y * sine, center[1] + across * x * sine + up * y * cosine)
            for x, y in CIRCLE
        ]
        self.polygon(points, fill, outlined=outlined)

    def disc(self, center: Point, radius: float, fill: Color, *, outlined: bool = True) -> None:
        """A filled circle; cheaper than an oval."""
        x, y = self.pixel(center)
        size = radius * self.scale
        if outlined and self.outline is not None:
            edge = size + self.outline[1] * self.scale / 2
            self.draw.ellipse((x - edge, y - edge, x + edge, y + edge), fill=self.grade(self.outline[0]))
            size -= self.outline[1] * self.scale / 2
        self.draw.ellipse((x - size, y - size, x + size, y + size), fill=self.grade(fill))

    def stroke(self, points: Sequence[Point], width: float, color: Color) -> None:
        """A line with round joints and ends, without an outline."""
        self._line([self.pixel(point) for point in points], width * self.scale, color)

    def limb(self, points: Sequence[Point], width: float, fill: Color) -> None:
        """A line with round joints and ends, outlined like every other shape."""
        if self.outline is not None:
            self.stroke(points, width + 2 * self.outline[1], self.outline[0])
        self.stroke(points, width, fill)

    def arc(
        self, center: Point, across: float, up: float, start: float, end: float, width: float, color: Color
    ) -> None:
        """A stroke along an ellipse from angle ``start`` to ``end``."""
        self.stroke(arc_points(center, across, up, start, end), width, color)

    def _line(self, corners: list[Point], width: float, color: Color) -> None:
        fill, pixels = self.grade(color), max(1, round(width))
        self.draw.line(corners, fill=fill, width=pixels)
        if pixels > 2:
            half = width / 2
            for x, y in corners:
                self.draw.ellipse((x - half, y - half, x + half, y + half), fill=fill)


def arc_points(center: Point, across: float, up: float, start: float, end: float, steps: int = 9) -> list[Point]:
    """Points along an ellipse from angle ``start`` to ``end``, both included."""
    angles = [math.radians(start + (end - start) * i / (steps - 1)) for i in range(steps)]
    return [(center[0] + across * math.cos(a), center[1] + up * math.sin(a)) for a in angles]
