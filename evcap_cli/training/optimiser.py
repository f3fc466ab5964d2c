"""The optimiser that a recipe names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from evcap_cli.training.recipe import TrainConfig


def make_optimiser(
    config: TrainConfig, parameters: Iterable[torch.nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """Adam, with the largest second moment so far where ``amsgrad`` says so, or Adamax; L2 as both define it."""
    if config.optimiser == "adamax":
        return torch.optim.Adamax(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.Adam(
        parameters,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        amsgrad=config.amsgrad,
        fused=device.type in ("cpu", "cuda"),
    )
