"""SA-LSTM: the state of an LSTM attends to the frames themselves, and the next word follows (soft attention).

No encoder, no emotion. Published as "Describing Videos by Exploiting Temporal Structure" (Yao et al., 2015); the widths
are those of hobincar/SA-LSTM. *Decision*: features are standardised like those of every system here.

Notation: B distinct clips, R rows (captions or hypotheses), N moments, D width of a moment's features, T steps, h LSTM
width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evcap_cli.data.special_tokens import PAD
from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.config import SystemConfig
from evcap_cli.network.decoder import EMBEDDING_SPREAD
from evcap_cli.network.decoder_state import ClipRows
from evcap_cli.network.layers import autocast_to, dense, lstm_cell, precise
from evcap_cli.network.losses import Targets, weighted_targets
from evcap_cli.network.packing import WordScores
from evcap_cli.network.shared_gradients import SharedMap, SharedRows, per_row
from evcap_cli.network.tanh_energies import DoubledKeys
from evcap_cli.network.visual_encoder import StandardisedStream
from evcap_cli.reading.ranges import Share, Weight, Width
from evcap_cli.systems.attention import AdditiveEnergies, attention_weights
from evcap_cli.systems.contract import CaptionModel, PreparedClips, WeightedTerms
from evcap_cli.systems.moments import moment_features, standardise_moments


@dataclass(frozen=True)
class SaLstmLoss:
    """Cross entropy alone."""

    emotion_word_weight: Weight = 0.0
    """An emotion word weighs 1 + this."""


@dataclass(frozen=True)
class SaLstmConfig(SystemConfig):
    """Every number of SA-LSTM."""

    word_width: Width = 468
    dropout: Share = 0.5
    """On the LSTM's output, in training."""
    lstm_width: Width = 512
    attention_width: Width = 256
    loss: SaLstmLoss = field(default_factory=SaLstmLoss)


@dataclass
class FrameMemory(ClipRows):
    """Frames (B, N, D), their keys of the attention, and which are real (B, N)."""

    frames: Tensor
    keys: DoubledKeys
    mask: Tensor


@dataclass
class LstmState:
    """Where R rows stand: the clip of each, (R,), hidden and cell, (R, h)."""

    clips: Tensor
    hidden: Tensor
    cell: Tensor

    def reorder(self, rows: Tensor) -> LstmState:
        """The state whose row r continues row ``rows[r]``."""
        return LstmState(self.clips[rows], self.hidden[rows], self.cell[rows])


class SaLstm(CaptionModel):
    """The whole system."""

    Config: ClassVar[type[SystemConfig]] = SaLstmConfig
    PARTS: ClassVar[Mapping[str, Sequence[str]]] = {
        "decoder": ("attention", "gates"),
        "words": ("embedding", "output"),
    }
    config: SaLstmConfig

    def __init__(self, config: SaLstmConfig, lexicon_mask: Tensor) -> None:
        super().__init__(config, lexicon_mask)
        features, h = sum(config.streams.values()), config.lstm_width
        self.frames = StandardisedStream(features, config)
        self.embedding = nn.Embedding(config.vocabulary, config.word_width)
        self.attention = AdditiveEnergies(h, features, config.attention_width)
        self.gates = nn.Linear(config.word_width + features + h, 4 * h)
        self.dropout = nn.Dropout(config.dropout)
        self.output = dense(h, config.vocabulary)
        with torch.no_grad():
            self.embedding.weight.normal_(0.0, EMBEDDING_SPREAD)[PAD] = 0.0
            self.gates.weight.uniform_(-1.0, 1.0).mul_(h**-0.5)
            self.gates.bias.zero_()

    def forward(
        self, batch: ClipBatch, tokens: Tensor, clip_index: Tensor, lengths: Sequence[int] | None = None
    ) -> WordScores:
        """See ``CaptionModel``; the word's share of the gates is one product for all steps."""
        memory = self._memory(batch)
        of_words, of_rest = autocast_to(self.gates.weight).tensor_split([self.config.word_width], dim=1)
        gates = F.linear(self.embedding(tokens), of_words, self.gates.bias).unbind(dim=1)
        frames, real = SharedRows(autocast_to(memory.frames)[clip_index]), memory.mask[clip_index]
        enter = SharedMap(of_rest)
        hidden = cell = precise(memory.frames.new_zeros(len(tokens), self.config.lstm_width))
        states = []
        for entering in gates:
            context = self._context(memory, frames, real, clip_index, hidden)
            hidden, cell = lstm_cell(enter(context, hidden, added=entering), cell)
            states.append(hidden)
        return WordScores.of(self.output(self.dropout(torch.stack(states, dim=1))), lengths)

    def losses(self, output: WordScores, targets: Targets) -> WeightedTerms:
        """Cross entropy."""
        expected, weights = weighted_targets(output, targets, self.config.loss.emotion_word_weight)
        each = F.cross_entropy(output.logits.float(), expected, reduction="none")
        words = (each * weights).sum() / (expected != PAD).sum().clamp(min=1)
        return WeightedTerms.sum(cross_entropy=(1.0, words))

    def prepare(self, batch: ClipBatch) -> PreparedClips:
        """The frames; there is no emotion branch."""
        return PreparedClips(self._memory(batch))

    @torch.no_grad()
    def start(self, memory: FrameMemory) -> LstmState:
        """See ``CaptionModel``."""
        zero = precise(memory.keys.values.new_zeros(len(memory), self.config.lstm_width))
        return LstmState(torch.arange(len(memory), device=memory.device), zero, zero)

    @torch.no_grad()
    def step(self, memory: FrameMemory, state: LstmState, tokens: Tensor) -> tuple[Tensor, LstmState]:
        """See ``CaptionModel``."""
        context = self._context(memory, memory.frames, memory.mask[state.clips], None, state.hidden)
        entering = torch.cat([self.embedding(tokens), context, state.hidden], dim=-1)
        hidden, cell = lstm_cell(self.gates(entering), state.cell)
        return self.output(hidden), LstmState(state.clips, hidden, cell)

    def fit_normalisation(self, clips: Iterable[ClipFeatures]) -> None:
        """See ``CaptionModel``."""
        standardise_moments(self.frames, clips, self.config.streams)

    def word_tables(self) -> dict[str, Tensor]:
        """The table of the vocabulary."""
        return {"vocabulary": self.embedding.weight}

    def _memory(self, batch: ClipBatch) -> FrameMemory:
        rows = self.frames(moment_features(batch, self.config.streams), batch.visual_mask)
        frames = rows.masked_fill(~batch.visual_mask.unsqueeze(-1), 0.0)
        return FrameMemory(frames, DoubledKeys.of(self.attention.key(frames)), batch.visual_mask)

    def _context(
        self, memory: FrameMemory, frames: Tensor | SharedRows, real: Tensor, clips: Tensor | None, hidden: Tensor
    ) -> Tensor:
        """Att(h_{t-1}; frames), (R, D); ``frames`` as in ``per_row``."""
        energies = self.attention(memory.keys, self.attention.query(hidden), clips)
        return per_row(attention_weights(energies, real)[:, None], frames)[:, 0]
