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
from evcap_cli.demo.variant_wording import wording_of

_SMALL_WORDS: Final = frozenset({"a", "the", "is"})
"""Left out in the search for phrases."""


@dataclass(frozen=True)
class ReportedFacts:
    """What a caption says.

    Args:
        subjects: in the order of the roles: with two, the first does it to the second.
        action, place: None when the caption mentions none or several.
        emotions: categories of the lexicon words, each once, in the order of the caption.
    """

    subjects: tuple[str, ...]
    action: str | None
    place: str | None
    emotions: tuple[str, ...]

    @property
    def emotion(self) -> str | None:
        """The one emotion; None when the caption mentions none or several."""
        return self.emotions[0] if len(self.emotions) == 1 else None


@dataclass(frozen=True)
class JudgedCaption:
    """The facts of a clip and what its caption reports."""

    clip: ClipFacts
    reported: ReportedFacts

    @property
    def subjects_right(self) -> bool:
        """Just these subjects are named, in whatever role."""
        return sorted(self.reported.subjects) == sorted(self.clip.subjects)

    @property
    def roles_right(self) -> bool:
        """Each subject is named in its role (with one subject the same as ``subjects_right``)."""
        return self.reported.subjects == self.clip.subjects

    @property
    def action_right(self) -> bool:
        """Just this action is named."""
        return self.reported.action == self.clip.action

    @property
    def action_with_subjects_right(self) -> bool:
        """The action and the subjects are, in whatever role."""
        return self.subjects_right and self.action_right

    @property
    def action_with_roles_right(self) -> bool:
        """Who does what (to whom) is right."""
        return self.roles_right and self.action_right

    @property
    def place_mentioned(self) -> bool:
        """The caption mentions just one place."""
        return self.reported.place is not None

    @property
    def place_right(self) -> bool:
        """Just this place is named."""
        return self.reported.place == self.clip.place

    @property
    def emotion_mentioned(self) -> bool:
        """The caption mentions any emotion."""
        return bool(self.reported.emotions)

    @property
    def emotion_right(self) -> bool:
        """Just this emotion is mentioned."""
        return self.reported.emotion == self.clip.emotion


def read_caption(text: str, *, variant: bool = False) -> ReportedFacts:
    """Subjects, action, place and emotions of a caption, by the words its world has for them."""
    names: list[str] = []
    actions: dict[tuple[str, bool], None] = {}
    places: dict[str, None] = {}
    for kind, value, turned in _phrases_in(tokens(text), variant):
        if kind == "subject":
            names.append(value)
        elif kind == "action":
            actions[value, turned] = None
        else:
            places[value] = None
    action, turned = next(iter(actions)) if len(actions) == 1 else (None, False)
    emotions: dict[str, None] = {}
    lexicon = wording_of(variant=variant).lexicon
    for word in tokens(text):
        category = lexicon.first_category(word)
        if category is not None:
            emotions[lexicon.categories[category]] = None
    return ReportedFacts(
        subjects=tuple(reversed(names)) if turned else tuple(names),
        action=action,
        place=next(iter(places)) if len(places) == 1 else None,
        emotions=tuple(emotions),
    )


def judge(clip: ClipFacts, caption: str) -> JudgedCaption:
    """Compare a caption with the facts; "" is wrong in everything."""
    return JudgedCaption(clip, read_caption(caption, variant=clip.variant))


def _phrases_in(words: list[str], variant: bool) -> Iterator[tuple[str, str, bool]]:
    """(kind, value, roles turned) of each known phrase, the longest at each word, none overlapping."""
    known = _known(variant)
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
def _known(variant: bool) -> dict[tuple[str, ...], tuple[str, str, bool]]:
    """Phrase without small words -> (kind, value, roles turned)."""
    found: dict[tuple[str, ...], tuple[str, str, bool]] = {}
    wording = wording_of(variant=variant)

    def add(phrase: str, kind: str, value: str, turned: bool = False) -> None:
        # "chasing {} ..." is known by the words before the name of the other; "gives {} a parcel" by "gives"
        key = tuple(word for word in phrase.split("{}")[0].split() if word not in _SMALL_WORDS)
        meaning = (kind, value, turned)
        if found.setdefault(key, meaning) != meaning:
            raise ValueError(f"{phrase!r} means {found[key]} and {meaning}")

    for subject, names in wording.subjects.items():
        for _, name in names:
            add(name, "subject", subject)
    for place, phrases in wording.places.items():
        for _, phrase in phrases:
            add(phrase, "place", place)
    for verbs in (wording.solo, wording.pair):
        for action, ways in verbs.items():
            for _, verb in ways:
                add(verb.plain, "action", action)
                add(verb.going, "action", action)
    for action, turned_ways in wording.turned.items():
        for _, way in turned_ways:
            add(way, "action", action, turned=True)
            going = way.replace("runs away", "is running away").replace("gets", "is getting")
            add(going.replace("catches", "is catching"), "action", action, True)
    return found
