"""Which test clips are nearly training clips, against a count that loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evcap_cli.features import near_duplicates as module
from evcap_cli.features.familiarity import LEAST_CLIPS, ClipMeans
from evcap_cli.features.near_duplicates import NEAR, near_duplicates, usual_distance
from evcap_cli.training.root_duplicates import COMPARED, LEAST_VIDEOS


def clips(count: int, seed: int, *, motion: bool = True) -> dict[str, dict[str, torch.Tensor]]:
    """Random clip means whose dimensions have scales of their own."""
    draw = np.random.default_rng(seed)
    scale = np.geomspace(0.01, 100, 12)
    found = {}
    for number in range(count):
        rows = {"appearance": torch.from_numpy(draw.normal(size=12) * scale)}
        if motion:
            rows["motion"] = torch.from_numpy(draw.normal(size=5))
        found[f"{seed}-{number}"] = rows
    return found


def moved(clip: ClipMeans, share: float, seed: int = 5) -> dict[str, torch.Tensor]:
    """``clip`` with each value off by a share of its dimension's scale."""
    draw = np.random.default_rng(seed)
    scales = {"appearance": np.geomspace(0.01, 100, 12), "motion": np.ones(5)}
    return {
        kind: values + torch.from_numpy(draw.normal(size=len(values)) * scales[kind] * share)
        for kind, values in clip.items()
    }


def test_the_command_and_the_comparison_agree_on_what_is_compared_and_how_many_that_takes() -> None:
    assert (LEAST_VIDEOS, COMPARED) == (LEAST_CLIPS, module.KINDS)


def test_copies_are_found_with_their_original_and_others_are_not() -> None:
    train = clips(60, 1)
    test = clips(20, 2) | {"copy": moved(train["1-17"], 0.05), "same": train["1-40"]}
    found = near_duplicates(train, test)
    assert found is not None
    assert [(pair.train, pair.test) for pair in found] == [("1-17", "copy"), ("1-40", "same")]
    assert 0 < found[0].distance < NEAR
    assert found[1].distance == 0


def test_the_picture_alone_is_not_enough_where_the_motion_differs() -> None:
    """Two takes of one scene look alike; they are no copies."""
    train = clips(60, 1)
    take = {"appearance": train["1-17"]["appearance"], "motion": train["1-3"]["motion"]}
    assert near_duplicates(train, {"take": take}) == []
    silent = near_duplicates(train, {"take": {"appearance": take["appearance"]}})
    assert silent is not None
    assert [(pair.train, pair.test) for pair in silent] == [("1-17", "take")], "without motion the picture decides"


def test_a_clip_of_both_splits_is_not_its_own_duplicate() -> None:
    train = clips(60, 1)
    assert near_duplicates(train, {"1-17": train["1-17"]}) == []
    other = train | {"twin": moved(train["1-17"], 0.01)}
    found = near_duplicates(other, {"1-17": train["1-17"]})
    assert found is not None
    assert [pair.train for pair in found] == ["twin"]


def test_too_few_training_clips_say_nothing() -> None:
    assert near_duplicates(clips(LEAST_CLIPS - 1, 1), clips(3, 2)) is None
    assert near_duplicates(clips(LEAST_CLIPS, 1), {}) == []


@pytest.mark.parametrize("rows", [7, 512])
def test_distances_are_those_of_a_loop_whatever_is_in_memory_at_a_time(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    train, test = clips(40, 1, motion=False), clips(15, 2, motion=False)
    test |= {f"copy {n}": moved(train[f"1-{n}"], 0.1 * n, seed=n) for n in range(1, 9)}
    known = np.stack([clip["appearance"].numpy() for clip in train.values()])
    scale = np.maximum(known.std(0, ddof=1), 1e-3 * known.std(0, ddof=1).max())
    standard = (known - known.mean(0)) / scale
    nearest = [min(np.linalg.norm(a - b) for j, b in enumerate(standard) if i != j) for i, a in enumerate(standard)]
    usual = sorted(nearest)[(len(nearest) - 1) // 2]  # torch's median: the lower one
    assert usual_distance(torch.from_numpy(standard)) == pytest.approx(usual)
    expected = {}
    for name, clip in test.items():
        own = (clip["appearance"].numpy() - known.mean(0)) / scale
        apart = [np.linalg.norm(own - row) / usual for row in standard]
        if min(apart) < NEAR:
            expected[name] = (list(train)[int(np.argmin(apart))], pytest.approx(min(apart)))
    found = near_duplicates(train, test)
    assert found is not None
    assert 0 < len(expected) < 8, "some copies are too far off: the threshold is tried"
    assert {pair.test: (pair.train, pair.distance) for pair in found} == expected
