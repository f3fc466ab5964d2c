"""Steps and curves that actions are made of; the numbers of a pose are explained in poses.py."""

from __future__ import annotations

import math

from .poses import Pose


def walking(step: float, x: float, stride: float) -> Pose:
    """Legs and arms of a step, ``step`` from -1 to 1."""
    arms = (14.0 + 20.0 * step, 12.0 + 30.0 * max(step, 0.0))
    legs = (
        (-stride * step, -stride * step - 14.0 * max(-step, 0.0)),
        (stride * step, stride * step - 14.0 * max(step, 0)),
    )
    return Pose(x, back=arms, front=arms, legs=legs, upright=False)


def running(angle: float, x: float, *, stride: float, bound: float) -> Pose:
    """Legs and arms of a running stride at ``angle`` radians of its cycle."""
    step = math.sin(angle)
    legs = (
        (-stride * step, -stride * step - 62.0 * max(0.0, math.cos(angle))),
        (stride * step, stride * step - 62.0 * max(0.0, -math.cos(angle))),
    )
    arms = (34.0 + 40.0 * step, 70.0 + 60.0 * step)
    return Pose(x, 1, bound * abs(math.cos(angle)), lean=11.0, back=arms, front=arms, legs=legs, upright=False)


def smooth(value: float) -> float:
    """0 below 0, 1 above 1, and a soft step between."""
    clipped = min(1.0, max(0.0, value))
    return clipped * clipped * (3 - 2 * clipped)


def there_and_back(cycles: float, going: float, coming: float) -> float:
    """0 to 1 in the first share ``going`` of every cycle, back to 0 in the last share ``coming``."""
    share = cycles % 1.0
    return smooth(share / going) - smooth((share - 1 + coming) / coming)
