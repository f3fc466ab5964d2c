"""What all steps of a loop over words multiply with, with one gradient for all of them.

Left to autograd, each step of teacher forcing makes a gradient of the whole weight, or of all rows, and adds it to
those of the steps before: memory is filled, copied and added for the news of a few rows. Here a step leaves what the
gradient is made of, and one product makes it after the last step. Values are those of plain expressions, and so are
gradients but for the order of their sums.

Each of the three is made once a batch and called once a step. Steps take a token of it, a tensor without content, so
that autograd asks for the gradients when all of them are through.

Notation: R captions, n that have a step, N rows of a caption, y their width, a inner width of an attention, t words so
far.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evcap_cli.network.layers import precise
from evcap_cli.network.tanh_energies import DoubledKeys, blocks, energies_of, slope, vector_gradient


class _Uses(Protocol):
    """What is shared, without its history, and what steps have left for its gradients."""

    def gradients(self) -> tuple[Tensor, ...]:
        """Of the shared tensors, from what steps have left, which is forgotten: a second backward pass starts anew."""


class _Collect(torch.autograd.Function):
    """The token: its backward pass comes after that of each step."""

    @staticmethod
    def forward(ctx: Any, uses: _Uses, *shared: Tensor) -> Tensor:
        ctx.uses = uses
        return shared[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG004 - the token has none
        return None, *ctx.uses.gradients()


class SharedMap:
    """A linear map without bias.

    Args:
        weight: W, (y, x).
    """

    def __init__(self, weight: Tensor) -> None:
        self._uses = _MapUses(weight.detach())
        self._token = _Collect.apply(self._uses, weight)

    def __call__(self, *parts: Tensor, added: Tensor | None = None) -> Tensor:
        """One step: parts of x (n, ...), side by side -> (n, y), in the number format of W, and what is added to it."""
        values = torch.cat([part.to(self._uses.weight.dtype) for part in parts], dim=-1)
        result: Tensor = _Map.apply(values, added, self._token, self._uses)
        return result


class _MapUses:
    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.left: list[tuple[Tensor, Tensor]] = []

    def gradients(self) -> tuple[Tensor, ...]:
        values, grads = (torch.cat(each) for each in zip(*self.left, strict=True))
        self.left.clear()
        turned = grads.t()
        if grads.dtype == torch.bfloat16:  # oneDNN takes twice as long for a transposed matrix in this format
            turned = turned.contiguous()
        return (turned @ values,)


class _Map(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, added: Tensor | None, token: Tensor, uses: _MapUses) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(values)
        ctx.uses = uses
        turned = uses.weight.t()
        return values @ turned if added is None else torch.addmm(added, values, turned)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (values,), uses = ctx.saved_tensors, ctx.uses
        if ctx.needs_input_grad[2]:
            uses.left.append((values, grads[0]))
        return grads[0] @ uses.weight, grads[0] if ctx.needs_input_grad[1] else None, None, None


class SharedRows:
    """Rows of captions, of which each step takes weighted sums.

    Args:
        rows: (R, N, y); a step of n captions is one of the first n.
    """

    def __init__(self, rows: Tensor) -> None:
        self._uses = _RowUses(rows.detach())
        self._token = _Collect.apply(self._uses, rows)

    def sums(self, weights: Tensor) -> Tensor:
        """One step: weights (n, q, m) of the first m rows -> (n, q, y), in the number format of the rows."""
        result: Tensor = _Sums.apply(weights.to(self._uses.rows.dtype), self._token, self._uses)
        return result


def per_row(rows: Tensor, of_clips: Tensor | SharedRows) -> Tensor:
    """The product of a matrix per row with the matrix of the row's clip.

    Args:
        rows: (R, n, x).
        of_clips: (R, x, y), or (B, x, y) where rows of one clip are neighbours, equally many each: it is not copied
            to every row then; or what all steps share.

    Returns:
        (R, n, y).
    """
    if isinstance(of_clips, SharedRows):
        return of_clips.sums(rows)
    product = rows.to(of_clips.dtype).reshape(len(of_clips), -1, rows.shape[-1]) @ of_clips
    return product.view(*rows.shape[:2], -1)


def gathered(of_clips: Tensor | SharedRows, clips: Tensor) -> Tensor | None:
    """The clips of rows for ``tanh_energies``: None where ``of_clips`` says that rows of one clip are neighbours."""
    return clips if isinstance(of_clips, SharedRows) else None


class _RowUses:
    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self.left: list[tuple[Tensor, Tensor]] = []

    def gradients(self) -> tuple[Tensor, ...]:
        R, N, y = self.rows.shape
        queries = sum(given.shape[1] for given, _ in self.left)
        weights, grads = self.rows.new_zeros(R, queries, N), self.rows.new_zeros(R, queries, y)
        first = 0
        for given, grad in self.left:
            n, q, m = given.shape
            weights[:n, first : first + q, :m], grads[:n, first : first + q] = given, grad
            first += q
        self.left.clear()
        return (torch.bmm(weights.mT, grads),)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, token: Tensor, uses: _RowUses) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(weights)
        ctx.uses = uses
        return torch.bmm(weights, uses.rows[: len(weights), : weights.shape[2]])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (weights,), uses = ctx.saved_tensors, ctx.uses
        if ctx.needs_input_grad[1]:
            uses.left.append((weights, grads[0]))
        return torch.bmm(grads[0], uses.rows[: len(weights), : weights.shape[2]].mT), None, None


class SharedWords:
    """What is kept of the words of captions, of which each step takes the first.

    Args:
        words: (R, T, ...).
    """

    def __init__(self, words: Tensor) -> None:
        self._uses = _WordUses(words.detach())
        self._token = _Collect.apply(self._uses, words)

    def first(self, captions: int, words: int) -> Tensor:
        """One step: the first words of the first captions."""
        result: Tensor = _First.apply(captions, words, self._token, self._uses)
        return result


class _WordUses:
    def __init__(self, words: Tensor) -> None:
        self.words = words
        self.left: Tensor | None = None

    def sums(self) -> Tensor:
        """What steps add their gradients to."""
        if self.left is None:
            self.left = torch.zeros_like(self.words)
        return self.left

    def gradients(self) -> tuple[Tensor, ...]:
        sums, self.left = self.sums(), None
        return (sums,)


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, captions: int, words: int, token: Tensor, uses: _WordUses) -> Tensor:  # noqa: ARG004
        ctx.captions, ctx.words, ctx.uses = captions, words, uses
        return uses.words[:captions, :words]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ctx.uses.sums()[: ctx.captions, : ctx.words] += grads[0]
        return None, None, None, None


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
        self._uses = _EnergyUses(*(each.detach() for each in shared))
        self._token = _Collect.apply(self._uses, *shared)

    def __call__(self, weights: Tensor, query: Tensor) -> Tensor:
        """One step: alignment weights (n, N, t) and the projected LSTM state (n, a) -> (n, N)."""
        with torch.autocast(query.device.type, enabled=False):
            result: Tensor = _Energies.apply(precise(weights) * 2.0, precise(query) * 2.0, self._token, self._uses)
        return result


class _EnergyUses:
    """Content and vector are doubled, as weights and query of a step; ``left``: gradients before the vector's share."""

    def __init__(self, content: Tensor, phrases: Tensor, vector: Tensor) -> None:
        self.content, self.phrases, self.vector = content, phrases, vector
        self.scaled, self.half = phrases * vector, vector.sum() / 2.0
        self.left: tuple[Tensor, ...] | None = None

    def bent(self, weights: Tensor, query: Tensor, rows: slice) -> Tensor:
        """The sigmoids of some captions, (n, N, a)."""
        keys = self.content[rows] + query[rows, None]
        return keys.baddbmm_(weights[rows], self.phrases[rows, : weights.shape[2]]).sigmoid_()

    def sums(self) -> tuple[Tensor, ...]:
        """What steps add their gradients to."""
        if self.left is None:
            self.left = tuple(torch.zeros_like(each) for each in (self.content, self.phrases, self.vector))
        return self.left

    def gradients(self) -> tuple[Tensor, ...]:
        (content, phrases, vector), self.left = self.sums(), None
        return content.mul_(self.vector), phrases.mul_(self.vector), vector


class _Energies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, query: Tensor, token: Tensor, uses: _EnergyUses) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(weights, query)
        ctx.uses = uses
        energies = query.new_empty(weights.shape[:2])
        for rows in blocks(len(query), uses.content[0].numel(), query.device):
            energies[rows] = energies_of(uses.bent(weights, query, rows), uses.vector, uses.half)
        return energies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (weights, query), uses = ctx.saved_tensors, ctx.uses
        d_content, d_phrases, d_vector = uses.sums()
        d_weights, d_query, t = torch.empty_like(weights), torch.empty_like(query), weights.shape[2]
        for rows in blocks(len(query), uses.content[0].numel(), query.device):
            grad = grads[0][rows]
            bent = uses.bent(weights, query, rows)
            d_vector += vector_gradient(bent, grad)
            before = slope(bent, grad[..., None])
            d_weights[rows] = torch.bmm(before, uses.scaled[rows, :t].mT)
            d_phrases[rows, :t] += torch.bmm(weights[rows].mT, before)
            torch.sum(before, dim=1, out=d_query[rows])
            d_content[rows] += before
        return d_weights, d_query.mul_(uses.vector), None, None
