"""Building blocks that several sections of the captioner share: attention, its layers, positions, masked means.

Which stream attends to which stands in the file of a section.

Notation: B clips, N_q rows that attend, N_k rows that are attended to, d model width, H heads, d_h = d / H.
A mask is True where a row is real. Rows that are not real get no weight; a row that may attend to nothing gets zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evcap_cli.network.dropout import Dropout


def dense(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear map with Glorot weights and no initial bias, as Transformers start."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def precise(values: Tensor) -> Tensor:
    """``values`` in single precision at least: what softmax and losses are computed in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def sinusoid_positions(length: int, width: int) -> Tensor:
    """Sinusoid positions of "Attention is all you need": even columns sine, odd columns cosine.

    Returns:
        (length, width) float32.
    """
    if torch.get_default_device().type == "meta":  # no values are wanted, for which torch would import its compiler
        return torch.empty(length, width)
    position = torch.arange(length, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10000.0) / width))
    table = torch.zeros(length, width, dtype=torch.float64)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate[: width // 2])
    return table.float()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real rows.

    Args:
        values: (B, N, d).
        mask: (B, N).

    Returns:
        (B, d); zeros for a clip without any real row.
    """
    real = mask.unsqueeze(-1)
    count = real.sum(dim=1).clamp(min=1)
    return values.masked_fill(~real, 0.0).sum(dim=1) / count


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The LSTM after the map of its inputs: gates (R, 4h) and cell (R, h) -> hidden and cell."""
    take, keep, new, show = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(new)
    return torch.sigmoid(show) * torch.tanh(cell), cell


def autocast_to(values: Tensor) -> Tensor:
    """``values`` in the number format of autocast, where it is on: for a loop whose every step would convert them."""
    device = values.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return values.to(torch.get_autocast_dtype(device)) if on else values


@dataclass
class WordBuffers:
    """What the steps of a search use again: converted weights, and where they write; fresh memory costs half a product.

    Args:
        gate_map, gate_bias: from what enters the LSTM to its gates, (4h, x) and (4h,).
        word_map, word_bias: from its hidden state to the vocabulary, (V, h) and (V,).
        gates, logits: of R rows, (R, 4h) and (R, V).
    """

    gate_map: Tensor
    gate_bias: Tensor
    word_map: Tensor
    word_bias: Tensor
    gates: Tensor
    logits: Tensor

    @classmethod
    def of(cls, gates: nn.Linear, output: nn.Linear, rows: int, bias: Tensor | None = None) -> WordBuffers:
        """For ``rows`` rows, in the number format of autocast where it is on; ``bias``: as in ``emit_word``."""
        given = gates.weight, gates.bias if bias is None else bias, output.weight, output.bias
        gate_map, gate_bias, word_map, word_bias = map(autocast_to, given)
        room = (word_map.new_empty(rows, len(each)) for each in (gate_map, word_map))
        return cls(gate_map, gate_bias, word_map, word_bias, *room)


def emit_word(
    gates: nn.Linear,
    output: nn.Linear,
    inputs: Tensor,
    cell: Tensor,
    buffers: WordBuffers | None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, WordBuffers]:
    """One LSTM step of the search and the scores of the next word; h LSTM width, V vocabulary.

    Args:
        gates: from what enters the LSTM to its gates.
        output: from its hidden state to the vocabulary.
        inputs: what enters, (R, x).
        cell: (R, h).
        buffers: of the step before, where its rows were as many.
        bias: of the gates, (4h,), where it is not that of the map alone.

    Returns:
        Logits (R, V) in the number format of autocast, hidden and cell (R, h), and the buffers for the next step.
    """
    room = WordBuffers.of(gates, output, len(inputs), bias) if buffers is None else buffers
    torch.addmm(room.gate_bias, autocast_to(inputs), room.gate_map.t(), out=room.gates)
    hidden, cell = lstm_cell(room.gates.to(cell.dtype), cell)
    torch.addmm(room.word_bias, autocast_to(hidden), room.word_map.t(), out=room.logits)
    return room.logits, hidden, cell, room


class Mlp(nn.Module):
    """Two linear maps with a ReLU between them: the feed-forward part of a layer, and MLP(.) of Eq. 4."""

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner = dense(inputs, hidden)
        self.outer = dense(hidden, outputs)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        result: Tensor = self.outer(self.dropout.after_relu(self.inner(values)))
        return result


class MultiHeadCrossAttention(nn.Module):
    """MHCA(q, kv) of the paper: scaled dot products in H heads, joined by a linear map; no residual of its own.

    Args:
        head_width: d_h where it is not d / H, as in EPAN and its descendants.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, *, head_width: int | None = None) -> None:
        super().__init__()
        if head_width is None and width % heads:
            raise ValueError(f"width {width} must be divisible by heads {heads}")
        inner = width if head_width is None else heads * head_width
        self.heads = heads
        self.query = dense(width, inner)
        self.key = dense(width, inner, bias=False)  # a bias shifts all scores of a query alike: softmax drops it
        self.value = dense(width, inner)
        self.join = dense(inner, width)
        self.dropout = Dropout(dropout)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of rows that can be attended to many times.

        Args:
            memory: (B, N_k, d).

        Returns:
            Two tensors (B, H, N_k, d_h).
        """
        return self._split(self.key(memory)), self._split(self.value(memory))

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Ask prepared keys and values; arguments and result as in ``forward``."""
        heads = self._split(self.query(query))
        scores = precise(heads @ keys.transpose(-1, -2)) / math.sqrt(heads.shape[-1])
        if mask is None:
            weights = scores.softmax(dim=-1)
        else:
            blocked = ~(mask[:, None] if mask.dim() == 3 else mask[:, None, None])
            # The second fill turns the even weights of a row that may attend to nothing into zeros, never NaN.
            weights = scores.masked_fill(blocked, torch.finfo(scores.dtype).min).softmax(dim=-1)
            weights = weights.masked_fill(blocked, 0.0)
        context = self.dropout(weights).to(values.dtype) @ values
        joined: Tensor = self.join(context.transpose(1, 2).flatten(2))
        return joined, weights.mean(dim=1)

    def forward(
        self, query: Tensor, memory: Tensor, mask: Tensor | None = None, chosen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """MHCA(query, memory).

        Args:
            query: (B, N_q, d).
            memory: keys and values, (B, N_k, d), or (N_k, d) where all clips attend to the same few rows.
            mask: True where a row may be attended to, (B or 1, N_k) or (B or 1, N_q, N_k).
            chosen: which of the few rows each clip attends to, (B, m); N_k is then m.

        Returns:
            The result, (B, N_q, d), and the weights averaged over heads (before dropout), (B, N_q, N_k).
        """
        if memory.dim() == 2:
            return self._attend_few(query, memory, mask, chosen)
        return self.attend(query, *self.keys_values(memory), mask)

    def _attend_few(
        self, query: Tensor, memory: Tensor, mask: Tensor | None, chosen: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """MHCA of many rows that attend and few that all clips attend to.

        W_q and W_join act on the few rows, once per head, instead of on the many: (x W_q) k' = x (W_q k').
        """
        (B, N_q, d), H = query.shape, self.heads
        inner = self.query.out_features // H
        keys = self.key(memory).view(-1, H, inner).transpose(0, 1) / math.sqrt(inner)
        values = self.value(memory).view(-1, H, inner).transpose(0, 1)
        scoring = keys @ self.query.weight.view(H, inner, d)  # (H, N_k, d)
        offset = keys @ self.query.bias.view(H, inner, 1)  # (H, N_k, 1)
        joining = values @ self.join.weight.view(d, H, inner).permute(1, 2, 0)  # (H, N_k, d)
        if chosen is None:
            scores = F.linear(query, scoring.flatten(0, 1), offset.flatten())
            joining = joining.flatten(0, 1)
        else:
            scoring, offset, joining = (_of_each(rows, chosen) for rows in (scoring, offset, joining))
            scores = torch.baddbmm(offset.mT, query, scoring.mT)
        scores = precise(scores.view(B, N_q, H, -1))
        if mask is not None:
            blocked = ~(mask[:, :, None] if mask.dim() == 3 else mask[:, None, None])
            scores = scores.masked_fill(blocked, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)
        if mask is not None:
            weights = weights.masked_fill(blocked, 0.0)
        joined = self.dropout(weights).to(joining.dtype).flatten(2) @ joining + self.join.bias
        return joined, weights.mean(dim=2)

    def _split(self, rows: Tensor) -> Tensor:
        """(B, N, d) -> (B, H, N, d_h)."""
        return rows.view(*rows.shape[:-1], self.heads, -1).transpose(1, 2)


def _of_each(rows: Tensor, chosen: Tensor) -> Tensor:
    """Rows of all heads, (H, N_k, n), by clip: (B, H m, n) for ``chosen`` (B, m)."""
    (B, m), H = chosen.shape, len(rows)
    return rows.index_select(1, chosen.flatten()).view(H, B, m, -1).transpose(0, 1).reshape(B, H * m, -1)


class AttentionLayer(nn.Module):
    """Cross-attention and feed-forward, each with residual and LayerNorm.

    Args:
        pre_norm: normalise what enters each part (*Decision*: a choice) instead of what leaves it; both sides of the
            attention then share one norm, and whoever stacks such layers normalises the last result.
        head_width: as in ``MultiHeadCrossAttention``.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        feed_forward: int,
        dropout: float = 0.0,
        *,
        pre_norm: bool = False,
        head_width: int | None = None,
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = MultiHeadCrossAttention(width, heads, dropout, head_width=head_width)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = Mlp(width, feed_forward, width, dropout)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(
        self, query: Tensor, memory: Tensor, mask: Tensor | None = None, chosen: Tensor | None = None
    ) -> Tensor:
        """Arguments as in ``MultiHeadCrossAttention``; self-attention where query and memory are the same.

        Returns:
            (B, N_q, d).
        """
        rows: Tensor
        if self.pre_norm:
            found, _ = self.attention(self.attention_norm(query), self.attention_norm(memory), mask, chosen)
            rows = query + self.dropout(found)
            rows = rows + self.dropout(self.feed_forward(self.feed_forward_norm(rows)))
            return rows
        found, _ = self.attention(query, memory, mask, chosen)
        rows = self.attention_norm(query + self.dropout(found))
        rows = self.feed_forward_norm(rows + self.dropout(self.feed_forward(rows)))
        return rows


class AttentionStack(nn.Module):
    """Layers one after another: a self-attention encoder, or an encoder that attends to fixed rows in each layer."""

    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        feed_forward: int,
        dropout: float = 0.0,
        *,
        pre_norm: bool = False,
        head_width: int | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            AttentionLayer(width, heads, feed_forward, dropout, pre_norm=pre_norm, head_width=head_width)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if pre_norm else nn.Identity()

    def forward(
        self, query: Tensor, memory: Tensor | None = None, mask: Tensor | None = None, chosen: Tensor | None = None
    ) -> Tensor:
        """Arguments as in ``MultiHeadCrossAttention``; without ``memory`` each layer attends to its own input.

        Returns:
            (B, N_q, d).
        """
        rows = query
        for layer in self.layers:
            rows = layer(rows, rows if memory is None else memory, mask, chosen)
        result: Tensor = self.norm(rows)
        return result
