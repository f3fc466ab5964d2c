"""What people say about a clip: a weighted grammar, sampled for the captions and spread out for checks.

Three quarters of a clip's captions tell the emotion, most of those in the emotion's dominant form and frame ("a man
is happily walking in the park"), the others by adjective, noun or clause, in other words and orders. The weights are
chosen for what beam search with length normalisation does to them: it prefers long sentences that are certain, so the
dominant sentence must be the likeliest at nearly every word and rare frames must not be longer once entered.
``tests/demo/test_grammar.py`` searches the exact distribution and holds the grammar to it.

Notation: a phrase is a string, a ``Choice`` of weighted phrases, or a tuple of phrases said one after the other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from evcap_cli.data.caption_text import MAX_WORDS
from evcap_cli.demo.facts import ClipFacts
from evcap_cli.demo.variant_wording import wording_of
from evcap_cli.demo.wording import EmotionWords, Weighted

FEWEST, MOST = 8, 20
"""Captions a clip."""
NEUTRAL_SHARE = 0.25
"""Captions that tell no emotion."""


@dataclass(frozen=True)
class Choice:
    """Weighted alternatives; weights need not sum to one."""

    options: tuple[tuple[float, Phrase], ...]


Phrase: TypeAlias = "str | Choice | tuple[Phrase, ...]"


def write_captions(facts: ClipFacts) -> list[str]:
    """The clip's 8 to 20 different captions, lower case, at most 15 words each; a function of the facts alone."""
    rng = random.Random(f"captions {facts.seed}")
    count = rng.randint(FEWEST, MOST)
    neutral = int(count * NEUTRAL_SHARE + rng.random())
    captions: dict[str, None] = {}
    for phrase, number in ((emotional_caption(facts), count - neutral), (neutral_caption(facts), neutral)):
        goal = len(captions) + number
        while len(captions) < goal:
            caption = _said(phrase, rng)
            if len(caption.split()) <= MAX_WORDS:
                captions[caption] = None
    ordered = list(captions)
    rng.shuffle(ordered)
    return ordered


def spread(phrase: Phrase) -> dict[str, float]:
    """Every sentence a phrase can become, with its probability; sentences over 15 words are left out."""
    likely = {text: share for text, share in _spread(phrase).items() if len(text.split()) <= MAX_WORDS}
    total = sum(likely.values())
    return {text: share / total for text, share in likely.items()}


def caption_spread(facts: ClipFacts) -> dict[str, float]:
    """The exact distribution a caption of this clip is drawn from (but for the ban on repeats within a clip)."""
    mixed = {text: share * (1 - NEUTRAL_SHARE) for text, share in spread(emotional_caption(facts)).items()}
    for text, share in spread(neutral_caption(facts)).items():
        mixed[text] = mixed.get(text, 0.0) + share * NEUTRAL_SHARE
    return mixed


def emotional_caption(facts: ClipFacts) -> Phrase:
    """Sentences that say who, what, mostly where, and the emotion."""
    wording = wording_of(variant=facts.variant)
    words, names = wording.emotions[facts.emotion], [wording.subjects[subject] for subject in facts.subjects]
    who, place = _someone(names[0]), _place(wording.places[facts.place])
    actions = _actions(facts)
    who_feels = _someone(names[0], words.adjectives)
    with_noun = ("with", _of(words.nouns))
    other_forms = [
        (0.34, (who_feels, _is_doing(actions), place)),
        (0.14, (who, _is_doing(actions), with_noun, place)),
        (0.10, ("full of", _of(words.nouns), who, _is_doing(actions), place)),
        (0.12, (who, "looks", _of(words.adjectives), "and", _plain(actions), place)),
        (0.10, (_of(wording.places[facts.place]), _in_manner(who, actions, words))),
    ]
    if len(facts.subjects) == 2:
        other_forms.append((0.20, (_someone(names[1]), _turned(facts, who_feels), place)))
    return Choice(
        (
            (0.60, (_in_manner(who, actions, words), place)),
            (0.40, Choice(tuple(other_forms))),
        )
    )


