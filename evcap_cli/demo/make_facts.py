"""Draws the facts of a demo world: balanced, and with everything independent that the experiment needs independent.

``render.py`` draws a clip and makes its sound, ``grammar.py`` writes captions of it.

Every attribute is dealt from shuffled decks along the clips sorted by emotion, so that each emotion gets its fair share
of every subject, action, place, side and condition even in a small world, and nothing but chance ties two attributes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from typing import TypeVar

from evcap_cli.demo.facts import CAST, EMOTIONS, PLACES, VARIANT_CAST, ClipFacts
from evcap_cli.errors import UsageError

MOST_CLIPS = 8 * 10_000
"""An id is the class digit and four more."""
SHORTEST_SECONDS, LONGEST_SECONDS = 3.0, 6.0

_CONDITIONS = ("hidden",) * 6 + ("silent",) * 3 + ("plain",) * 11
"""30 % hidden, 15 % silent, never both."""
_NUMBERS = (2,) * 9 + (1,) * 11
"""45 % of the clips show two subjects."""

Value = TypeVar("Value")


def make_facts(count: int, seed: int, *, conflict: float = 0.0, variant: bool = False) -> list[ClipFacts]:
    """Facts of ``count`` clips; the same call gives the same facts.

    Args:
        count: how many.
        seed: of the world.
        conflict: share of the clips whose face, posture and colour mood show one emotion and whose sound tells another,
            every other one equally often. They are neither hidden nor silent; nothing else changes with the share.
        variant: of the variant world.

    Raises:
        UsageError: for fewer than one clip, or more than there are ids; a share outside of 0 to 1.
    """
    if not 0 <= conflict <= 1:
        raise UsageError(f"the share of clips in conflict must lie between 0 and 1, got {conflict}")
    if not 1 <= count <= MOST_CLIPS:
        raise UsageError(f"a demo world has 1 to {MOST_CLIPS} clips, not {count}")
    cast, rng = VARIANT_CAST if variant else CAST, random.Random(seed)
    alone = tuple(product(((subject,) for subject in cast.subjects), cast.solo_actions))
    together = tuple(product(permutations(cast.subjects, 2), cast.pair_actions))
    emotions = sorted(_dealt(rng, EMOTIONS, count), key=EMOTIONS.index)
    conditions = _dealt(rng, _CONDITIONS, count)
    numbers = _dealt(rng, _NUMBERS, count)
    solo, pairs = iter(_dealt(rng, alone, count)), iter(_dealt(rng, together, count))
    places = _dealt(rng, PLACES, count)
    sides = _dealt(rng, ("left", "right"), count)
    moods = iter(_dealt(rng, EMOTIONS, count))
    tails = {emotion: iter(rng.sample(range(10_000), emotions.count(emotion))) for emotion in EMOTIONS}
    clips = []
    for emotion, condition, number, place, side in zip(emotions, conditions, numbers, places, sides, strict=True):
        subjects, action = next(solo if number == 1 else pairs)
        clips.append(
            ClipFacts(
                id=f"vid{EMOTIONS.index(emotion) + 1}{next(tails[emotion]):04d}",
                subjects=subjects,
                action=action,
                place=place,
                emotion=emotion,
                actor_side=side,
                hidden=condition == "hidden",
                silent=condition == "silent",
                mood=next(moods) if condition == "hidden" else emotion,
                seconds=round(rng.uniform(SHORTEST_SECONDS, LONGEST_SECONDS), 2),
                seed=rng.getrandbits(31),
                variant=variant,
            )
        )
    rng.shuffle(clips)
    return _in_conflict(clips, conflict, seed) if conflict else clips


def _in_conflict(clips: list[ClipFacts], share: float, seed: int) -> list[ClipFacts]:
    """The clips in their order, a share of them in conflict, spread over the emotions; drawn by a source of its own."""
    rng = random.Random(f"conflict {seed}")
    order = sorted(rng.sample(range(len(clips)), len(clips)), key=lambda number: EMOTIONS.index(clips[number].emotion))
    marks = [int(number * share + 0.5) for number in range(len(clips) + 1)]
    chosen = [number for place, number in enumerate(order) if marks[place + 1] > marks[place]]
    steps = _dealt(rng, range(1, len(EMOTIONS)), len(chosen))
    changed = list(clips)
    for number, step in zip(chosen, steps, strict=True):
        shown = clips[number].emotion
        audio_emotion = EMOTIONS[(EMOTIONS.index(shown) + step) % len(EMOTIONS)]
        changed[number] = replace(clips[number], hidden=False, silent=False, mood=shown, audio_emotion=audio_emotion)
    return changed


def _dealt(rng: random.Random, deck: Sequence[Value], count: int) -> list[Value]:
    """``count`` cards of as many shuffled copies of the deck as it takes."""
    cards: list[Value] = []
    while len(cards) < count:
        cards.extend(rng.sample(deck, len(deck)))
    return cards[:count]
