"""A data set of random features in memory that a tiny captioner learns in seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.training.feature_sources import MappingSource
from evcap_cli.training.recipe import Recipe, TrainConfig
from evcap_cli.training.recipe_tables import system_defaults

LEXICON = Lexicon({"joy": ["joy", "happy"], "sadness": ["sadness", "sad"]}, name="toy")
SUBJECTS = ("man", "dog", "girl")
MOODS = ("happy", "sad")
MODEL = {
    "width": 16,
    "word_width": 16,
    "feed_forward": 16,
    "lstm_width": 24,
    "attention_width": 16,
    "alignment_width": 16,
    "moments": 6,
    "objects": 3,
    "audio_steps": 5,
    "dropout": 0.1,
    "emotion_layers": 1,
    "dual_layers": 1,
}
_SHARED = ("moments", "objects", "audio_steps", "dropout", "lstm_width", "attention_width")
_ROWS = {name: MODEL[name] for name in _SHARED}
_ALIGNED = {**_ROWS, "width": 30, "word_width": 16, "feed_forward": 16, "alignment_width": 16, "head_width": 8}
_EPAN = {**_ALIGNED, "emotion_layers": 1, "emotion_heads": 2, "category_hidden": 16, "word_hidden": 30}
MODELS = {
    "fusion": MODEL,
    "fusion+": {**MODEL, "decoder_objects": True},
    "epan": _EPAN,
    "dcgn": {**_EPAN, "slots": 6},
    "canet": _ALIGNED,
    "sa-lstm": {**_ROWS, "word_width": 16},
}
GIVEN = {
    "epochs": 3,
    "batch_size": 8,
    "captions_per_clip": 2,
    "learning_rate": 5e-3,
    "val_share": 0.2,
    "seed": 1,
    "beam_size": 3,
    "max_words": 8,
}


def captions(videos: int = 18) -> dict[str, list[str]]:
    """Two captions a video; its number tells subject and mood."""
    found = {}
    for number in range(videos):
        subject, mood = SUBJECTS[number % 3], MOODS[number // 3 % 2]
        found[f"vid{number}"] = [f"A {mood} {subject} walks.", f"the {subject} is {mood}"]
    return found


def unseen() -> dict[str, list[str]]:
    """Six videos that take no part in training."""
    return dict(list(captions(24).items())[18:])


def meteor(segments: Sequence[tuple[str, Sequence[str]]]) -> tuple[Any, None]:
    """In METEOR's place, whose Java process takes seconds: counts, one row a caption, that depend on the captions."""
    counts = np.zeros((len(segments), 23))
    counts[:, [0, 1, 4, 5, 20, 21, 22]] = [[len(text.split()), 8, 1, 1, 1, 1, 1] for text, _ in segments]
    return counts, None


def features(number: int) -> ClipFeatures:
    """Appearance and objects show the subject, audio tells the mood; some clips are silent, some without an object."""
    draw = torch.Generator().manual_seed(number)

    def rows(count: int, width: int, signal: int) -> StreamFeatures:
        values = 0.3 * torch.randn(count, width, generator=draw)
        values[:, signal] += 2.0
        return StreamFeatures(values, torch.linspace(0, 4, count) if count else torch.zeros(0))

    subject, mood = number % 3, number // 3 % 2
    moments = 4 + number % 3
    return ClipFeatures(
        {
            "appearance": rows(moments, 8, subject),
            "motion": rows(moments, 6, 5),
            "object": rows(0 if number % 7 == 6 else 2, 7, subject),
            "audio": rows(0 if number % 5 == 4 else 5, 5, mood),
        },
        duration=4.0,
    )


def source(videos: int = 18) -> MappingSource:
    return MappingSource({f"vid{number}": features(number) for number in range(videos)})


def recipe(system: str = "fusion", **train: object) -> Recipe:
    values = {**system_defaults(system)["train"], **GIVEN, **train}
    return Recipe(TrainConfig(**values), dict(MODELS[system]), name="toy", system=system)  # type: ignore[arg-type]


def recipe_text(**train: object) -> str:
    """``recipe`` as a file that serves every system."""
    parts = [("train", {**GIVEN, **train}), *((f'model."{system}"', values) for system, values in MODELS.items())]
    return "".join(
        f"[{table}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
        for table, values in parts
    )
