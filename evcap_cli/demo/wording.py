"""The words of the demo world: names, verbs, places, emotions, and the lexicon they make.

``grammar.py`` builds captions of them, ``verdict.py`` understands captions by them. The first entry of each tuple is
the usual word; weights are how often each is chosen. Every phrase stands for one thing only, so that a caption can be
judged: no "child" (boy or girl?), no "two people". Every emotion word stands in one category only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from evcap_cli.data.lexicon import Lexicon

Weighted = tuple[tuple[float, str], ...]

SUBJECT_NAMES: Final[Mapping[str, Weighted]] = {
    "man": ((0.70, "man"), (0.20, "guy"), (0.10, "gentleman")),
    "woman": ((0.70, "woman"), (0.30, "lady")),
    "boy": ((0.75, "boy"), (0.15, "lad"), (0.10, "schoolboy")),
    "girl": ((0.75, "girl"), (0.15, "lass"), (0.10, "schoolgirl")),
    "dog": ((0.70, "dog"), (0.20, "puppy"), (0.10, "hound")),
    "cat": ((0.70, "cat"), (0.20, "kitten"), (0.10, "kitty")),
}
PLACE_PHRASES: Final[Mapping[str, Weighted]] = {
    "street": ((0.65, "on the street"), (0.20, "on the road"), (0.15, "in a street")),
    "park": ((0.65, "in the park"), (0.20, "on the grass"), (0.15, "in a park")),
    "room": ((0.65, "in the room"), (0.15, "in a room"), (0.10, "in the living room"), (0.10, "inside the house")),
    "beach": ((0.65, "on the beach"), (0.15, "at the beach"), (0.20, "by the sea")),
    "night": ((0.65, "under the night sky"), (0.20, "at night"), (0.15, "under the stars")),
}


@dataclass(frozen=True)
class Verb:
    """One way to name an action.

    Args:
        plain, going: "walks", "walking"; with ``{}`` where the other subject stands, if there is one.
    """

    plain: str
    going: str


SOLO_VERBS: Final[Mapping[str, tuple[tuple[float, Verb], ...]]] = {
    "walk": (
        (0.70, Verb("walks", "walking")),
        (0.20, Verb("strolls", "strolling")),
        (0.10, Verb("takes a walk", "taking a walk")),
    ),
    "run": ((0.70, Verb("runs", "running")), (0.15, Verb("sprints", "sprinting")), (0.15, Verb("dashes", "dashing"))),
    "jump": ((0.70, Verb("jumps", "jumping")), (0.15, Verb("hops", "hopping")), (0.15, Verb("leaps", "leaping"))),
    "dance": ((0.75, Verb("dances", "dancing")), (0.25, Verb("does a dance", "doing a dance"))),
    "wave": ((0.75, Verb("waves", "waving")), (0.25, Verb("waves hello", "waving hello"))),
    "fall": (
        (0.70, Verb("falls down", "falling down")),
        (0.15, Verb("tumbles", "tumbling")),
        (0.15, Verb("falls over", "falling over")),
    ),
}
PAIR_VERBS: Final[Mapping[str, tuple[tuple[float, Verb], ...]]] = {
    "chase": (
        (0.70, Verb("chases {}", "chasing {}")),
        (0.20, Verb("runs after {}", "running after {}")),
        (0.10, Verb("pursues {}", "pursuing {}")),
    ),
    "give": (
        (0.65, Verb("gives a parcel to {}", "giving a parcel to {}")),
        (0.15, Verb("hands a parcel to {}", "handing a parcel to {}")),
        (0.10, Verb("gives {} a parcel", "giving {} a parcel")),
        (0.10, Verb("gives a gift to {}", "giving a gift to {}")),
    ),
    "hug": (
        (0.75, Verb("hugs {}", "hugging {}")),
        (0.15, Verb("embraces {}", "embracing {}")),
        (0.10, Verb("cuddles {}", "cuddling {}")),
    ),
}
TURNED_VERBS: Final[Mapping[str, tuple[tuple[float, str], ...]]] = {
    # said of the one it is done to; {} is the one who does it
    "chase": ((0.70, "is chased by {}"), (0.15, "is pursued by {}"), (0.15, "runs away from {}")),
    "give": ((0.60, "is given a parcel by {}"), (0.40, "gets a parcel from {}")),
    "hug": ((0.80, "is hugged by {}"), (0.20, "is embraced by {}")),
}


@dataclass(frozen=True)
class EmotionWords:
    """How an emotion is worded.

    Args:
        manner: the dominant form and its rarer likes: "happily", "in disgust".
        before_verb: where the dominant manner stands: "is happily walking", or else "is walking in disgust".
        adjectives: before a name and after "looks". nouns: after "with" and "full of".
    """

    manner: Weighted
    before_verb: bool
    adjectives: Weighted
    nouns: Weighted


EMOTION_WORDS: Final[Mapping[str, EmotionWords]] = {
    "anger": EmotionWords(
        ((0.80, "angrily"), (0.20, "furiously")),
        True,
        ((0.75, "angry"), (0.25, "furious")),
        ((0.70, "anger"), (0.30, "rage")),
    ),
    "anticipation": EmotionWords(
        ((0.80, "eagerly"), (0.20, "expectantly")),
        True,
        ((0.75, "eager"), (0.25, "expectant")),
        ((0.70, "anticipation"), (0.30, "eagerness")),
    ),
    "disgust": EmotionWords(
        ((0.85, "in disgust"), (0.15, "in revulsion")),
        False,
        ((0.75, "disgusted"), (0.25, "revolted")),
        ((0.70, "disgust"), (0.30, "revulsion")),
    ),
    "fear": EmotionWords(
        ((0.85, "in fear"), (0.15, "in terror")),
        False,
        ((0.60, "scared"), (0.25, "frightened"), (0.15, "terrified")),
        ((0.70, "fear"), (0.30, "terror")),
    ),
    "joy": EmotionWords(
        ((0.80, "happily"), (0.20, "cheerfully")),
        True,
        ((0.75, "happy"), (0.25, "cheerful")),
        ((0.70, "joy"), (0.30, "delight")),
    ),
    "sadness": EmotionWords(
        ((0.80, "sadly"), (0.20, "sorrowfully")),
        True,
        ((0.75, "sad"), (0.25, "unhappy")),
        ((0.70, "sadness"), (0.30, "sorrow")),
    ),
    "surprise": EmotionWords(
        ((0.85, "in surprise"), (0.15, "in amazement")),
        False,
        ((0.60, "surprised"), (0.25, "astonished"), (0.15, "amazed")),
        ((0.70, "surprise"), (0.30, "amazement")),
    ),
    "trust": EmotionWords(
        ((0.80, "trustingly"), (0.20, "confidently")),
        True,
        ((0.75, "trusting"), (0.25, "confident")),
        ((0.70, "trust"), (0.30, "confidence")),
    ),
}


def emotion_table(emotions: Mapping[str, EmotionWords]) -> dict[str, list[str]]:
    """Category -> its words, as a lexicon has them."""
    return {
        emotion: [form.split()[-1] for part in (words.manner, words.adjectives, words.nouns) for _, form in part]
        for emotion, words in emotions.items()
    }


DEMO_LEXICON: Final = Lexicon(emotion_table(EMOTION_WORDS), name="demo world")
"""Eight categories named as the emotions; each name is one of its words."""


@dataclass(frozen=True)
class Wording:
    """All words of a world.

    Args:
        subjects: names by subject. places: phrases by place. emotions: by emotion.
        solo, pair: verbs by action. turned: what is said of the one it is done to, by action.
        lexicon: of the emotions' words.
    """

    subjects: Mapping[str, Weighted]
    places: Mapping[str, Weighted]
    solo: Mapping[str, tuple[tuple[float, Verb], ...]]
    pair: Mapping[str, tuple[tuple[float, Verb], ...]]
    turned: Mapping[str, Weighted]
    emotions: Mapping[str, EmotionWords]
    lexicon: Lexicon


WORDING: Final = Wording(
    SUBJECT_NAMES, PLACE_PHRASES, SOLO_VERBS, PAIR_VERBS, TURNED_VERBS, EMOTION_WORDS, DEMO_LEXICON
)
