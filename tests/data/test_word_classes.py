"""Things, actions and neither, told from invented captions alone."""

from __future__ import annotations

import random

import pytest

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.word_classes import WordClasses, singular, stem

LEXICON = Lexicon({"joy": ["happy", "happily", "love"], "fear": ["scared"]}, name="two")
CAPTIONS = """a man is riding a brown horse in the park
a little girl rides horses near a tall building
the little girl is happily singing on a small stage
a man who sings is here
the man looks happy
two boys are running after a red car
the boy wants to open the door
a scared boy opens the door
a family plays football and dances
the family is playing football
people are dancing in the street
a dog that barks is here
the dog chases cats
the dog is chasing a cat
the building is on fire
children run along the beach
there is a man playing a guitar
the man and the woman love the stage""".splitlines()


@pytest.fixture(scope="module")
def classes() -> WordClasses:
    return WordClasses.learn([text.split() for text in CAPTIONS], LEXICON)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "noun",
            "man horse park girl building stage boys boy car door family football street dog cat cats fire guitar",
        ),
        ("verb", "riding rides singing sings looks running open opens playing plays dancing dances barks chases run"),
        ("emotion", "happy happily scared love"),
        (None, "a is in brown little tall red on who and zebra"),
    ],
)
def test_words_are_told_apart_by_their_places(classes: WordClasses, kind: str | None, words: str) -> None:
    assert {word: classes.of(word) for word in words.split()} == dict.fromkeys(words.split(), kind)


def test_the_order_of_captions_changes_nothing(classes: WordClasses) -> None:
    mixed = random.Random(1).sample(CAPTIONS, len(CAPTIONS))
    assert WordClasses.learn([text.split() for text in mixed], LEXICON).table == classes.table


def test_further_captions_add_words_and_change_none(classes: WordClasses) -> None:
    more = classes.extended([text.split() for text in ["a zebra is grazing near the stage", "they park"] * 9])
    assert (more.of("zebra"), more.of("grazing"), more.of("park")) == ("noun", "verb", "noun")
    assert {word: more.of(word) for word in classes.table} == classes.table
    assert more.counts()["noun"] == classes.counts()["noun"] + 1


def test_no_caption_at_all_knows_the_emotion_words_only() -> None:
    empty = WordClasses.learn([], LEXICON)
    assert (empty.of("man"), empty.of("happy")) == (None, "emotion")


@pytest.mark.parametrize(
    "forms",
    [
        "ride rides riding",
        "run runs running",
        "cry cries crying cried",
        "watch watches watching watched",
        "dance dances dancing danced",
        "kiss kisses kissing kissed",
        "fall falls falling",
        "play plays playing played",
    ],
)
def test_forms_of_a_regular_verb_share_a_stem(forms: str) -> None:
    assert len({stem(form) for form in forms.split()}) == 1


def test_stems_of_short_words_are_not_empty() -> None:
    assert all(stem(word) for word in ("a", "ing", "ed", "s", "is", "bed", "ring", "us", "as"))


def test_plurals_lose_their_s_and_other_words_keep_it() -> None:
    plurals = {"horses": "horse", "boxes": "box", "babies": "baby", "benches": "bench", "glasses": "glass"}
    kept = {word: word for word in ("glass", "bus", "tennis", "gas")}
    assert {word: singular(word) for word in (*plurals, *kept)} == plurals | kept
