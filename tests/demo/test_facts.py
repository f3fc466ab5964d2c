"""The demo world's facts: balance and independence, counted."""

from __future__ import annotations

from collections import Counter
from itertools import permutations, product

import pytest

from evcap_cli.demo.facts import EMOTIONS, PAIR_ACTIONS, PLACES, SOLO_ACTIONS, SUBJECTS
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.errors import UsageError

FACTS = make_facts(1200, seed=3)


def _shares(values: list[object]) -> dict[object, float]:
    return {value: count / len(values) for value, count in Counter(values).items()}


def test_same_seed_same_facts_other_seed_others() -> None:
    assert make_facts(50, 1) == make_facts(50, 1)
    assert make_facts(50, 1) != make_facts(50, 2)


@pytest.mark.parametrize("count", [0, -1, 80_001])
def test_impossible_counts_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match="1 to 80000"):
        make_facts(count, 0)


def test_ids_are_unique_and_open_with_the_class_digit() -> None:
    assert len({clip.id for clip in FACTS}) == len(FACTS)
    for clip in FACTS:
        assert len(clip.id) == 8
        assert clip.id.startswith(f"vid{EMOTIONS.index(clip.emotion) + 1}")
        assert clip.id[3:].isdecimal()


def test_emotions_sides_and_places_are_equally_likely() -> None:
    assert set(Counter(clip.emotion for clip in FACTS).values()) == {150}
    assert set(Counter(clip.actor_side for clip in FACTS).values()) == {600}
    assert set(Counter(clip.place for clip in FACTS).values()) == {240}


def test_conditions_have_their_shares_in_every_emotion_and_never_meet() -> None:
    assert not any(clip.hidden and clip.silent for clip in FACTS)
    for emotion in EMOTIONS:
        clips = [clip for clip in FACTS if clip.emotion == emotion]
        assert sum(clip.hidden for clip in clips) / 150 == pytest.approx(0.30, abs=0.03)
        assert sum(clip.silent for clip in clips) / 150 == pytest.approx(0.15, abs=0.03)
        assert sum(len(clip.subjects) == 2 for clip in clips) / 150 == pytest.approx(0.45, abs=0.04)


def test_mood_tells_the_emotion_unless_hidden_and_nothing_then() -> None:
    assert all(clip.mood == clip.emotion for clip in FACTS if not clip.hidden)
    hidden = [clip for clip in make_facts(8000, 4) if clip.hidden]
    assert _shares([clip.mood for clip in hidden]) == pytest.approx(dict.fromkeys(EMOTIONS, 1 / 8), abs=0.01)
    # of 2,400 independent draws an eighth agrees by chance: 300, standard deviation 16
    assert abs(sum(clip.mood == clip.emotion for clip in hidden) - len(hidden) / 8) < 65


def test_pairs_differ_and_take_both_roles() -> None:
    pairs = [clip for clip in FACTS if len(clip.subjects) == 2]
    assert {(clip.subjects, clip.action) for clip in pairs} == set(product(permutations(SUBJECTS, 2), PAIR_ACTIONS))
    assert {(clip.subjects[0], clip.action) for clip in FACTS if len(clip.subjects) == 1} == set(
        product(SUBJECTS, SOLO_ACTIONS)
    )


@pytest.mark.parametrize("other", ["subject", "action", "place", "actor_side", "hidden", "silent"])
def test_emotion_is_independent_of_everything_else(other: str) -> None:
    clips = make_facts(4000, 5)
    seen = Counter((clip.emotion, clip.subjects[0] if other == "subject" else getattr(clip, other)) for clip in clips)
    alone = Counter(value for _, value in seen.elements())
    square = sum(
        (seen[emotion, value] - alone[value] / 8) ** 2 / (alone[value] / 8) for emotion in EMOTIONS for value in alone
    )
    # independence gives a chi-square about its degrees of freedom; dealt from decks it can only be smaller
    freedom = 7 * (len(alone) - 1)
    assert square < freedom + 4 * (2 * freedom) ** 0.5


def test_side_says_nothing_about_who_acts() -> None:
    clips = [clip for clip in make_facts(4000, 6) if len(clip.subjects) == 2]
    for subject in SUBJECTS:
        sides = [clip.actor_side for clip in clips if clip.subjects[0] == subject]
        assert sides.count("left") / len(sides) == pytest.approx(0.5, abs=0.1)


def test_a_small_world_shows_different_things() -> None:
    clips = make_facts(12, 7)
    assert {clip.emotion for clip in clips} == set(EMOTIONS)
    assert len({(clip.subjects, clip.action) for clip in clips}) == 12
    assert {clip.place for clip in clips} == set(PLACES)
    assert any(clip.hidden for clip in clips)
    assert {len(clip.subjects) for clip in clips} == {1, 2}
    assert all(3 <= clip.seconds <= 6 for clip in clips)
