"""Additive attention, Att(q; K): e_i = w' tanh(W q + U k_i + b), softmax over i, weighted sum of K.

Notation: B distinct clips, R rows (captions or hypotheses), N rows that are attended to, T queries, a inner width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evcap_cli.network.layers import dense
from evcap_cli.network.tanh_energies import DoubledKeys, alignment_energies


class AdditiveEnergies(nn.Module):
    """e_i between queries and keys; the caller, who knows the mask, takes the softmax.

    Args:
        query: width of q. key: width of k_i. width: a.
    """

    def __init__(self, query: int, key: int, width: int) -> None:
        super().__init__()
        self.query = dense(query, width, bias=False)
        self.key = dense(key, width)
        self.vector = nn.Parameter(torch.empty(width).uniform_(-1.0, 1.0) * (3.0 / width) ** 0.5)

    def forward(self, keys: Tensor | DoubledKeys, queries: Tensor, clips: Tensor | None) -> Tensor:
        """Energies between all keys of a clip and all queries of a row.

        Args:
            keys: U k_i + b, (B, N, a), or these made ready.
            queries: W q, (R, T, a), or (R, a) for one query a row.
            clips: the clip whose keys each row attends to, as in ``alignment_energies``.

        Returns:
            (R, N, T), or (R, N).
        """
        if queries.dim() == 2:
            return alignment_energies(keys, queries[:, None], self.vector, clips)[:, :, 0]
        return alignment_energies(keys, queries, self.vector, clips)


def attention_weights(energies: Tensor, real: Tensor) -> Tensor:
    """Softmax over the real ones of N rows, (R, N)."""
    return energies.masked_fill(~real, float("-inf")).softmax(dim=-1)
