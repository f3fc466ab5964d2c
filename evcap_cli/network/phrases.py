"""The phrase encoder of section 1.5: words so far -> P_t, one causal self-attention layer over words and positions.

Causal (a *Decision*): the state of word j never changes once word j is there, so that a search keeps it and a training
step computes all of them in one pass. Padding only ever follows the end mark, hence no mask besides the causal one.

Notation: R rows, T words (the start mark included), d model width, t words before the present one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from evcap_cli.network.config import AlignedConfig
from evcap_cli.network.layers import AttentionLayer, sinusoid_positions


class PhraseEncoder(nn.Module):
    """One Transformer layer with a causal mask; ``step`` is the same layer for one more word.

    Args:
        config: of the model.
        head_width: of the layer's attention, d_h, where it is not d / H.
    """

    positions: Tensor

    def __init__(self, config: AlignedConfig, *, head_width: int | None = None) -> None:
        super().__init__()
        d = config.width
        self.layer = AttentionLayer(
            d,
            config.phrase_heads,
            config.feed_forward,
            config.dropout,
            pre_norm=config.pre_norm,
            head_width=head_width,
        )
        self.norm = nn.LayerNorm(d) if config.pre_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("positions", sinusoid_positions(config.max_words + 1, d), persistent=False)

    @property
    def kept(self) -> int:
        """Width of a word's key, and of its value, in the caches of ``step``."""
        return self.layer.attention.value.out_features

    def forward(self, words: Tensor) -> Tensor:
        """Phrase states of all words at once.

        Args:
            words: embedded words, the start mark first, (R, T, d).

        Returns:
            P, (R, T, d); row j depends on words 0 to j only.
        """
        T = words.shape[1]
        if len(self.positions) < T:
            raise ValueError(f"{T} steps are more than max_words {len(self.positions) - 1} and the end mark")
        words = self.dropout(words + self.positions[:T])
        mask = torch.ones(1, T, T, dtype=torch.bool, device=words.device).tril()
        phrases: Tensor = self.norm(self.layer(words, words, mask))
        return phrases

    def together(self, words: Tensor, real: Tensor | None = None) -> Tensor:
        """Phrase states of words that all attend to each other, so that each word that is added changes all of them.

        So does the released code of EPAN: its first word has position 1, and only the layer has dropout.

        Args:
            words: embedded words, (R, T, d), T at most max_words.
            real: False for a word that has no position, is not attended to and whose state is zeros, (R, T); None: all
                are real.

        Returns:
            P, (R, T, d).
        """
        T = words.shape[1]
        if len(self.positions) < T + 1:
            raise ValueError(f"{T} words are more than max_words {len(self.positions) - 1}")
        positions = self.positions[1 : T + 1]
        gone = None if real is None else ~real.unsqueeze(-1)
        words = words + (positions if gone is None else positions.masked_fill(gone, 0.0))
        states: Tensor = self.norm(self.layer(words, words, real))
        return states if gone is None else states.masked_fill(gone, 0.0)

    def step(self, word: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Phrase state of the next word; its key and value are written into the last row of the caches.

        Args:
            word: the embedded word, (R, d).
            keys: of the words before, and room for this one, (t + 1, R, ``kept``).
            values: likewise.

        Returns:
            p, (R, d).
        """
        R, H, layer = len(word), self.layer.attention.heads, self.layer
        d_h = self.kept // H
        word = word + self.positions[len(keys) - 1]
        normed = layer.attention_norm(word) if layer.pre_norm else word
        keys[-1], values[-1] = layer.attention.key(normed), layer.attention.value(normed)
        query = layer.attention.query(normed).view(R, H, 1, d_h) / math.sqrt(d_h)
        weights = torch.matmul(query, keys.view(-1, R, H, d_h).permute(1, 2, 3, 0)).softmax(dim=-1)
        mixed = torch.matmul(weights, values.view(-1, R, H, d_h).permute(1, 2, 0, 3)).reshape(R, -1)
        rows = word + layer.attention.join(mixed)
        if layer.pre_norm:
            rows = rows + layer.feed_forward(layer.feed_forward_norm(rows))
        else:
            rows = layer.attention_norm(rows)
            rows = layer.feed_forward_norm(rows + layer.feed_forward(rows))
        phrase: Tensor = self.norm(rows)
        return phrase
