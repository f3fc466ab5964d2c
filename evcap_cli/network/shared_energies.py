"""``attention_energies`` of teacher forcing: keys are gathered once a batch and have one gradient for all steps.

As in ``shared_gradients.py``; here the gradients of steps are too large to be left, so that they are added up.

Notation: R captions, n that have a step, B clips, N moments, T words, t words so far, a inner width of the attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evcap_cli.network.layers import precise
from evcap_cli.network.shared_gradients import Left, token_of
from evcap_cli.network.tanh_energies import DoubledKeys, blocks, energies_of, slope, vector_gradient


class SharedEnergies:
    """``attention_energies`` of captions at each step.

    Args:
        content: keys of V and E, once per clip.
        phrases: keys of all words of the captions, (R, T, a).
        vector: (a,).
        clips: the clip of each caption, (R,).
    """

    def __init__(self, content: DoubledKeys, phrases: Tensor, vector: Tensor, clips: Tensor) -> None:
        with torch.autocast(phrases.device.type, enabled=False):
            shared = content.values[clips], precise(phrases), precise(vector) * 2.0
        self._shared, self._left = tuple(each.detach() for each in shared), _EnergySums()
        self._token = token_of(self._left, *shared)

    def __call__(self, weights: Tensor, query: Tensor) -> Tensor:
        """One step: alignment weights (n, N, t) and the projected LSTM state (n, a) -> (n, N)."""
        with torch.autocast(query.device.type, enabled=False):
            doubled = precise(weights) * 2.0, precise(query) * 2.0
            result: Tensor = _Energies.apply(*doubled, self._token, *self._shared, self._left)
        return result


class _EnergySums(Left):
    """Sums of the gradients of content, phrases and vector, the first two before the vector is multiplied in."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.sums: tuple[Tensor, ...] = ()
        self.factors: tuple[Tensor, ...] = ()
        """The vector, and the phrases times the vector."""

    def ready(self, content: Tensor, phrases: Tensor, vector: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """What a step adds its gradients to, and the phrases times the vector."""
        self.begin()
        if not self.sums:
            self.sums = tuple(map(torch.zeros_like, (content, phrases, vector)))
            self.factors = vector, phrases * vector
        return self.sums, self.factors[1]

    def gradients(self) -> tuple[Tensor, ...]:
        (content, phrases, d_vector), (vector, _) = self.sums, self.factors
        self.forget()
        return content.mul_(vector), phrases.mul_(vector), d_vector


def _bent(content: Tensor, phrases: Tensor, weights: Tensor, query: Tensor, rows: slice) -> Tensor:
    """The sigmoids of some captions, (n, N, a); content, weights and query are doubled (see ``tanh_energies``)."""
    keys = content[rows] + query[rows, None]
    return keys.baddbmm_(weights[rows], phrases[rows, : weights.shape[2]]).sigmoid_()


class _Energies(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weights: Tensor,
        query: Tensor,
        token: Tensor,  # noqa: ARG004
        content: Tensor,
        phrases: Tensor,
        vector: Tensor,
        left: _EnergySums,
    ) -> Tensor:
        ctx.save_for_backward(weights, query, content, phrases, vector)
        ctx.left = left
        energies, half = query.new_empty(weights.shape[:2]), vector.sum() / 2.0
        for rows in blocks(len(query), content[0].numel(), query.device):
            energies[rows] = energies_of(_bent(content, phrases, weights, query, rows), vector, half)
        return energies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, query, content, phrases, vector = ctx.saved_tensors
        (d_content, d_phrases, d_vector), scaled = ctx.left.ready(content, phrases, vector)
        d_weights, d_query, t = torch.empty_like(weights), torch.empty_like(query), weights.shape[2]
        for rows in blocks(len(query), content[0].numel(), query.device):
            grad = grads[0][rows]
            bent = _bent(content, phrases, weights, query, rows)
            d_vector += vector_gradient(bent, grad)
            before = slope(bent, grad[..., None])
            d_weights[rows] = torch.bmm(before, scaled[rows, :t].mT)
            d_phrases[rows, :t] += torch.bmm(weights[rows].mT, before)
            torch.sum(before, dim=1, out=d_query[rows])
            d_content[rows] += before
        return d_weights, d_query.mul_(vector), None, None, None, None, None
