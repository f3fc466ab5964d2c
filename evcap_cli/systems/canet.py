"""CANet (reconstruction): the LSTM state attends to pictures, to words and to both aligned; no emotion branch.

No code of CANet is public. What is known is its abstract ("Contextual Attention Network for Emotional Video
Captioning", Song et al., 2022): visual and textual context by attention at each step, cross entropy, and a contrastive
loss on positive and negative pairs. The rest is rebuilt from the parts of EPAN, which is by the same authors. It is
named "CANet (reconstruction)" wherever it is named to people.

Notation: B distinct clips, R rows (captions or hypotheses), N moments, t words so far, d model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.config import AlignedConfig, SystemConfig
from evcap_cli.network.decoder_state import WordsSoFar
from evcap_cli.network.shared_gradients import SharedRows, gathered, per_row
from evcap_cli.network.tanh_energies import DoubledKeys, attention_energies
from evcap_cli.network.visual_encoder import VisualStream
from evcap_cli.reading.ranges import Heads, Share, Weight, Width
from evcap_cli.systems.aligned_decoder import AlignedDecoder
from evcap_cli.systems.aligned_system import AlignedSystem
from evcap_cli.systems.aligned_tensors import AlignedMemory, EncodedClips
from evcap_cli.systems.attention import AdditiveEnergies, attention_weights
from evcap_cli.systems.moments import moment_features


@dataclass(frozen=True)
class CanetLoss:
    """Weights of the two losses."""

    emotion_word_weight: Weight = 0.0
    """An emotion word weighs 1 + this in the cross entropy."""
    contrast: Weight = 0.2


@dataclass(frozen=True)
class CanetConfig(AlignedConfig):
    """Every number of the reconstruction: EPAN's, without an emotion branch."""

    dropout: Share = 0.1
    encoder_heads: Heads = 1
    visual_positions: bool = False
    head_width: Width = 32
    """d_k of every attention with heads."""
    decoder_dropout: Share = 0.0
    """On words and on the LSTM's output."""
    loss: CanetLoss = field(default_factory=CanetLoss)


@dataclass
class CanetMemory(AlignedMemory):
    """Adds the keys of the visual context."""

    keys: DoubledKeys


class CanetEncoder(nn.Module):
    """Linear map and self-attention over the moments."""

    def __init__(self, config: CanetConfig) -> None:
        super().__init__()
        self.streams = config.streams
        self.visual = VisualStream(sum(self.streams.values()), config, head_width=config.head_width)

    def forward(self, batch: ClipBatch) -> EncodedClips:
        """V."""
        mask = batch.visual_mask
        visual = self.visual(moment_features(batch, self.streams), mask).masked_fill(~mask.unsqueeze(-1), 0.0)
        return EncodedClips(visual, mask, emotion=visual[..., :0])


class CanetDecoder(AlignedDecoder[CanetMemory]):
    """LSTM([Att(h_{t-1}; V); Att(h_{t-1}; P_t); Att(h_{t-1}; T_t); y_t])."""

    def __init__(self, config: CanetConfig) -> None:
        d, h, a = config.width, config.lstm_width, config.attention_width
        super().__init__(
            config, context=3 * d, kept=2 * a, head_width=config.head_width, dropout=config.decoder_dropout
        )
        self.of_visual = AdditiveEnergies(h, d, a)
        self.of_words = AdditiveEnergies(h, d, a)
        self.of_aligned = AdditiveEnergies(h, d, a)

    def prepare(self, encoded: EncodedClips) -> CanetMemory:
        """What no step changes."""
        visual = encoded.visual
        alignment, keys = (DoubledKeys.of(each.key(visual)) for each in (self.alignment, self.of_visual))
        return CanetMemory(visual, alignment, encoded.mask, keys)

    def word_keys(self, phrases: Tensor) -> Tensor:
        """A phrase's keys of the textual and of the aligned context.

        A row of T_t is a mean of phrases, so its key is the mean of their keys, the bias included.
        """
        return torch.cat([self.of_words.key(phrases), self.of_aligned.key(phrases)], dim=-1)

    def content(self, memory: CanetMemory) -> tuple[Tensor, ...]:
        """V."""
        return (memory.visual,)

    def attend(
        self,
        memory: CanetMemory,
        views: Tensor | SharedRows,
        others: tuple[Tensor, ...],  # noqa: ARG002 - there are none
        clips: Tensor,
        hidden: Tensor,
        so_far: WordsSoFar,
        carried: Tensor | None,
    ) -> tuple[Sequence[Tensor], Tensor | None]:
        """The three contexts, each (R, d)."""
        (R, N, _), real = so_far.weights.shape, memory.mask[clips]
        of_words, of_aligned = so_far.keys.chunk(2, dim=-1)

        energies = self.of_visual(memory.keys, self.of_visual.query(hidden), gathered(views, clips))
        visual = per_row(attention_weights(energies, real)[:, None], views)

        every = torch.arange(R, device=hidden.device)
        energies = self.of_words(of_words, self.of_words.query(hidden), every)
        textual = per_row(energies.softmax(dim=-1)[:, None], so_far.phrases)

        nothing, first = of_aligned.new_zeros(1, N, of_aligned.shape[-1]), torch.zeros_like(every)
        energies = attention_energies(
            nothing, so_far.weights, of_aligned, self.of_aligned.query(hidden), self.of_aligned.vector, first
        )
        aligned = per_row(attention_weights(energies, real)[:, None] @ so_far.weights, so_far.phrases)
        return (visual[:, 0], textual[:, 0], aligned[:, 0]), carried


class Canet(AlignedSystem):
    """The whole system."""

    Config: ClassVar[type[SystemConfig]] = CanetConfig
    config: CanetConfig

    def __init__(self, config: CanetConfig, lexicon_mask: Tensor) -> None:
        super().__init__(config, lexicon_mask, CanetEncoder(config), CanetDecoder(config))
