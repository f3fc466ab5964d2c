"""Dropout that is cheap on a CPU; elsewhere torch's own serves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Module):
    """Dropout with 16 random bits a number on a CPU, where torch draws a double: a third of its time.

    Dropout is a quarter of an encoder's training step there. The rate is met to 1 / 65536, and the scale is exact.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"dropout must lie between 0 and 1, got {rate}")
        self.rate = rate

    def forward(self, values: Tensor) -> Tensor:
        """Any shape; the same numbers come back outside training."""
        if not self.training or self.rate == 0:
            return values
        if values.device.type != "cpu":
            return F.dropout(values, self.rate)
        return self._keep(values, self._drawn(values))

    def after_relu(self, values: Tensor) -> Tensor:
        """Dropout after a ReLU of ``values``; in training on a CPU one mask serves both."""
        if not self.training or self.rate == 0 or values.device.type != "cpu":
            result: Tensor = self(torch.relu(values))
            return result
        return self._keep(values, self._drawn(values).logical_and_(values > 0))

    def _drawn(self, values: Tensor) -> Tensor:
        draws = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        return draws[: values.numel()].view(values.shape) >= self._dropped - 2**15

    def _keep(self, values: Tensor, kept: Tensor) -> Tensor:
        result: Tensor = _Keep.apply(values, kept, 2**16 / (2**16 - self._dropped))
        return result

    @property
    def _dropped(self) -> int:
        return round(self.rate * 2**16)


class _Keep(torch.autograd.Function):
    """values * kept * scale; a byte a number waits for the backward pass, not a float."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return (values * kept).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (kept,) = ctx.saved_tensors
        return (grads[0] * kept).mul_(ctx.scale), None, None
