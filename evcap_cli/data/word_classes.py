"""Which words of a set of captions name things and which name actions, by the captions themselves.

No tagger and no word list of others is used: the closed classes of English (articles, prepositions, auxiliaries, ...)
are written here, and the rest follows from where a word stands. It is a rule of thumb for ``surrogate.py``, which
needs no more; a word is of one class wherever it occurs, and one that is of none (most adjectives and adverbs) is left
out.

In two passes over all captions, adverbs in -ly and emotion words skipped:

1. A form in -ing after "is" is an action, and so is what follows "can" or "who"; the stems of those are the verbs.
   A word alone after an article, and before another closed-class word, is a thing.
2. In a stretch of other words between closed-class words, an action begins at a form in -ing or at an inflected form of
   a verb ("a young woman | rides horses"), or at one in -s or -ing after a thing that was never one itself ("the
   man | looks"); the last word before it and the last one after it are things, the rest are neither.

A word is what it was more often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import pairwise
from typing import Final, Literal, Self

from evcap_cli.data.lexicon import Lexicon

WordClass = Literal["noun", "verb", "emotion"]
_NOUN, _VERB, _OTHER = 0, 1, 2


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_BE: Final = _listed("is are was were be been being am isnt arent wasnt werent")
_MODALS: Final = _listed("will would can could shall should may might must cant cannot dont doesnt didnt")
_SUBJECTS: Final = _listed("i you he she it we they who which that")
_DETERMINERS: Final = _listed(
    "a an the this these those his her its my your our their some any each every another no both all several many few"
    " much one two three four five six seven eight nine ten"
)
_TO: Final = "to"
_CLOSED: Final = (
    _BE
    | _MODALS
    | _SUBJECTS
    | _DETERMINERS
    | _listed(
        "him them us me himself herself itself themselves myself someone somebody something everyone everybody"
        " everything nobody nothing anything other others what whose whom has have had do does did done to in on at of"
        " from with by for into onto over under through across about around against along among behind between beside"
        " besides before after during near off out up down inside outside toward towards upon without within beneath"
        " below above past beyond together away back while as like than until since and or but nor so because if when"
        " where why how then there here not very too also just only again still now even more most such same own almost"
        " yet ago"
    )
)
_LY_NOUNS: Final = _listed("family fly butterfly belly jelly bully lily ally assembly")
"""Things in -ly: every other word in -ly is taken for an adverb."""
_PLURALS: Final = _listed("people men women children police")
"""Plurals without -s that captions are full of."""
_VOWELS: Final = frozenset("aeiouy")
_SHORTEST_STEM: Final = 2


class WordClasses:
    """What each word of some captions is.

    Args:
        lexicon: its words are the emotion words.
        table: class of each other word that has one; None for a word that was seen and has none.
        verbs: stems of the verbs found in the first pass. things: without -s, those found in it.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        table: Mapping[str, WordClass | None],
        verbs: Set[str] = frozenset(),
        things: Set[str] = frozenset(),
    ) -> None:
        self.lexicon, self.table, self.verbs, self.things = lexicon, dict(table), verbs, things

    @classmethod
    def learn(cls, captions: Iterable[Sequence[str]], lexicon: Lexicon) -> Self:
        """Classes of all words of tokenised captions, whatever their order."""
        return cls(lexicon, {}).extended(captions)

    def extended(self, captions: Iterable[Sequence[str]]) -> Self:
        """The same classes, with those of the words that only ``captions`` use: words of a test split, say."""
        bare = [_Skeleton(words, self.lexicon) for words in captions]
        sure = [Counter[str](), Counter[str]()]
        for one in bare:
            one.sure(sure)
        verbs = self.verbs | {stem(word) for word, times in sure[_VERB].items() if times > sure[_NOUN][word]}
        things = self.things | {singular(word) for word in sure[_NOUN]}
        evidence: dict[str, list[int]] = {}
        for one in bare:
            for word, kind in one.classes(verbs, things):
                evidence.setdefault(word, [0, 0, 0])[kind] += 1
        found = {word: _majority(*counts) for word, counts in evidence.items()}
        return type(self)(self.lexicon, {**found, **self.table}, verbs, things)

    def of(self, word: str) -> WordClass | None:
        """The class of one word; None for one that is neither, or was never seen."""
        return "emotion" if word in self.lexicon.word_ids else self.table.get(word)

    def counts(self) -> dict[WordClass, int]:
        """How many words are of each class."""
        known = Counter(kind for kind in self.table.values() if kind is not None)
        return {"noun": known["noun"], "verb": known["verb"], "emotion": len(self.lexicon.words)}


