"""Invented captions for measurements of scoring.

Common English in the order that captions have, so that stems, synonyms and paraphrases occur, mixed with invented words
whose counts follow Zipf's law, so that the vocabulary is as wide as a data set's.
"""

from __future__ import annotations

import random
from itertools import accumulate

PEOPLE = """man/woman/boy/girl/child/kid/person/people/couple/family/lady/guy/baby/father/mother/friend/player/teacher
/group of people/young man/old woman/little girl/dog/cat/crowd/student/dancer/singer""".replace("\n", "").split("/")
ACTS = """is talking to/is speaking to/walks to/is walking with/is looking at/looks at/is watching/plays with
/is playing with/is crying because of/is laughing at/smiles at/is running to/runs away from/is holding/holds
/takes care of/is taking a picture of/is fighting with/shouts at/is shouting at/is afraid of/is sitting next to
/is standing in front of/is dancing with/hugs/is driving/is eating/tries to catch/is trying to find/is waiting for
/picks up/gives up on/is telling a story about""".replace("\n", "").split("/")
THINGS = """ball/car/house/street/book/phone/cake/table/door/window/bicycle/horse/guitar/letter/picture/film/river
/kitchen/park/road/garden/train/room/bed/game/gift/toy/tree/mountain/snow/rain/fire/light/sea/beach/boat""".replace(
    "\n", ""
).split("/")
ENDS = """happily/sadly/angrily/in surprise/with joy/with great joy/and feels very sad/and is very happy/in fear
/in a hurry/with a smile on his face/and is very angry/and looks worried/because he is afraid/quietly/at the same time
/in the end/for the first time/as soon as possible/in order to help/a lot/again and again""".replace("\n", "").split(
    "/"
)
FIRST = ("a", "the", "a", "two", "some", "one", "his", "her")
INVENTED = 9000
SHARE_INVENTED = 0.4
"""Of the nouns: with this the 6,500 captions of a test set hold some 4,000 words, as EmVidCap-L's do."""


class InventedCaptions:
    """Captions by video: those of one video share who and what, as descriptions of one clip do.

    Args:
        seed: everything drawn depends on it.
    """

    def __init__(self, seed: int = 0) -> None:
        self.draw = random.Random(seed)
        syllables = [c + v for c in "bdfgklmnprstvz" for v in ("a", "e", "i", "o", "u", "ar", "en", "il")]
        self.words = ["".join(self.draw.choices(syllables, k=self.draw.choice((2, 2, 3)))) for _ in range(INVENTED)]
        self.cumulated = list(accumulate((rank + 3) ** -0.6 for rank in range(INVENTED)))

    def _noun(self, known: list[str]) -> str:
        if self.draw.random() < SHARE_INVENTED:
            return self.draw.choices(self.words, cum_weights=self.cumulated)[0]
        return known[min(int(self.draw.expovariate(5 / len(known))), len(known) - 1)]

    def _caption(self, who: list[str], what: list[str]) -> str:
        draw = self.draw
        subject = draw.choice(who) if draw.random() < 0.8 else self._noun(PEOPLE)
        thing = draw.choice(what) if draw.random() < 0.6 else self._noun(THINGS)
        parts = [draw.choice(FIRST), subject, draw.choice(ACTS), draw.choice(FIRST), thing]
        if draw.random() < 0.5:
            parts += [draw.choice(("in", "on", "near", "behind")), "the", self._noun(THINGS)]
        if draw.random() < 0.8:
            parts.append(draw.choice(ENDS))
        return " ".join(parts)

    def data_set(self, videos: int, references: int) -> tuple[dict[str, str], dict[str, list[str]]]:
        """One caption a video, and its references."""
        captions: dict[str, str] = {}
        truth: dict[str, list[str]] = {}
        for number in range(videos):
            who = [self._noun(PEOPLE) for _ in range(3)]
            what = [self._noun(THINGS if self.draw.random() < 0.6 else PEOPLE) for _ in range(4)]
            name = f"vid{number + 10000}"
            truth[name] = [self._caption(who, what) for _ in range(references)]
            captions[name] = self._caption(who, what)
        return captions, truth
