"""Every registered system in a small size, and clips and captions for it; double precision, evaluation mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evcap_cli import plugins
from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.collate import collate
from evcap_cli.network.losses import Targets
from evcap_cli.systems.contract import CaptionModel
from tests.network.small import LEXICON, clips

VOCABULARY = 23
SIZES: dict[str, Any] = {
    "appearance_dim": 5,
    "motion_dim": 6,
    "object_dim": 7,
    "audio_dim": 4,
    "vocabulary": VOCABULARY,
    "categories": 4,
    "words": 7,
    "moments": 6,
    "objects": 4,
    "audio_steps": 7,
    "max_words": 5,
    "lstm_width": 9,
    "attention_width": 7,
}
ALIGNED: dict[str, Any] = {"width": 30, "word_width": 30, "feed_forward": 10, "alignment_width": 5}
EPAN: dict[str, Any] = ALIGNED | {
    "head_width": 4,
    "emotion_layers": 2,
    "emotion_heads": 3,
    "emotion_feed_forward": 8,
    "category_hidden": 11,
    "word_hidden": 30,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "fusion": ("fusion", ALIGNED | {"word_width": 8}),
    "fusion+": ("fusion+", ALIGNED | {"decoder_objects": True}),
    "epan": ("epan", EPAN | {"word_width": 8, "word_hidden": 12}),
    "epan, appearance only": ("epan", EPAN | {"motion_dim": None}),
    "epan, as published": ("epan", EPAN | {"as_published": True}),
    "dcgn": ("dcgn", EPAN | {"slots": 6}),
    "dcgn, as published": ("dcgn", EPAN | {"slots": 6, "as_published": True}),
    "canet": ("canet", ALIGNED | {"head_width": 4}),
    "sa-lstm": ("sa-lstm", {"word_width": 10}),
}


def system(case: str, seed: int = 0, **changes: Any) -> CaptionModel:
    """With every bias, norm and statistic away from its neutral start."""
    name, sizes = CASES[case]
    torch.manual_seed(seed)
    made = plugins.system(name).load()
    model = made(made.Config(**SIZES | sizes | changes), LEXICON).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for label, buffer in model.named_buffers():
            if label.endswith(".mean"):
                buffer += torch.randn_like(buffer)
            if label.endswith(".scale"):
                buffer += torch.rand_like(buffer)
    return model


def batch(model: CaptionModel, of: list[ClipFeatures] | None = None) -> ClipBatch:
    """Clips of 6, 3, 1 and 4 moments, some without objects or sound."""
    made = collate(clips() if of is None else of, model.config)
    return ClipBatch(**{k: v.double() if v is not None and v.is_floating_point() else v for k, v in vars(made).items()})


def captions(rows: int, length: int, seed: int = 2) -> Tensor:
    """Start marks and random words, (rows, length)."""
    words = torch.randint(4, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
    words[:, 0] = 1
    return words


CLIP_OF = torch.tensor([0, 0, 1, 2, 3, 3])
LENGTHS = (5, 3, 1, 4, 2, 5)
"""Steps of six captions, the end mark included."""


def told(seed: int = 0, **changes: Any) -> tuple[Tensor, Targets]:
    """What each step is fed, (6, 5), and the targets of captions of four clips."""
    generator = torch.Generator().manual_seed(seed)
    wanted = torch.randint(4, VOCABULARY, (6, 5), generator=generator)
    fed = torch.cat([torch.ones(6, 1, dtype=torch.long), wanted[:, :-1]], dim=1)
    for row, length in enumerate(LENGTHS):
        wanted[row, length - 1], wanted[row, length:], fed[row, length:] = 2, 0, 0
    categories = torch.rand(6, 4, generator=generator) > 0.5
    words = torch.rand(6, 7, generator=generator) > 0.5
    categories[1], words[1] = False, False
    values: dict[str, Any] = {
        "tokens": wanted,
        "clip_index": CLIP_OF,
        "categories": categories,
        "words": words,
        "emotion_tokens": torch.rand(VOCABULARY, generator=generator) > 0.5,
    }
    return fed, Targets(**values | changes)
