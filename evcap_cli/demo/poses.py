"""What a figure's body can do: a pose, and the postures that emotions lay over it.

motions.py makes poses out of actions, figures.py draws them.

Notation: x in frame widths; heights in the figure's height; angles in degrees. An arm's angles (upper, fore) count from
hanging down outwards, away from the trunk; a leg's (thigh, shin) from hanging down forwards.
"""

from __future__ import annotations

from dataclasses import dataclass

Angles = tuple[float, float]
HANGING: Angles = (14.0, 8.0)


@dataclass(frozen=True)
class Pose:
    """One figure at one instant.

    Args:
        x: of the feet, in frame widths.
        facing: 1 to the right, -1 to the left.
        lift: height of the feet above the ground.
        crouch: 0 standing, 1 knees fully bent.
        lean: of the trunk, forwards.
        topple: turn of the whole figure about its feet, forwards.
        nod: of the head, forwards and down; about 0.5 is a bowed head.
        tilt: of the head to the side.
        back: the arm on the far side of the trunk.
        front: the other one.
        legs: back and front leg.
        upright: an animal stands on its hind legs.
        tail: angle of an animal's tail above the horizontal.
    """

    x: float
    facing: int = 1
    lift: float = 0.0
    crouch: float = 0.0
    lean: float = 0.0
    topple: float = 0.0
    nod: float = 0.0
    tilt: float = 0.0
    back: Angles = HANGING
    front: Angles = HANGING
    legs: tuple[Angles, Angles] = ((-4.0, -4.0), (4.0, 4.0))
    upright: bool = True
    tail: float = 25.0


@dataclass(frozen=True)
class Posture:
    """What an emotion does to whoever feels it: arms, trunk, head, and a small movement of its own."""

    back: Angles
    front: Angles
    lean: float
    nod: float
    tilt: float
    crouch: float
    tail: float
    shake: tuple[float, float]
    """Sideways frame widths and beats a second of trembling."""


POSTURES: dict[str, Posture] = {
    "anger": Posture((52.0, -48.0), (92.0, 172.0), 7.0, 0.15, 0.0, 0.1, 60.0, (0.004, 5.0)),
    "anticipation": Posture((22.0, -128.0), (22.0, -128.0), 6.0, -0.2, -7.0, 0.0, 45.0, (0.002, 2.5)),
    "disgust": Posture((26.0, -78.0), (84.0, 100.0), -11.0, -0.05, 13.0, 0.05, -5.0, (0.0, 1.0)),
    "fear": Posture((94.0, 194.0), (94.0, 194.0), -6.0, 0.05, 0.0, 0.45, -60.0, (0.006, 8.0)),
    "joy": Posture((132.0, 164.0), (132.0, 164.0), 0.0, -0.15, 6.0, 0.0, 75.0, (0.003, 3.0)),
    "sadness": Posture((2.0, -6.0), (2.0, -6.0), 12.0, 0.5, 8.0, 0.15, -50.0, (0.0, 0.5)),
    "surprise": Posture((78.0, 140.0), (78.0, 140.0), -8.0, -0.25, 0.0, 0.0, 88.0, (0.0, 1.0)),
    "trust": Posture((42.0, 64.0), (20.0, -116.0), 0.0, 0.0, -9.0, 0.0, 30.0, (0.0, 0.7)),
}
