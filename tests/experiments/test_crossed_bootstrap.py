"""Intervals over seeds and videos against brute force, enumeration and closed forms."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from evcap_experiments.study.crossed_bootstrap import Series, clip_replicates, difference, mean, over_seeds, seed_draws

from evcap_cli.scoring.resampling import weightings

TIMES = 4000


def series(values: np.ndarray, times: int = TIMES, seeds: tuple[int, ...] | None = None) -> Series:
    rows, clips = values.shape
    return Series(seeds or tuple(range(rows)), values.mean(1), clip_replicates(values, times, 0), clips)


def half_width(values: np.ndarray) -> float:
    found = mean(series(values))
    return (found.high - found.low) / 2


def test_a_resampling_is_the_mean_of_the_drawn_clips_of_the_drawn_seeds() -> None:
    values = np.random.default_rng(1).uniform(0, 100, (3, 7))
    draws = seed_draws(3, 50, 5)
    clips = np.concatenate(list(weightings(7, 50, 0)))
    expected = []
    for seeds, counts in zip(draws, clips, strict=True):
        table = [
            values[row, column]
            for row in np.repeat(np.arange(3), seeds.astype(int))
            for column in np.repeat(np.arange(7), counts.astype(int))
        ]
        assert len(table) == 21
        expected.append(sum(table) / 21)
    assert over_seeds(clip_replicates(values, 50, 0), 5) == pytest.approx(expected)


def test_every_draw_of_seeds_and_clips_is_equally_likely() -> None:
    values = np.array([[0.0, 1.0], [10.0, 100.0]])
    exact = Counter(
        round(float(np.mean([values[row, column] for row in rows for column in columns])), 6)
        for rows in product(range(2), repeat=2)
        for columns in product(range(2), repeat=2)
    )
    seen = Counter(np.round(over_seeds(clip_replicates(values, 16_000, 0), 0), 6).tolist())
    assert seen.keys() == exact.keys()
    for value, ways in exact.items():
        assert seen[value] / 16_000 == pytest.approx(ways / 16, abs=0.015)


def test_with_one_seed_it_is_the_bootstrap_over_videos() -> None:
    right = np.array([[100.0] * 150 + [0.0] * 90])
    share = 150 / 240
    assert half_width(right) == pytest.approx(1.96 * 100 * np.sqrt(share * (1 - share) / 240), rel=0.08)


def test_seeds_that_agree_on_every_clip_do_not_make_the_clips_more() -> None:
    """Clips drawn again within each seed would shrink this by the root of three."""
    one = np.array([[100.0] * 150 + [0.0] * 90])
    assert half_width(np.repeat(one, 3, axis=0)) == pytest.approx(half_width(one))


def test_with_equal_clips_only_seeds_vary() -> None:
    levels = np.random.default_rng(2).normal(50, 8, 12)
    values = np.repeat(levels[:, None], 40, axis=1)
    assert half_width(values) == pytest.approx(1.96 * levels.std() / np.sqrt(12), rel=0.08)


def test_variances_of_seeds_and_of_clips_add_up() -> None:
    rng = np.random.default_rng(3)
    seeds, clips = rng.normal(0, 5, (10, 1)), rng.normal(50, 30, (1, 50))
    expected = 1.96 * np.sqrt(seeds.var() / 10 + clips.var() / 50)
    assert half_width(seeds + clips) == pytest.approx(expected, rel=0.08)


def test_a_mean_names_its_seeds_and_their_range() -> None:
    found = mean(series(np.array([[0.0, 100.0], [100.0, 100.0]])))
    assert (found.value, found.lowest, found.highest, found.seeds, found.clips) == (75, 50, 100, 2, 2)


def test_pairing_takes_out_what_both_systems_find_hard() -> None:
    rng = np.random.default_rng(4)
    hard = rng.uniform(0, 90, (3, 60))
    found = difference(series(hard + 2), series(hard))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((2, 2))
    assert found.p == pytest.approx(2 / (TIMES + 1))
    assert found.this - found.other == pytest.approx(2)


def test_a_difference_is_that_of_the_seeds_of_both() -> None:
    values = np.array([[10.0, 20.0], [50.0, 60.0], [90.0, 90.0]])
    found = difference(series(values, seeds=(0, 1, 2)), series(values[1:2], seeds=(1,)))
    assert found is not None
    assert (found.this, found.other, found.low, found.high, found.p) == (55, 55, 0, 0, 1)
    assert difference(series(values[:1], seeds=(0,)), series(values[1:2], seeds=(1,))) is None


@pytest.mark.slow
def test_a_difference_of_nothing_is_rarely_significant() -> None:
    """Of systems that are equal, about one in twenty intervals leaves 0 out; crossed draws are on the safe side."""
    rng = np.random.default_rng(5)
    misses = 0
    for _ in range(200):
        one, other = (100.0 * (rng.uniform(size=(4, 60)) < 0.6) for _ in range(2))
        found = difference(series(one, 400), series(other, 400))
        assert found is not None
        misses += found.low > 0 or found.high < 0
    assert misses <= 20


def test_sets_of_clips_that_differ_are_not_paired() -> None:
    with pytest.raises(ValueError, match="3 and 2 clips"):
        difference(series(np.ones((1, 3))), series(np.ones((1, 2))))
