"""Captions of the demo world: counted, read back, and searched as a captioner that knows the grammar would."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from evcap_experiments.caption_judging import judge, read_caption

from evcap_cli.data.caption_text import tokens
from evcap_cli.demo.facts import EMOTIONS
from evcap_cli.demo.grammar import Choice, caption_spread, emotional_caption, neutral_caption, spread, write_captions
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.demo.wording import DEMO_LEXICON, EMOTION_WORDS

FACTS = make_facts(400, seed=8)
ALONE, TOGETHER = (
    # a clip of each emotion, of each kind: searching all would take minutes
    list({clip.emotion: clip for clip in FACTS if len(clip.subjects) == number}.values())
    for number in (1, 2)
)
CAPTIONS = {clip.id: write_captions(clip) for clip in FACTS}


def test_captions_are_a_function_of_the_facts() -> None:
    assert write_captions(FACTS[0]) == CAPTIONS[FACTS[0].id]


def test_every_clip_has_8_to_20_different_captions_in_normal_form() -> None:
    assert {len(texts) for texts in CAPTIONS.values()} == set(range(8, 21))
    for texts in CAPTIONS.values():
        assert len(set(texts)) == len(texts)
        assert all(text == " ".join(tokens(text)) for text in texts)  # nothing cut, nothing deleted


def test_a_quarter_of_the_captions_tells_no_emotion() -> None:
    mentions = [bool(read_caption(text).emotions) for texts in CAPTIONS.values() for text in texts]
    assert 1 - sum(mentions) / len(mentions) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_each_emotion_has_one_dominant_form(emotion: str) -> None:
    texts = [text for clip in FACTS if clip.emotion == emotion for text in CAPTIONS[clip.id]]
    manners = Counter(form for text in texts for _, form in EMOTION_WORDS[emotion].manner if f" {form} " in f" {text} ")
    assert manners.total() / len(texts) == pytest.approx(0.45, abs=0.06)
    usual = EMOTION_WORDS[emotion].manner[0][1]
    assert manners[usual] > 0.7 * manners.total()
    # and the others occur: as adjective, noun or clause
    kinds = EMOTION_WORDS[emotion]
    for forms in (kinds.adjectives, kinds.nouns):
        assert all(any(f" {form} " in f" {text} " for text in texts) for _, form in forms)


def test_emotion_words_stand_in_one_category_each_named_as_the_emotions() -> None:
    assert set(DEMO_LEXICON.categories) == set(EMOTIONS)
    assert DEMO_LEXICON.entries == len(DEMO_LEXICON.words)
    assert all(category in DEMO_LEXICON.table[category] for category in EMOTIONS)
    said = {word for texts in CAPTIONS.values() for text in texts for word in text.split()}
    assert set(DEMO_LEXICON.words) <= said


def test_every_caption_is_true_and_says_who_does_what() -> None:
    for clip in FACTS:
        for text in CAPTIONS[clip.id]:
            verdict = judge(clip, text)
            assert verdict.action_with_roles_right, text
            assert verdict.place_right or not verdict.place_mentioned, text
            assert verdict.emotion_right or not verdict.emotion_mentioned, text


def test_orders_voices_and_synonyms_vary() -> None:
    texts = [text for of_clip in CAPTIONS.values() for text in of_clip]
    for piece in (" is chased by ", " is given a parcel by ", "there is ", "full of ", " gentleman ", " kitten "):
        assert any(piece in f" {text} " for text in texts), piece
    assert len(set(texts)) > 0.9 * len(texts)
    assert 100 < len({word for text in texts for word in text.split()}) < 250


def test_spread_is_what_sampling_gives() -> None:
    phrase = (
        Choice(
            ((3, "a"), (1, ("b", Choice(((1, "c"), (1, "")))))),
        ),
        "d",
    )
    assert spread(phrase) == pytest.approx({"a d": 0.75, "b c d": 0.125, "b d": 0.125})
    clip = FACTS[0]
    assert sum(caption_spread(clip).values()) == pytest.approx(1.0)
    possible = spread(emotional_caption(clip)).keys() | spread(neutral_caption(clip)).keys()
    assert set(CAPTIONS[clip.id]) <= possible


def _searched(sentences: dict[str, float], beams: int = 5) -> str:
    """The sentence a beam search finds that knows the exact distribution: words, end mark, score as in section 1.5."""
    mass: dict[tuple[str, ...], float] = defaultdict(float)
    following: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for sentence, share in sentences.items():
        words = (*sentence.split(), ".")
        for length in range(len(words) + 1):
            mass[words[:length]] += share
            if length:
                following[words[: length - 1]].add(words[length - 1])
    done: list[tuple[float, tuple[str, ...]]] = []
    open_: list[tuple[str, ...]] = [()]
    while open_:
        longer = sorted(
            ((*head, word) for head in open_ for word in following[head]), key=lambda words: (-mass[words], words)
        )[:beams]
        ended = [words for words in longer if words[-1] == "."]
        done += [(math.log(mass[words]) / ((5 + len(words)) / 6) ** 1.6, words) for words in ended]
        open_ = [words for words in longer if words[-1] != "."]
    return " ".join(max(done)[1][:-1])


@pytest.mark.slow
def test_a_search_of_the_exact_distribution_tells_everything() -> None:
    for clip in [*ALONE, *TOGETHER]:
        text = _searched(caption_spread(clip))
        verdict = judge(clip, text)
        assert verdict.action_with_roles_right, text
        assert verdict.emotion_right, text
        assert verdict.place_right, text
        assert EMOTION_WORDS[clip.emotion].manner[0][1] in text


@pytest.mark.parametrize("sure", [0.4, 0.6])
@pytest.mark.slow
def test_a_captioner_that_is_half_sure_of_the_emotion_still_names_it(sure: float) -> None:
    for clip in ALONE:
        doubtful: dict[str, float] = defaultdict(float)
        for emotion in EMOTIONS:
            share = sure if emotion == clip.emotion else (1 - sure) / 7
            for text, part in caption_spread(replace(clip, emotion=emotion)).items():
                doubtful[text] += share * part
        verdict = judge(clip, _searched(doubtful))
        assert verdict.action_with_roles_right
        assert verdict.emotion_right
