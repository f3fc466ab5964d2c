"""Folders as transformers writes them, with small networks of random weights in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from evcap_backbones.hub_backbone import HubBackbone
from transformers import AutoConfig

CPU = torch.device("cpu")


def written(
    cls: type[HubBackbone],
    place: Path,
    *,
    variant: str | None = None,
    auto: Any = None,
    seed: int = 0,
    spread: bool = True,
    **config: object,
) -> Path:
    """Draw a network of ``cls`` and save it.

    Args:
        auto: the class of transformers; None: the backbone's own.
        spread: give norms and biases values that do something.
        config: fields that are not the variant's.
    """
    backbone = cls(variant)
    known = {**cls.published[backbone.repository].config, **config}
    made = AutoConfig.for_model(cls.model_type, **known)
    chosen = auto or getattr(transformers, getattr(backbone, "auto_class", lambda _: "AutoModel")(made))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = chosen.from_config(made) if hasattr(chosen, "from_config") else chosen(made)
        for name, parameter in model.named_parameters():
            if spread and parameter.ndim == 1:
                torch.nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=0.2)
    model.save_pretrained(place)
    return place


def loaded(cls: type[Any], weights: Path | str, variant: str | None = None, **options: str) -> Any:
    backbone = cls(variant, options)
    backbone.load(str(weights), CPU, torch.float32)
    return backbone


def copied(folder: Path, place: Path, **config: object) -> Path:
    """A copy of a folder with other fields in its config.json."""
    shutil.copytree(folder, place)
    content = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**content, **config}))
    return place
