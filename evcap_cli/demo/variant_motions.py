"""How the figures of the variant world move: a pose over time for each of its actions.

motions.py stages them by the rules of the usual world: both figures of a pair go through one endless motion, the actor
many times as fast. The numbers of a pose are explained in poses.py.

Notation: a beat is the angle of a cycle in radians; home is where somebody stands, heading 1 or -1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from .poses import Pose
from .strides import there_and_back, walking


def _spin(beat: float, home: float, heading: int) -> Pose:
    turn = math.cos(0.8 * beat)
    arms = (80.0 - 24.0 * turn, 84.0 - 30.0 * turn)
    facing = heading if turn >= 0 else -heading
    return Pose(home, facing, 0.03 * (1 - turn * turn), tilt=8.0 * turn, back=arms, front=arms, legs=((-3.0, 8.0),) * 2)


def _bow(beat: float, home: float, heading: int) -> Pose:
    down = 0.5 - 0.5 * math.cos(0.7 * beat)
    return Pose(
        home, heading, 0.0, 0.1 * down, lean=68.0 * down, nod=0.6 * down, front=(14.0 + 50.0 * down, 70.0 * down)
    )


def _kick(beat: float, home: float, heading: int) -> Pose:
    swing = math.sin(1.1 * beat)
    ahead, behind = max(swing, 0.0), max(-swing, 0.0)
    legs = ((-4.0 - 30.0 * behind, -4.0 - 70.0 * behind), (4.0 + 92.0 * ahead - 20.0 * behind, 4.0 + 84.0 * ahead))
    return Pose(home, heading, lean=-14.0 * ahead, back=(40.0 * ahead, 50.0 * ahead), front=(30.0, 40.0), legs=legs)


def _squat(beat: float, home: float, heading: int) -> Pose:
    down = 0.5 - 0.5 * math.cos(1.0 * beat)
    arms = (16.0 + 74.0 * down, 12.0 + 76.0 * down)
    return Pose(home, heading, 0.0, down, lean=12.0 * down, back=arms, front=arms)


def _march(beat: float, home: float, heading: int) -> Pose:
    step = math.sin(1.3 * beat)
    one, other = 78.0 * max(step, 0.0), 78.0 * max(-step, 0.0)
    legs = ((one, 0.1 * one), (other, 0.1 * other))
    arms = (10.0 + other, 20.0 + 1.2 * other), (10.0 + one, 20.0 + 1.2 * one)
    return Pose(home, heading, 0.02 * abs(step), back=arms[0], front=arms[1], legs=legs)


def _roll(beat: float, home: float, heading: int) -> Pose:
    turned = math.degrees(0.45 * beat) % 360.0
    way = math.sin(0.225 * beat)
    arms = (150.0, 160.0)
    x = 0.5 + 0.2 * way + 0.4 * (home - 0.5)
    return Pose(x, heading, 0.05, topple=turned, back=arms, front=arms, legs=((-28.0, -28.0), (28.0, 28.0)))


def _push(now: float) -> Pose:
    lunge, turn = there_and_back(now / 1.6, 0.3, 0.4), math.tau * now
    return replace(
        walking(math.sin(1.3 * turn), 0.285 - 0.1 * lunge, 30.0),
        back=(-70.0 - 16.0 * lunge, -74.0 - 14.0 * lunge),
        front=(70.0 + 16.0 * lunge, 74.0 + 14.0 * lunge),
        lean=2.0 + 15.0 * lunge,
        crouch=0.2 * lunge,
        upright=True,
    )


def _tickle(now: float) -> Pose:
    near, wiggle = there_and_back(now / 3.0, 0.3, 0.25), math.sin(2.4 * math.tau * now)
    return replace(
        walking(math.sin(1.2 * math.tau * now), 0.27 - 0.1 * near, 14.0),
        back=(-64.0 + 22.0 * wiggle, -100.0 + 44.0 * wiggle),
        front=(64.0 + 22.0 * wiggle, 100.0 + 44.0 * wiggle),
        lean=6.0 + 4.0 * wiggle,
        upright=True,
    )


def _throw(now: float) -> Pose:
    step, turn = there_and_back(now / 2.2, 0.35, 0.35), math.tau * now
    wind = 0.5 - 0.5 * math.cos(1.1 * turn)
    return replace(
        walking(math.sin(1.1 * turn), 0.285 - 0.06 * step, 18.0),
        front=(24.0 + 136.0 * wind, 60.0 + 130.0 * wind),
        lean=-8.0 + 18.0 * (1 - wind),
        crouch=0.2 * wind,
        upright=True,
    )


SOLO_MOTIONS: Final[Mapping[str, Callable[[float, float, int], Pose]]] = {
    "spin": _spin,
    "bow": _bow,
    "kick": _kick,
    "squat": _squat,
    "march": _march,
    "roll": _roll,
}
"""Action -> its pose of (beat, home, heading)."""
PAIR_MOTIONS: Final[Mapping[str, Callable[[float], Pose]]] = {"push": _push, "tickle": _tickle, "throw": _throw}
"""Action -> its pose at a time in cycles; x is the distance from the middle."""
