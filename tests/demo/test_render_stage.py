"""The design of pairs: stills are exchangeable, motion is not."""

from __future__ import annotations

import numpy as np
import pytest

from evcap_cli.demo.facts import PAIR_ACTIONS, VARIANT_CAST, ClipFacts
from evcap_cli.demo.motions import Stage
from evcap_cli.demo.poses import Pose

PAIRS = (*PAIR_ACTIONS, *VARIANT_CAST.pair_actions)


def pair(action: str, side: str, seed: int) -> ClipFacts:
    return ClipFacts("vid11111", ("man", "dog"), action, "park", "joy", side, False, False, "joy", 4.0, seed)


def poses_left_to_right(facts: ClipFacts, t: float) -> list[Pose]:
    staged = Stage(facts, np.random.default_rng(facts.seed)).at(t)
    return sorted(staged.poses, key=lambda pose: pose.x)


def numbers(pose: Pose) -> list[float]:
    return [
        *(abs(pose.x - 0.5), pose.lift, pose.crouch, pose.lean, *pose.front, *pose.back),
        *(angle for leg in pose.legs for angle in leg),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("action", PAIRS)
@pytest.mark.parametrize("t", [0.0, 1.9])
def test_a_still_of_a_pair_does_not_tell_the_roles(action: str, t: float) -> None:
    rng = np.random.default_rng(0)
    sides = rng.choice(["left", "right"], 1200)
    stills = []
    for seed, side in enumerate(sides):
        left, right = poses_left_to_right(pair(action, str(side), seed), t)
        stills.append(numbers(left) + numbers(right))
    x = np.asarray(stills)
    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    x = np.concatenate([x, x**2, x[:, :12] * x[:, 12:], np.ones((len(x), 1))], axis=1)
    truth = np.where(sides == "left", 1.0, -1.0)
    weights = np.linalg.solve(x[:800].T @ x[:800] + 10.0 * np.eye(x.shape[1]), x[:800].T @ truth[:800])
    right_ones = float(np.mean(np.sign(x[800:] @ weights) == truth[800:]))
    # Chance with 400 stills: 0.5, standard deviation 0.025.
    assert 0.4 < right_ones < 0.6


@pytest.mark.parametrize("action", PAIRS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_actor_stands_on_its_side_and_moves_more_all_the_time(action: str, side: str) -> None:
    for seed in range(8):
        stage = Stage(pair(action, side, seed), np.random.default_rng(seed))
        staged = [stage.at(t) for t in np.arange(0.0, 4.0, 0.08)]
        assert all((s.poses[0].x < s.poses[1].x) == (side == "left") for s in staged)
        moved = np.abs(np.diff(np.asarray([[numbers(p) for p in s.poses] for s in staged]), axis=0)).sum(-1)
        for start in range(0, len(moved) - 16, 8):
            actor, other = moved[start : start + 16].mean(0)
            assert actor > 1.5 * other


def test_a_parcel_goes_from_the_actor_to_the_other_one() -> None:
    stage = Stage(pair("give", "left", 3), np.random.default_rng(3))
    assert [stage.at(t).parcel for t in (0.0, 1.0, 2.0, 3.0, 4.0)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert Stage(pair("hug", "left", 3), np.random.default_rng(3)).at(1.0).parcel is None
