"""Captions that do not depend on the video: the floor that every system must leave far below.

*Constant*: the caption that most training clips have, for every clip. *Shuffled*: a caption of another clip: its
language and its frequencies are right, only the clip is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from evcap_cli.demo.facts import ClipFacts
from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.layout import TRAIN
from evcap_cli.scoring.constant_row import constant_caption

if TYPE_CHECKING:
    from evcap_experiments.study.study_worlds import Worlds
    from evcap_experiments.study.unseen_captions import CaptionsByPass


def constant(facts: Iterable[ClipFacts], training_captions: Iterable[str]) -> dict[str, str]:
    """One caption for every clip."""
    caption = constant_caption(training_captions)
    return {clip.id: caption for clip in facts}


def shuffled(captions: Mapping[str, str], seed: int = 0) -> dict[str, str]:
    """Each clip gets another clip's caption, which is right only as often as captions agree.

    A cyclic shift of a random order, so that no clip keeps its own (unless there is only one).
    """
    ids: Sequence[str] = sorted(captions)
    order = random.Random(seed).sample(ids, len(ids))
    return {clip: captions[order[number - 1]] for number, clip in enumerate(order)}


def constant_of_worlds(worlds: Worlds) -> CaptionsByPass:
    """The most frequent caption of the training clips of a study, for every clip."""
    texts = [text for clip in worlds.main.of(TRAIN) for text in write_captions(clip)]
    unseen = constant(worlds.unseen, texts)
    return {"with audio": unseen, "without audio": unseen, "conflict": constant(worlds.conflict.facts, texts)}


def shuffled_of_worlds(worlds: Worlds, seed: int) -> CaptionsByPass:
    """A true caption of another clip for each, by an order that ``seed`` decides; each clip's serves one other."""
    unseen = _of_others(worlds.unseen, seed)
    return {"with audio": unseen, "without audio": unseen, "conflict": _of_others(worlds.conflict.facts, seed)}


def _of_others(clips: Sequence[ClipFacts], seed: int) -> dict[str, str]:
    true = {clip.id: write_captions(clip) for clip in clips}
    return shuffled({name: texts[seed % len(texts)] for name, texts in true.items()}, seed)
