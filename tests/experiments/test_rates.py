"""Rates, their intervals, and captions that saw nothing."""

from __future__ import annotations

import math

import pytest
from evcap_experiments.baselines import constant, shuffled
from evcap_experiments.caption_judging import judge
from evcap_experiments.rates import HIDDEN_WITHOUT_AUDIO, evaluate, wilson

from evcap_cli.demo.facts import ClipFacts
from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.scoring.constant_row import constant_caption

FACTS = make_facts(240, 21)


@pytest.mark.parametrize(("right", "total"), [(0, 10), (8, 10), (81, 263), (263, 263), (1, 1)])
def test_wilson_bounds_solve_the_score_equation(right: int, total: int) -> None:
    """The bounds are where the observed share lies 1.96 standard deviations of the bound from the bound."""
    rate = wilson(right, total)
    for bound in (rate.low, rate.high):
        if 0 < bound < 1:
            assert abs(rate.share - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / total), rel=1e-5)
    assert rate.low <= rate.share <= rate.high


def test_wilson_against_printed_values() -> None:
    # Newcombe (1998), table I: 81 of 263
    rate = wilson(81, 263)
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.2553, 0.3662)
    assert str(wilson(0, 0)) == "no clip"
    assert str(wilson(1, 2)).startswith("50.0 % (1/2; ")


def test_true_captions_that_mention_everything_are_all_right() -> None:
    def complete(clip: ClipFacts, text: str) -> bool:
        judged = judge(clip, text)
        return judged.emotion_mentioned and judged.place_mentioned

    captions = {clip.id: next((text for text in write_captions(clip) if complete(clip, text)), "") for clip in FACTS}
    facts = [clip for clip in FACTS if captions[clip.id]]
    rates = evaluate(facts, captions, without_audio=captions)
    assert all(rate.right == rate.total > 0 for rate in rates.values())
    assert rates["emotion, hidden"].total == rates[HIDDEN_WITHOUT_AUDIO].total == sum(clip.hidden for clip in facts)
    assert (
        rates["emotion"].total
        == sum(rates[f"emotion, {part}"].total for part in ("picture and sound", "no sound", "hidden"))
        == len(facts)
    )


def test_a_missing_caption_is_a_wrong_one() -> None:
    rates = evaluate(FACTS, {})
    assert rates["emotion"].right == 0
    assert rates["emotion"].total == len(FACTS)
    assert rates["place, where mentioned"].total == 0


@pytest.mark.slow
def test_the_constant_caption_is_the_most_frequent() -> None:
    assert constant_caption(["b", "a", "c", "a", "b"]) == "a"
    captions = [text for clip in FACTS for text in write_captions(clip)]
    said = constant(FACTS, captions)
    assert len(set(said.values())) == 1
    assert captions.count(next(iter(said.values()))) == max(map(captions.count, set(captions)))


def test_shuffling_moves_every_caption_and_keeps_all() -> None:
    captions = {clip.id: clip.id for clip in FACTS}
    moved = shuffled(captions, seed=1)
    assert sorted(moved.values()) == sorted(captions.values())
    assert all(moved[clip] != clip for clip in moved)
    assert moved == shuffled(captions, seed=1) != shuffled(captions, seed=2)
    assert shuffled({"a": "x"}) == {"a": "x"}


@pytest.mark.slow
def test_shuffled_true_captions_fall_to_chance() -> None:
    facts = make_facts(2000, 5)
    captions = {
        clip.id: next(text for text in write_captions(clip) if judge(clip, text).emotion_mentioned) for clip in facts
    }
    rates = evaluate(facts, shuffled(captions))
    assert rates["emotion"].share == pytest.approx(1 / 8, abs=0.03)
    assert rates["two subjects: both, roles and action"].share < 0.03
