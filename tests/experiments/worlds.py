"""Worlds of a study without videos, and captions about them that are right or wrong by construction."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from evcap_experiments.study.study_worlds import Sizes, Worlds, write_worlds
from evcap_experiments.study.unseen_captions import CaptionsByPass

from evcap_cli.demo.facts import EMOTIONS, ClipFacts
from evcap_cli.demo.grammar import emotional_caption, spread


def drawn(folder: Path, train: int = 16, test: int = 48, conflict: int = 16) -> Worlds:
    return write_worlds(folder, Sizes(train, test, conflict), render=False)


@cache
def sentence(clip: ClipFacts, emotion: str) -> str:
    """The likeliest caption of a clip that tells who does what with an emotion."""
    from dataclasses import replace

    likely = spread(emotional_caption(replace(clip, emotion=emotion)))
    return max(likely, key=lambda text: likely[text])


def other(emotion: str) -> str:
    return EMOTIONS[(EMOTIONS.index(emotion) + 1) % 8]


def perfect_captions(worlds: Worlds, *, listens: bool) -> CaptionsByPass:
    """Of a perfect system: one that listens has every emotion right, another not those that the picture hides."""

    def seen(clip: ClipFacts) -> str:
        return other(clip.emotion) if clip.hidden else clip.emotion

    def with_audio(clip: ClipFacts) -> str:
        return clip.sounding if listens else seen(clip)

    return {
        "with audio": {clip.id: sentence(clip, with_audio(clip)) for clip in worlds.unseen},
        "without audio": {clip.id: sentence(clip, seen(clip)) for clip in worlds.unseen},
        "conflict": {clip.id: sentence(clip, with_audio(clip)) for clip in worlds.conflict.facts},
    }
