"""Worlds of a study without videos, and captions about them that are right or wrong by construction."""

from __future__ import annotations

from pathlib import Path

from evcap_experiments.study.study_worlds import Sizes, Worlds, write_worlds
from evcap_experiments.study.unseen_captions import Said

from evcap_cli.demo.facts import EMOTIONS, ClipFacts
from evcap_cli.demo.grammar import emotional_caption, spread


def drawn(folder: Path, train: int = 16, test: int = 48, conflict: int = 16) -> Worlds:
    return write_worlds(folder, Sizes(train, test, conflict), render=False)


def sentence(clip: ClipFacts, emotion: str) -> str:
    """The likeliest caption of a clip that tells who does what with an emotion."""
    from dataclasses import replace

    likely = spread(emotional_caption(replace(clip, emotion=emotion)))
    return max(likely, key=lambda text: likely[text])


def other(emotion: str) -> str:
    return EMOTIONS[(EMOTIONS.index(emotion) + 1) % 8]


def told(worlds: Worlds, *, listens: bool) -> Said:
    """What a perfect system says: with sound it hears the emotion, else it sees it or is wrong where it is hidden."""

    def seen(clip: ClipFacts) -> str:
        return other(clip.emotion) if clip.hidden else clip.emotion

    def heard(clip: ClipFacts) -> str:
        return clip.sounding if listens else seen(clip)

    return {
        "heard": {clip.id: sentence(clip, heard(clip)) for clip in worlds.unseen},
        "muted": {clip.id: sentence(clip, seen(clip)) for clip in worlds.unseen},
        "conflict": {clip.id: sentence(clip, heard(clip)) for clip in worlds.conflict.facts},
    }