def stem(word: str) -> str:
    """What the forms of a regular verb share: "rid" for ride, rides and riding, "cry" for cries and cried."""
    for ending in ("ing", "ed"):
        cut = word.removesuffix(ending)
        if cut != word and len(cut) >= _SHORTEST_STEM and _VOWELS & set(cut):
            if cut.endswith("i"):
                return cut[:-1] + "y"
            doubled = cut[-1] == cut[-2] and cut[-1] not in "lsz" and len(cut) > _SHORTEST_STEM
            return cut[:-1] if doubled or cut.endswith("e") else cut
    cut = singular(word)
    return cut[:-1] if cut.endswith("e") and len(cut) > _SHORTEST_STEM else cut


def singular(word: str) -> str:
    """A word without the -s of plurals, and of verbs: "box" for boxes, "baby" for babies."""
    if not word.endswith("s") or word.endswith(("ss", "us", "is")) or len(word) <= _SHORTEST_STEM + 1:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "shes", "ches", "xes")) else word[:-1]


def _majority(nouns: int, verbs: int, others: int) -> WordClass | None:
    if others > max(nouns, verbs):
        return None
    return "noun" if nouns >= verbs else "verb"


def _is_ing(word: str) -> bool:
    return word.endswith("ing") and len(word) > 4 and bool(_VOWELS & set(word[:-3]))


class _Skeleton:
    """A caption without its adverbs and emotion words, cut into stretches of open-class words.

    ``stretches`` holds (the closed-class word before it or "", the words, the one after it or "").
    """

    def __init__(self, words: Sequence[str], lexicon: Lexicon) -> None:
        self.stretches: list[tuple[str, list[str], str]] = []
        before, run = "", list[str]()
        for word in words:
            adverb = word.endswith("ly") and len(word) > 3 and word not in _LY_NOUNS
            if word in lexicon.word_ids or adverb or not word.isalpha():
                continue
            if word not in _CLOSED:
                run.append(word)
                continue
            if run:
                self.stretches.append((before, run, word))
            before, run = word, []
        if run:
            self.stretches.append((before, run, ""))

    def sure(self, counts: Sequence[Counter[str]]) -> None:
        """Count the forms whose place leaves no doubt, by class."""
        for before, run, after in self.stretches:
            first, alone = run[0], len(run) == 1
            certain = before in _MODALS or before in _SUBJECTS or (before in _BE and _is_ing(first))
            if certain or (before == _TO and alone and after in _DETERMINERS):
                counts[_VERB][first] += 1
            elif before in _DETERMINERS and alone:
                counts[_NOUN][first] += 1

    def classes(self, verbs: Set[str], things: Set[str]) -> Iterable[tuple[str, int]]:
        """Each open-class word with what it is here."""
        for before, run, after in self.stretches:
            at = 0 if _begins_with_verb(before, run[0], after, verbs) else _verb_inside(run, verbs, things)
            if at is None:
                yield from _phrase(run, predicate=before in _BE)
            else:
                yield from _phrase(run[:at])
                yield run[at], _VERB
                yield from _phrase(run[at + 1 :])


def _begins_with_verb(before: str, first: str, after: str, verbs: Set[str]) -> bool:
    if before in _MODALS or before in _SUBJECTS:
        return True
    known = stem(first) in verbs
    if before == _TO:
        return known and first == singular(first) and after in _DETERMINERS
    if before in _DETERMINERS:
        return False
    if _is_ing(first):
        return before in _BE or known
    # "sings and dances", but "man and woman"
    return before in ("and", "or", "then") and _inflected(first) and known


def _verb_inside(run: Sequence[str], verbs: Set[str], things: Set[str]) -> int | None:
    """Where in a phrase the action begins; None where it names none."""
    for at, (last, word) in enumerate(pairwise(run), 1):
        plural = last in _PLURALS or singular(last) != last
        if stem(word) in verbs and (_inflected(word) or plural):
            return at
        shown = singular(word) != word or _is_ing(word)
        if shown and singular(last) in things and singular(word) not in things:
            return at
    return None


def _inflected(word: str) -> bool:
    return singular(word) != word or _is_ing(word) or (word.endswith("ed") and len(word) > 4)


def _phrase(run: Sequence[str], *, predicate: bool = False) -> Iterable[tuple[str, int]]:
    """The last word of a phrase is the thing; the words before it describe it. "is red" names nothing."""
    for at, word in enumerate(run):
        yield word, _NOUN if at == len(run) - 1 and not predicate else _OTHER
