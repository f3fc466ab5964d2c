"""Labels of a clip: no two alike, the best first, and only what the other candidates bear out."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from evcap_cli.labelling.choosing import choose
from evcap_cli.output.records import Caption


def captions(*texts: str, scores: list[float] | None = None) -> list[Caption]:
    return [Caption(0.0, 1.0, text, None if scores is None else scores[n]) for n, text in enumerate(texts)]


def texts(found: tuple[Caption, ...]) -> list[str]:
    return [caption.text for caption in found]


def alike(one: str, other: str) -> float:
    """Mean cosine of the counts of 1- to 4-grams, spelled out."""
    total = 0.0
    for n in range(1, 5):
        first, second = (
            Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
            for words in (one.split(), other.split())
        )
        lengths = math.prod(math.sqrt(sum(value * value for value in count.values())) for count in (first, second))
        total += sum(first[gram] * second[gram] for gram in first) / max(1.0, lengths)
    return total / 4


def test_captions_that_say_the_same_are_one_label() -> None:
    found = choose(captions("A dog runs.", "a dog runs", "a  dog  runs!", "a cat", ""), 5)
    assert texts(found.captions) == ["A dog runs.", "a cat"]


def test_the_first_is_the_best_and_the_next_ones_differ_from_it() -> None:
    given = captions("a dog runs fast", "a dog runs fast now", "the sea is calm", scores=[-0.5, -0.6, -0.7])
    assert texts(choose(given, 1).captions) == ["a dog runs fast"]
    assert texts(choose(given, 2).captions) == ["a dog runs fast", "the sea is calm"]
    # a much worse one is not worth its difference
    worse = captions("a dog runs fast", "a dog runs fast now", "the sea is calm", scores=[-0.5, -0.6, -9.0])
    assert texts(choose(worse, 2).captions) == ["a dog runs fast", "a dog runs fast now"]


def test_the_first_stays_the_captioners_first_whatever_the_scores_say() -> None:
    given = captions("a dog", "a cat", scores=[-2.0, -1.0])
    assert texts(choose(given, 2).captions)[0] == "a dog"


def test_agreement_is_the_mean_likeness_to_the_others() -> None:
    given = ["a dog runs in the park", "a dog runs in the rain", "the sea is calm"]
    expected = [
        sum(alike(one, other) for other in given if other != one) / 2  # without scores all others count the same
        for one in given
    ]
    assert choose(captions(*given), 3).agreement == pytest.approx(max(expected))
    between = (sorted(expected)[0] + sorted(expected)[1]) / 2
    found = choose(captions(*given), 3, between)
    assert texts(found.captions) == [text for text, value in zip(given, expected, strict=True) if value >= between]
    assert found.disagreeing == 1
    none = choose(captions(*given), 3, max(expected) + 1e-9)
    assert (none.captions, none.disagreeing) == ((), 3)


def test_a_captioner_that_writes_the_same_again_and_again_agrees_with_itself() -> None:
    found = choose(captions("a dog", "A dog.", "a dog"), 5, 1.0)
    assert (texts(found.captions), found.agreement, found.disagreeing) == (["a dog"], 1.0, 0)


def test_without_a_word_there_is_no_label() -> None:
    found = choose(captions("", "!!!", "..."), 5, 0.5)
    assert (found.captions, found.agreement) == ((), None)
