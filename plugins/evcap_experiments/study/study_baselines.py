"""What says nothing about a clip, as a system says it: the floor that every system must leave far below.

*Constant*: the caption that most training clips have, for every clip. *Shuffled*: a true caption of another clip: its
language and its frequencies are right, only the clip is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.layout import TRAIN
from evcap_experiments import rates as baselines

if TYPE_CHECKING:
    from evcap_cli.demo.facts import ClipFacts
    from evcap_experiments.study.study_worlds import Worlds
    from evcap_experiments.study.unseen_captions import Said


def constant(worlds: Worlds) -> Said:
    """The most frequent caption of the training clips, for every clip."""
    texts = [text for clip in worlds.main.of(TRAIN) for text in write_captions(clip)]
    unseen = baselines.constant(worlds.unseen, texts)
    return {"heard": unseen, "muted": unseen, "conflict": baselines.constant(worlds.conflict.facts, texts)}


def shuffled(worlds: Worlds, seed: int) -> Said:
    """A caption of another clip for each, by an order that ``seed`` decides; each clip's serves one other."""
    unseen = _others(worlds.unseen, seed)
    return {"heard": unseen, "muted": unseen, "conflict": _others(worlds.conflict.facts, seed)}


def _others(clips: Sequence[ClipFacts], seed: int) -> dict[str, str]:
    told = {clip.id: write_captions(clip) for clip in clips}
    return baselines.shuffled({name: texts[seed % len(texts)] for name, texts in told.items()}, seed)
