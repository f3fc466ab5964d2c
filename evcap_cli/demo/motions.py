"""How figures move: every action as a pose over time, and where the figures of a clip stand.

Emotions enter only as a posture (poses.py) laid over the action, and only where the picture may tell them.

Only motion shows who does what to whom. A pair is built so that no still frame can show it: both figures take
their poses and places from one and the same endless motion, entered anywhere, the other one mirrored and many times
slower. At any instant the two poses are then exchangeable; only their change in time is not. (A parcel adds who holds
it: the actor in the first half of the clip, the other one in the second.)

Notation: t is in seconds; the numbers of a pose are explained in poses.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .facts import ClipFacts
from .poses import HANGING, POSTURES, Angles, Pose
from .strides import running, smooth, there_and_back, walking
from .variant_motions import PAIR_MOTIONS, SOLO_MOTIONS

FALL_SECONDS = 2.6
"""One stumble, fall, rest and getting up."""
PASSED = ("give", "throw")
"""Actions that take something from one to the other."""
OWN_FRONT = ("wave", "give", "hug", "push", "tickle", "throw")
"""Actions that need the front arm, whatever an emotion does with it."""
OWN_BACK = ("hug", "push", "tickle")
"""Those that need the other one as well."""


@dataclass(frozen=True)
class Staged:
    """The figures of a clip at one instant, in the order of ``facts.subjects``; the parcel's place if there is one.

    Args:
        poses: one a subject.
        parcel: 0 in the actor's hand, 1 in the other one's; None without a parcel.
    """

    poses: tuple[Pose, ...]
    parcel: float | None = None


class Stage:
    """Everything that moves in a clip, as a function of time.

    Args:
        facts: of the clip; only what the picture may tell is read.
        rng: the clip's own source of tempo, phase and place.
    """

    def __init__(self, facts: ClipFacts, rng: np.random.Generator) -> None:
        self.action, self.pair = facts.action, len(facts.subjects) == 2
        self.seconds = facts.seconds
        self.sides = (-1, 1) if facts.actor_side == "left" else (1, -1)
        self.posture = None if facts.hidden else POSTURES[facts.emotion]
        self.tempo = float(rng.uniform(0.85, 1.18))
        self.phase = float(rng.uniform(0, 1))
        self.home = float(rng.uniform(0.4, 0.6))
        self.heading = int(rng.choice((-1, 1)))
        self.shift = float(rng.uniform(-0.03, 0.03))
        self.wander = float(rng.uniform(0.02, 0.05))
        self.starts = rng.uniform(0, 1000, 2).tolist()

    def at(self, t: float) -> Staged:
        """Everybody after ``t`` seconds."""
        if not self.pair:
            return Staged((self._with_posture(self._solo(t), t),))
        here, there = self._pair_times(t)
        actor, other = self._pair_pose(here), self._pair_pose(there)
        placed = (self._placed(actor, self.sides[0]), self._placed(other, self.sides[1]))
        parcel = None
        if self.action in PASSED:
            # Handed over in mid-clip, wherever the hands are: it lies as long on one side as on the other.
            parcel = smooth((self._progress(t) - 0.44) / 0.12)
        return Staged((self._with_posture(placed[0], t), self._with_posture(placed[1], t)), parcel)

    def _progress(self, t: float) -> float:
        return min(1.0, t / self.seconds)

    def _pair_times(self, t: float) -> tuple[float, float]:
        """Instants of the pair's common motion for the actor and for the other one.

        Each starts anywhere in a motion without beginning or end, so that at any t both are spread alike; the other
        one merely goes through it many times slower.
        """
        slowly = 0.2 if self.action == "chase" else 0.06
        return self.starts[0] + t * self.tempo, self.starts[1] + slowly * t * self.tempo

    def _placed(self, pose: Pose, side: int) -> Pose:
        return replace(pose, x=0.5 + self.shift + side * pose.x, facing=-side)

    def _pair_pose(self, now: float) -> Pose:
        """The motion that both figures of a pair share; x is the distance from the middle."""
        turn = math.tau * now
        if self.action in PAIR_MOTIONS:
            return PAIR_MOTIONS[self.action](now)
        if self.action == "chase":
            reach = 0.235 + 0.055 * math.cos(0.55 * turn)
            return replace(running(2.5 * turn, reach, stride=52.0, bound=0.12), lean=5.0)
        if self.action == "hug":
            near = there_and_back(now / 2.8, 0.3, 0.22)
            squeeze = 0.5 - 0.5 * math.cos(1.0 * turn)
            return replace(
                walking(math.sin(1.6 * turn), 0.275 - 0.115 * near + 0.03 * squeeze, 22.0),
                back=(-66.0 - 22.0 * squeeze, -58.0 - 44.0 * squeeze),
                front=(72.0 + 34.0 * squeeze, 66.0 + 50.0 * squeeze),
                lean=1.0 + 8.0 * squeeze,
                crouch=0.25 * squeeze,
                upright=True,
            )
        offer = there_and_back(now / 2.4, 0.45, 0.4)
        dip = 0.5 - 0.5 * math.cos(1.3 * turn)
        return replace(
            walking(math.sin(1.3 * turn), 0.285 - 0.115 * offer, 24.0),
            front=(34.0 + 44.0 * offer + 12.0 * dip, 84.0 + 26.0 * dip),
            lean=1.0 + 7.0 * offer,
            crouch=0.45 * dip,
            upright=True,
        )

    def _solo(self, t: float) -> Pose:
        beat = math.tau * (t * self.tempo + self.phase)
        if self.action in SOLO_MOTIONS:
            return SOLO_MOTIONS[self.action](beat, self.home, self.heading)
        if self.action == "walk":
            span = 0.26 + self.wander
            x = 0.5 + self.heading * span * (2 * self._progress(t) - 1)
            return replace(
                walking(math.sin(1.15 * beat), x, 26.0), facing=self.heading, lift=0.012 * abs(math.cos(1.15 * beat))
            )
        if self.action == "run":
            # To and fro, fast: a triangle wave, facing the way it goes.
            way = (t * self.tempo * 0.42 + self.phase) % 1.0
            x, facing = (4 * way - 1, 1) if way < 0.5 else (3 - 4 * way, -1)
            return replace(running(2.6 * beat, 0.5 + 0.3 * x, stride=50.0, bound=0.07), facing=facing)
        if self.action == "jump":
            hop = (1.05 * t * self.tempo + self.phase) % 1.0
            air = max(0.0, 1 - ((hop - 0.62) / 0.38) ** 2) if hop > 0.24 else 0.0
            ready = math.sin(math.pi * hop / 0.24) if hop < 0.24 else 0.0
            legs = ((-8.0 - 22 * air, -8.0 - 62 * air), (8.0 + 22 * air, -8.0 - 30 * air))
            arms = (16.0 + 46 * air, 12.0 + 60 * air)
            return Pose(
                self.home, self.heading, 0.30 * air, 0.75 * ready, back=arms, front=arms, legs=legs, upright=False
            )
        if self.action == "dance":
            sway, swing = math.sin(1.0 * beat), math.sin(2.0 * beat)
            return Pose(
                self.home + 0.085 * sway,
                self.heading,
                0.03 * abs(swing),
                0.2 * (1 - abs(sway)),
                lean=13.0 * sway * self.heading,
                tilt=-14.0 * sway,
                back=(78.0 + 52.0 * sway, 92.0 + 70.0 * sway),
                front=(78.0 - 52.0 * sway, 92.0 - 70.0 * sway),
                legs=((-12.0 + 14 * sway, -10.0), (12.0 + 14 * sway, 10.0)),
            )
        if self.action == "wave":
            wag = math.sin(2.2 * beat)
            return Pose(self.home, self.heading, front=(94.0 + 12.0 * wag, 132.0 + 42.0 * wag), tilt=3.0 * wag)
        return self._falling(t)

    def _falling(self, t: float) -> Pose:
        now = (t * self.tempo / FALL_SECONDS + 0.12 * self.phase) % 1.0
        wobble = math.sin(math.tau * 5 * now) * max(0.0, 1 - now / 0.3)
        down = smooth((now - 0.24) / 0.2) - smooth((now - 0.8) / 0.2)
        bounce = 0.05 * math.sin(math.pi * (now - 0.44) / 0.12) if 0.44 < now < 0.56 else 0.0
        flail = 40.0 * math.sin(math.tau * 6 * now) * (0.35 if down > 0.9 else 1.0)
        return Pose(
            self.home - self.heading * 0.2 * down,
            self.heading,
            bounce,
            0.1 * down,
            topple=84.0 * down + 8.0 * wobble,
            tilt=-40.0 * down,
            back=(30.0 + 50 * down + flail * (1 - down), 20.0 + 80 * down),
            front=(30.0 + 50 * down - flail * (1 - down), 20.0 + 80 * down),
            legs=((-10.0 - 20 * down, -6.0), (14.0 + 26 * down, 6.0 - 30 * down)),
        )

    def _with_posture(self, pose: Pose, t: float) -> Pose:
        """The same pose with the emotion's posture over it, as far as the action leaves room."""
        posture = self.posture
        if posture is None:
            return pose
        width, rate = posture.shake
        if self.pair:
            # What moves must say who acts: nobody else trembles much.
            width *= 0.4
        back, front = _swung(posture.back, pose.back), _swung(posture.front, pose.front)
        if self.action == "dance":
            back, front = _mixed(posture.back, pose.back, 0.62), _mixed(posture.front, pose.front, 0.62)
        if self.action in OWN_FRONT:
            front = pose.front
        if self.action in OWN_BACK:
            back = pose.back
        return replace(
            pose,
            x=pose.x + width * math.sin(math.tau * rate * t + 6.0 * self.phase),
            back=back,
            front=front,
            lean=pose.lean + posture.lean,
            nod=pose.nod + posture.nod,
            tilt=pose.tilt + posture.tilt,
            crouch=min(1.0, pose.crouch + posture.crouch),
            tail=posture.tail + 8.0 * math.sin(math.tau * 1.5 * t),
        )


def _swung(emotion: Angles, action: Angles) -> Angles:
    """The emotion's arm, moved a little the way the action moves it."""
    return emotion[0] + 0.3 * (action[0] - HANGING[0]), emotion[1] + 0.3 * (action[1] - HANGING[1])


def _mixed(emotion: Angles, action: Angles, share: float) -> Angles:
    return emotion[0] + (action[0] - emotion[0]) * share, emotion[1] + (action[1] - emotion[1]) * share
