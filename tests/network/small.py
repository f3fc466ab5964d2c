"""Small models and clips of unequal length, without sound or objects, for the captioner's tests."""

from __future__ import annotations

import numpy as np
import torch

from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.network.collate import collate
from evcap_cli.network.config import FusionConfig
from evcap_cli.systems.fusion import Fusion

LEXICON = torch.tensor(
    [[1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0]], dtype=torch.bool
)
"""Four categories, seven words: the last category has no word of its own, the last word no category."""
DIMS = {"appearance": 5, "motion": 6, "object": 7, "audio": 4}
SIZES = ((6, 4, 7), (3, 0, 5), (1, 2, 0), (4, 1, 1))
"""Moments, objects, audio steps of four clips."""


def config(**changes):
    values = {
        "appearance_dim": 5,
        "motion_dim": 6,
        "object_dim": 7,
        "audio_dim": 4,
        "vocabulary": 11,
        "categories": 4,
        "words": 7,
        "width": 8,
        "word_width": 6,
        "moments": 6,
        "objects": 4,
        "audio_steps": 7,
        "feed_forward": 10,
        "lstm_width": 9,
        "attention_width": 7,
        "alignment_width": 5,
        "max_words": 5,
    }
    return FusionConfig(**(values | changes))


def model(seed=0, **changes):
    """In evaluation mode, with every bias, norm and statistic away from its neutral start."""
    torch.manual_seed(seed)
    made = Fusion(config(**changes), LEXICON).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for name, buffer in made.named_buffers():
            if name.endswith(".mean"):
                buffer += torch.randn_like(buffer)
            if name.endswith(".scale"):
                buffer += torch.rand_like(buffer)
    return made


def clip(moments, objects, steps, *, seed=0):
    rng = np.random.default_rng([seed, moments, objects, steps])

    def stream(rows, kind):
        values = torch.from_numpy(rng.standard_normal((rows, DIMS[kind]))).float()
        return StreamFeatures(values, torch.from_numpy(np.sort(rng.uniform(0, 4, rows))).float())

    appearance = stream(moments, "appearance")
    motion = StreamFeatures(stream(moments, "motion").values, appearance.times)
    streams = {
        "appearance": appearance,
        "motion": motion,
        "object": stream(objects, "object"),
        "audio": stream(steps, "audio"),
    }
    return ClipFeatures(streams, 4.0)


def clips(seed=0):
    return [clip(*size, seed=seed) for size in SIZES]


def batch(of, **changes):
    return collate(of, config(**changes))
