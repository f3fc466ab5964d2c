"""The words of the variant world, and which words a world has.

The same eight emotions and five places as in ``wording.py``, by other words; other subjects and actions. Only small
words ("a", "is", "in") and the frames of the grammar are common to both.
"""

from __future__ import annotations

from typing import Final

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.demo.wording import WORDING, EmotionWords, Verb, Weighted, Wording, emotion_table

# names begin with a consonant: the grammar says "a" before them
_SUBJECTS: Final[dict[str, Weighted]] = {
    "robot": ((0.70, "robot"), (0.20, "droid"), (0.10, "machine")),
    "wizard": ((0.70, "wizard"), (0.20, "sorcerer"), (0.10, "magician")),
    "ghost": ((0.70, "ghost"), (0.20, "phantom"), (0.10, "spirit")),
    "penguin": ((0.80, "penguin"), (0.20, "seabird")),
    "rabbit": ((0.70, "rabbit"), (0.20, "bunny"), (0.10, "hare")),
    "frog": ((0.75, "frog"), (0.25, "toad")),
}
_PLACES: Final[dict[str, Weighted]] = {
    "street": ((0.65, "in the city"), (0.20, "along the avenue"), (0.15, "downtown")),
    "park": ((0.65, "in the garden"), (0.20, "on the lawn"), (0.15, "in a garden")),
    "room": ((0.65, "in the hall"), (0.20, "indoors"), (0.15, "in a hall")),
    "beach": ((0.65, "on the shore"), (0.20, "by the ocean"), (0.15, "at the seaside")),
    "night": ((0.65, "in the dark"), (0.20, "at midnight"), (0.15, "in the moonlight")),
}
_SOLO: Final[dict[str, tuple[tuple[float, Verb], ...]]] = {
    "spin": ((0.70, Verb("spins", "spinning")), (0.30, Verb("twirls", "twirling"))),
    "bow": ((0.70, Verb("bows", "bowing")), (0.30, Verb("takes a bow", "taking a bow"))),
    "kick": ((0.75, Verb("kicks", "kicking")), (0.25, Verb("kicks out", "kicking out"))),
    "squat": ((0.70, Verb("squats", "squatting")), (0.30, Verb("does squats", "doing squats"))),
    "march": ((0.75, Verb("marches", "marching")), (0.25, Verb("parades", "parading"))),
    "roll": ((0.70, Verb("rolls over", "rolling over")), (0.30, Verb("does a cartwheel", "doing a cartwheel"))),
}
_PAIR: Final[dict[str, tuple[tuple[float, Verb], ...]]] = {
    "push": ((0.75, Verb("pushes {}", "pushing {}")), (0.25, Verb("shoves {}", "shoving {}"))),
    "tickle": ((0.75, Verb("tickles {}", "tickling {}")), (0.25, Verb("pokes {}", "poking {}"))),
    "throw": (
        (0.65, Verb("throws a ball to {}", "throwing a ball to {}")),
        (0.20, Verb("tosses a ball to {}", "tossing a ball to {}")),
        (0.15, Verb("throws {} a ball", "throwing {} a ball")),
    ),
}
_TURNED: Final[dict[str, Weighted]] = {
    "push": ((0.75, "is pushed by {}"), (0.25, "is shoved by {}")),
    "tickle": ((0.75, "is tickled by {}"), (0.25, "is poked by {}")),
    "throw": ((0.60, "is thrown a ball by {}"), (0.40, "catches a ball from {}")),
}


def _emotion(
    manner: tuple[str, str], adjectives: tuple[str, str], nouns: tuple[str, str], *, before_verb: bool
) -> EmotionWords:
    """Two of each kind, the usual one first."""
    ways = [((0.80, usual), (0.20, rare)) for usual, rare in (manner, adjectives, nouns)]
    return EmotionWords(ways[0], before_verb, ways[1], ways[2])


_EMOTIONS: Final[dict[str, EmotionWords]] = {
    "anger": _emotion(("crossly", "irately"), ("cross", "irate"), ("fury", "wrath"), before_verb=True),
    "anticipation": _emotion(
        ("impatiently", "keenly"), ("impatient", "keen"), ("impatience", "suspense"), before_verb=True
    ),
    "disgust": _emotion(
        ("in distaste", "in loathing"), ("sickened", "repelled"), ("distaste", "loathing"), before_verb=False
    ),
    "fear": _emotion(("in panic", "in dread"), ("fearful", "panicky"), ("panic", "dread"), before_verb=False),
    "joy": _emotion(("joyfully", "gleefully"), ("joyful", "gleeful"), ("happiness", "glee"), before_verb=True),
    "sadness": _emotion(("gloomily", "tearfully"), ("gloomy", "tearful"), ("grief", "gloom"), before_verb=True),
    "surprise": _emotion(
        ("in astonishment", "in wonder"), ("startled", "stunned"), ("astonishment", "wonder"), before_verb=False
    ),
    "trust": _emotion(("faithfully", "loyally"), ("faithful", "loyal"), ("faith", "loyalty"), before_verb=True),
}

VARIANT_WORDING: Final = Wording(
    _SUBJECTS, _PLACES, _SOLO, _PAIR, _TURNED, _EMOTIONS, Lexicon(emotion_table(_EMOTIONS), name="demo world, variant")
)


def wording_of(*, variant: bool) -> Wording:
    """The words of the variant world, or of the usual one."""
    return VARIANT_WORDING if variant else WORDING
