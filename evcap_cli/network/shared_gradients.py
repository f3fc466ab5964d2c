"""What all steps of a loop over words multiply with, with one gradient for all of them.

Left to autograd, each step of teacher forcing makes a gradient of the whole weight, or of all rows, and adds it to
those of the steps before: memory is filled, copied and added for the news of a few rows. Here a step leaves what the
gradient is made of, and one product makes it after the last step. Values are those of plain expressions, and so are
gradients but for the order of their sums.

Each class is made once a batch and called once a step. Steps take a token of it, a tensor without content, so that
autograd asks for the gradients when all of them are through.

Notation: R captions, n that have a step, N rows of a caption, y their width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Left(ABC):
    """What the steps of one backward pass have left."""

    backward_pass = -1

    def begin(self) -> None:
        """Of each step: forget what another pass left, which was for other gradients than these."""
        running = torch._C._current_graph_task_id()
        if running != self.backward_pass:
            self.backward_pass = running
            self.forget()

    @abstractmethod
    def forget(self) -> None:
        """Nothing was left."""

    @abstractmethod
    def gradients(self) -> tuple[Tensor, ...]:
        """Of the shared tensors; forgets what they were made of."""


class _Collect(torch.autograd.Function):
    """The token: its backward pass comes after that of each step."""

    @staticmethod
    def forward(ctx: Any, left: Left, *shared: Tensor) -> Tensor:
        ctx.left = left
        return shared[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG004 - the token has none
        return None, *ctx.left.gradients()


def token_of(left: Left, *shared: Tensor) -> Tensor:
    """What each step takes; its gradient, and so the one of what is shared, comes after those of all steps."""
    token: Tensor = _Collect.apply(left, *shared)
    return token


class SharedMap:
    """A linear map without bias.

    Args:
        weight: W, (y, x).
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight, self._left = weight.detach(), _Pairs()
        self._token = token_of(self._left, weight)

    def __call__(self, *parts: Tensor, added: Tensor | None = None) -> Tensor:
        """One step: parts of x (n, ...), side by side -> (n, y), in the number format of W, and what is added to it."""
        values = torch.cat([part.to(self._weight.dtype) for part in parts], dim=-1)
        result: Tensor = _Map.apply(values, added, self._token, self._weight, self._left)
        return result


class _Pairs(Left):
    """Of a map: what entered each step, (n, x), and the gradient of what it gave, (n, y)."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []

    def forget(self) -> None:
        self.pairs.clear()

    def gradients(self) -> tuple[Tensor, ...]:
        values, grads = (torch.cat(each) for each in zip(*self.pairs, strict=True))
        self.forget()
        turned = grads.t()
        if grads.dtype == torch.bfloat16:  # oneDNN takes twice as long for a transposed matrix in this format
            turned = turned.contiguous()
        return (turned @ values,)


class _Map(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        added: Tensor | None,
        token: Tensor,  # noqa: ARG004
        weight: Tensor,
        left: _Pairs,
    ) -> Tensor:
        ctx.save_for_backward(values, weight)
        ctx.left = left
        return values @ weight.t() if added is None else torch.addmm(added, values, weight.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, weight = ctx.saved_tensors
        if ctx.needs_input_grad[2]:
            ctx.left.begin()
            ctx.left.pairs.append((values, grads[0]))
        return grads[0] @ weight, grads[0] if ctx.needs_input_grad[1] else None, None, None, None


class SharedRows:
    """Rows of captions, of which each step takes weighted sums.

    Args:
        rows: (R, N, y); a step of n captions is one of the first n.
    """

    def __init__(self, rows: Tensor) -> None:
        self._rows, self._left = rows.detach(), _Weights(*rows.shape)
        self._token = token_of(self._left, rows)

    def sums(self, weights: Tensor) -> Tensor:
        """One step: weights (n, q, m) of the first m rows -> (n, q, y), in the number format of the rows."""
        result: Tensor = _Sums.apply(weights.to(self._rows.dtype), self._token, self._rows, self._left)
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


class _Weights(_Pairs):
    """Of sums of rows (R, N, y): the weights of each step, (n, q, m), and the gradient of the sums, (n, q, y)."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def gradients(self) -> tuple[Tensor, ...]:
        (R, N, y), (first, _) = self.shape, self.pairs[0]
        queries = sum(given.shape[1] for given, _ in self.pairs)
        weights, grads = first.new_zeros(R, queries, N), first.new_zeros(R, queries, y)
        begin = 0
        for given, grad in self.pairs:
            n, q, m = given.shape
            weights[:n, begin : begin + q, :m], grads[:n, begin : begin + q] = given, grad
            begin += q
        self.forget()
        return (torch.bmm(weights.mT, grads),)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, token: Tensor, rows: Tensor, left: _Weights) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(weights, rows)
        ctx.left = left
        return torch.bmm(weights, rows[: len(weights), : weights.shape[2]])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, rows = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            ctx.left.begin()
            ctx.left.pairs.append((weights, grads[0]))
        return torch.bmm(grads[0], rows[: len(weights), : weights.shape[2]].mT), None, None, None


class SharedWords:
    """What is kept of the words of captions, of which each step takes the first.

    Args:
        words: (R, T, ...).
    """

    def __init__(self, words: Tensor) -> None:
        self._words, self._left = words.detach(), _Sum(words.shape)
        self._token = token_of(self._left, words)

    def first(self, captions: int, words: int) -> Tensor:
        """One step: the first words of the first captions."""
        result: Tensor = _First.apply(captions, words, self._token, self._words, self._left)
        return result


class _Sum(Left):
    """Of words: the sum of their gradients."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape
        self.sums: tuple[Tensor, ...] = ()

    def forget(self) -> None:
        self.sums = ()

    def add(self, grad: Tensor) -> None:
        """Gradient of the first words of the first captions."""
        self.sums = self.sums or (grad.new_zeros(self.shape),)
        self.sums[0][: grad.shape[0], : grad.shape[1]] += grad

    def gradients(self) -> tuple[Tensor, ...]:
        sums = self.sums
        self.forget()
        return sums


class _First(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        captions: int,
        words: int,
        token: Tensor,  # noqa: ARG004
        values: Tensor,
        left: _Sum,
    ) -> Tensor:
        ctx.left = left
        return values[:captions, :words]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ctx.left.begin()
        ctx.left.add(grads[0])
        return None, None, None, None, None
