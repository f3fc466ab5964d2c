"""What says nothing about a clip, as a system says it: the floor that every system must leave far below.

*Constant*: the caption that most training clips have, for every clip. *Shuffled*: a true caption of another clip: its
language and its frequencies are right, only the clip is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.layout import TRAIN

if TYPE_CHECKING:
    from evcap_cli.demo.facts import ClipFacts
    from evcap_cli.study.captions import Said
    from evcap_cli.study.worlds import Worlds


def constant(worlds: Worlds) -> Said:
    """The most frequent caption of the training clips, the first by alphabet among equals."""
    counts = Counter(text for clip in worlds.main.of(TRAIN) for text in write_captions(clip))
    text = min(counts, key=lambda each: (-counts[each], each))
    unseen = {clip.id: text for clip in worlds.unseen}
    return {"heard": unseen, "muted": unseen, "conflict": {clip.id: text for clip in worlds.conflict.facts}}


def shuffled(worlds: Worlds, seed: int) -> Said:
    """A caption of the next clip in an order that ``seed`` decides; each clip's captions serve one other clip."""
    unseen = _others(worlds.unseen, seed)
    return {"heard": unseen, "muted": unseen, "conflict": _others(worlds.conflict.facts, seed)}


def _others(clips: Sequence[ClipFacts], seed: int) -> dict[str, str]:
    draws = np.random.default_rng(seed)
    order = [clips[number] for number in draws.permutation(len(clips))]
    told = {}
    for clip, other in zip(order, [*order[1:], *order[:1]], strict=True):
        captions = write_captions(other)
        told[clip.id] = captions[int(draws.integers(len(captions)))]
    return told