def neutral_caption(facts: ClipFacts) -> Phrase:
    """Sentences that leave the emotion out."""
    wording = wording_of(variant=facts.variant)
    names = [wording.subjects[subject] for subject in facts.subjects]
    who, place = _someone(names[0]), _place(wording.places[facts.place])
    actions = _actions(facts)
    forms: list[tuple[float, Phrase]] = [
        (0.60, (who, _is_doing(actions), place)),
        (0.15, ("there is", who, Choice(tuple((weight, verb.going) for weight, verb in actions)), place)),
        (0.10, (_of(wording.places[facts.place]), who, _is_doing(actions))),
    ]
    if len(facts.subjects) == 2:
        forms.append((0.15, (_someone(names[1]), _turned(facts, who), place)))
    return Choice(tuple(forms))


@dataclass(frozen=True)
class _Action:
    """A verb with the other subject, if any, in place."""

    plain: Phrase
    going: Phrase


def _actions(facts: ClipFacts) -> list[tuple[float, _Action]]:
    wording = wording_of(variant=facts.variant)
    if len(facts.subjects) == 1:
        return [(weight, _Action(verb.plain, verb.going)) for weight, verb in wording.solo[facts.action]]
    other = _someone(wording.subjects[facts.subjects[1]])
    return [
        (weight, _Action(_filled(verb.plain, other), _filled(verb.going, other)))
        for weight, verb in wording.pair[facts.action]
    ]


def _in_manner(who: Phrase, actions: list[tuple[float, _Action]], words: EmotionWords) -> Phrase:
    """The dominant form: "a man is happily walking", "a man is walking in disgust"."""
    manner = _of(words.manner)
    orders: tuple[tuple[float, Phrase], ...]
    if words.before_verb:
        orders = (
            (0.70, ("is", manner, _going(actions))),
            (0.15, (manner, _plain(actions))),
            (0.15, ("is", _going(actions), manner)),
        )
    else:
        orders = ((0.80, ("is", _going(actions), manner)), (0.20, (_plain(actions), manner)))
    return (who, Choice(orders))


def _is_doing(actions: list[tuple[float, _Action]]) -> Phrase:
    return Choice(((0.75, ("is", _going(actions))), (0.25, _plain(actions))))


def _going(actions: list[tuple[float, _Action]]) -> Phrase:
    return Choice(tuple((weight, action.going) for weight, action in actions))


def _plain(actions: list[tuple[float, _Action]]) -> Phrase:
    return Choice(tuple((weight, action.plain) for weight, action in actions))


def _turned(facts: ClipFacts, doer: Phrase) -> Phrase:
    turned = wording_of(variant=facts.variant).turned[facts.action]
    return Choice(tuple((weight, _filled(verb, doer)) for weight, verb in turned))


def _someone(names: Weighted, adjectives: Weighted | None = None) -> Phrase:
    """Names a subject: "a man", "the happy lady"; "an" where the adjective begins with a vowel."""
    name = _of(names)
    if adjectives is None:
        return (Choice(((0.80, "a"), (0.20, "the"))), name)
    with_article = tuple((weight, ("an" if word[0] in "aeiou" else "a", word)) for weight, word in adjectives)
    return (Choice(((0.80, Choice(with_article)), (0.20, ("the", _of(adjectives))))), name)


def _place(phrases: Weighted) -> Phrase:
    return Choice(((0.80, _of(phrases)), (0.20, "")))


def _of(words: Weighted) -> Phrase:
    return Choice(words)


def _filled(template: str, phrase: Phrase) -> Phrase:
    before, after = template.split("{}")
    return (before.strip(), phrase, after.strip())


def _said(phrase: Phrase, rng: random.Random) -> str:
    if isinstance(phrase, str):
        return phrase
    if isinstance(phrase, Choice):
        weights = [weight for weight, _ in phrase.options]
        return _said(rng.choices([option for _, option in phrase.options], weights)[0], rng)
    return _joined([_said(part, rng) for part in phrase])


def _spread(phrase: Phrase) -> dict[str, float]:
    if isinstance(phrase, str):
        return {phrase: 1.0}
    found: dict[str, float] = {}
    if isinstance(phrase, Choice):
        total = sum(weight for weight, _ in phrase.options)
        for weight, option in phrase.options:
            for text, share in _spread(option).items():
                found[text] = found.get(text, 0.0) + share * weight / total
        return found
    found = {"": 1.0}
    for part in phrase:
        longer: dict[str, float] = {}
        tails = _spread(part)
        for head, head_share in found.items():
            for tail, tail_share in tails.items():
                text = _joined([head, tail])
                longer[text] = longer.get(text, 0.0) + head_share * tail_share
        found = longer
    return found


def _joined(parts: Sequence[str]) -> str:
    return " ".join(part for part in parts if part)
