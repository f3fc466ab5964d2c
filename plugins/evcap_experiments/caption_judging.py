"""Understands captions about the demo world and judges them by a clip's facts.

Reading goes by the phrases of ``wording.py``, not by the grammar: a captioner may mix frames the grammar keeps apart.
It is strict where a caption is muddled: two actions, a third subject or two emotions make no right answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from evcap_cli.data.caption_text import tokens
from evcap_cli.demo.facts import ClipFacts
from evcap_cli.demo.wording import DEMO_LEXICON, PAIR_VERBS, PLACE_PHRASES, SOLO_VERBS, SUBJECT_NAMES, TURNED_VERBS

_SMALL_WORDS: Final = frozenset({"a", "the", "is"})
"""Left out where a phrase is looked for."""


@dataclass(frozen=True)
class Told:
    """What a caption says.

    Args:
        subjects: in the order of the roles: with two, the first does it to the second.
        action, place: None when none or several are told.
        emotions: categories of the lexicon words, each once, in the order told.
    """

    subjects: tuple[str, ...]
    action: str | None
    place: str | None
    emotions: tuple[str, ...]

    @property
    def emotion(self) -> str | None:
        """The one emotion told; None when none or several are."""
        return self.emotions[0] if len(self.emotions) == 1 else None


@dataclass(frozen=True)
class Verdict:
    """A caption beside the facts.

    Args:
        subjects_right: just these subjects are named, in whatever role.
        roles_right: and each in its role (with one subject the same as ``subjects_right``).
        action_right: just this action is named.
        place_right: just this place is named. place_told: any is.
        emotion_right: just this emotion is told. emotion_told: any is.
    """

    subjects_right: bool
    roles_right: bool
    action_right: bool
    place_told: bool
    place_right: bool
    emotion_told: bool
    emotion_right: bool

    @property
    def deed_right(self) -> bool:
        """Who does what (to whom) is right."""
        return self.roles_right and self.action_right


def read_caption(text: str) -> Told:
    """Subjects, action, place and emotions of a caption, by the words this world has for them."""
    names: list[str] = []
    actions: dict[tuple[str, bool], None] = {}
    places: dict[str, None] = {}
    for kind, value, turned in _phrases_in(tokens(text)):
        if kind == "subject":
            names.append(value)
        elif kind == "action":
            actions[value, turned] = None
        else:
            places[value] = None
    action, turned = next(iter(actions)) if len(actions) == 1 else (None, False)
    emotions: dict[str, None] = {}
    for word in tokens(text):
        category = DEMO_LEXICON.first_category(word)
        if category is not None:
            emotions[DEMO_LEXICON.categories[category]] = None
    return Told(
        subjects=tuple(reversed(names)) if turned else tuple(names),
        action=action,
        place=next(iter(places)) if len(places) == 1 else None,
        emotions=tuple(emotions),
    )


def judge(facts: ClipFacts, caption: str) -> Verdict:
    """What a caption gets right about a clip."""
    told = read_caption(caption)
    return Verdict(
        subjects_right=sorted(told.subjects) == sorted(facts.subjects),
        roles_right=told.subjects == facts.subjects,
        action_right=told.action == facts.action,
        place_told=told.place is not None,
        place_right=told.place == facts.place,
        emotion_told=bool(told.emotions),
        emotion_right=told.emotion == facts.emotion,
    )


def _phrases_in(words: list[str]) -> Iterator[tuple[str, str, bool]]:
    """(kind, value, roles turned) of each known phrase, the longest at each word, none overlapping."""
    known = _known()
    plain = [word for word in words if word not in _SMALL_WORDS]
    longest = max(map(len, known))
    start = 0
    while start < len(plain):
        for length in range(min(longest, len(plain) - start), 0, -1):
            meaning = known.get(tuple(plain[start : start + length]))
            if meaning is not None:
                yield meaning
                start += length
                break
        else:
            start += 1


@cache
def _known() -> dict[tuple[str, ...], tuple[str, str, bool]]:
    """Phrase without small words -> (kind, value, roles turned)."""
    found: dict[tuple[str, ...], tuple[str, str, bool]] = {}

    def learn(phrase: str, kind: str, value: str, turned: bool = False) -> None:
        # "chasing {} ..." is known by what stands before the other's name; "gives {} a parcel" by "gives"
        key = tuple(word for word in phrase.split("{}")[0].split() if word not in _SMALL_WORDS)
        meaning = (kind, value, turned)
        if found.setdefault(key, meaning) != meaning:
            raise ValueError(f"{phrase!r} means {found[key]} and {meaning}")

    for subject, names in SUBJECT_NAMES.items():
        for _, name in names:
            learn(name, "subject", subject)
    for place, phrases in PLACE_PHRASES.items():
        for _, phrase in phrases:
            learn(phrase, "place", place)
    for verbs in (SOLO_VERBS, PAIR_VERBS):
        for action, ways in verbs.items():
            for _, verb in ways:
                learn(verb.plain, "action", action)
                learn(verb.going, "action", action)
    for action, turned_ways in TURNED_VERBS.items():
        for _, way in turned_ways:
            learn(way, "action", action, turned=True)
            learn(way.replace("runs away", "is running away").replace("gets", "is getting"), "action", action, True)
    return found
