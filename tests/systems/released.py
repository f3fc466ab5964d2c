"""What the released code of EPAN and DCGN answers: weights, clips and captions drawn by the golden files' rule."""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evcap_cli import plugins
from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.losses import Targets
from evcap_cli.systems.epan import Epan
from evcap_cli.systems.released_weights import from_released, plain_names, released_config

SYSTEMS = ("epan", "dcgn")


@cache
def golden(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "golden" / f"{name}.json").read_text(encoding="utf-8"))


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    """A weight by the files' rule; every factor applied in single precision."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("layer_norm.weight"):
        values = np.float32(1) + np.float32(0.1) * values
    elif "embedding" in name:
        values = np.float32(0.4) * values
    elif name.endswith(("bias", ".b")):
        values = np.float32(0.1) * values
    else:
        inputs = shape[-1] if len(shape) > 1 and shape[-1] > 1 else shape[-2] if len(shape) > 2 else max(shape)
        values = np.float32(1.5 / inputs**0.5) * values
    return torch.from_numpy(values)


def state(name: str) -> dict[str, Tensor]:
    """The released state dict of ``name``."""
    return {each: drawn(each, tuple(shape)) for each, shape in golden(name)["weights"]}


def model(name: str, dtype: torch.dtype) -> Epan:
    """The system with the released weights, in evaluation mode."""
    given = plain_names(state(name))
    config = released_config(given, evolving=name == "dcgn")
    mask = torch.zeros(config.categories, config.words, dtype=torch.bool)
    for category, word in golden(name)["lexicon_mask_true"]:
        mask[category, word] = True
    made = plugins.system(name).load()(config, mask)
    assert isinstance(made, Epan)
    buffers = dict(made.named_buffers())
    missing, unexpected = made.load_state_dict(from_released(given, config), strict=False)
    assert not unexpected
    assert set(missing) <= set(buffers)
    made.encoder.vectors.name([row - 1 for row in golden(name)["category_rows"]])
    return made.to(dtype).eval()


def clips(dtype: torch.dtype) -> ClipBatch:
    """Six clips and the six that contrastive attention compares them with."""
    values = np.random.default_rng(7).standard_normal((12, 30, 512)).astype(np.float32)
    return ClipBatch(
        torch.from_numpy(values).to(dtype), torch.ones(12, 30, dtype=torch.bool), torch.arange(30.0).repeat(12, 1)
    )


def targets(name: str) -> tuple[Tensor, Targets]:
    """What each step takes in, (6, 16), and the targets; captions are padded, none is cut."""
    given = golden(name)
    captions = torch.tensor(given["captions"])
    labels = {}
    for kind, size in (("words", 179), ("categories", 34)):
        labels[kind] = torch.zeros(6, size + 1, dtype=torch.bool).scatter(
            1, torch.tensor(given[f"labels_{kind}"]), True
        )
    emotion = torch.zeros(700, dtype=torch.bool)
    emotion[500:679] = True
    own = torch.arange(6)
    return captions[:, :-1], Targets(
        captions[:, 1:], own, labels["categories"][:, 1:], labels["words"][:, 1:], emotion, negatives=own + 6
    )
