"""EPAN: emotion is perceived in the picture, joined to it and to the words so far, and described.

"Emotion-Prior Awareness Network for Emotional Video Captioning" (Song et al., 2023); widths and habits are those of
songpipi/EPAN as far as its description goes. The paper's system with both modules off is this one, with other widths.
*Decision*: the words so far include the start mark; phrases are causal; features are standardised, and dropout lies
where the paper's system has it. ``as_published`` does all of this as the released code does (``docs/fidelity.md``).

Notation: B distinct clips, R rows (captions or hypotheses), N moments, T words, d model width, N_c categories, N_w
emotion words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.config import EmotionConfig, SystemConfig
from evcap_cli.network.decoder_state import WordsSoFar
from evcap_cli.network.emotion import EmotionPerception, EmotionWords, Perceived, TiedEmotionWords, count_words
from evcap_cli.network.layers import dense, precise
from evcap_cli.network.losses import Targets
from evcap_cli.network.shared_energies import SharedEnergies
from evcap_cli.network.shared_gradients import SharedRows, gathered, per_row
from evcap_cli.network.tanh_energies import DoubledKeys, attention_energies
from evcap_cli.network.visual_encoder import Rows, VisualStream
from evcap_cli.reading.ranges import Heads, Layers, Share, Weight, Width
from evcap_cli.systems.aligned_decoder import AlignedDecoder
from evcap_cli.systems.aligned_system import AlignedSystem
from evcap_cli.systems.aligned_tensors import AlignedMemory, AlignedOutput, EncodedClips
from evcap_cli.systems.attention import AdditiveEnergies, attention_weights
from evcap_cli.systems.moments import moment_features
from evcap_cli.systems.released import drop_as_released, start_as_released

if TYPE_CHECKING:
    from evcap_cli.data.lexicon import Lexicon

LABELS = 3
"""Emotion labels of a caption that count, at most."""


@dataclass(frozen=True)
class EpanLoss:
    """Weights of the three losses."""

    emotion_word_weight: Weight = 0.1
    """An emotion word weighs 1 + this in the cross entropy."""
    contrast: Weight = 0.2
    classification: Weight = 0.2


@dataclass(frozen=True)
class EpanConfig(EmotionConfig):
    """Every number of EPAN."""

    dropout: Share = 0.1
    encoder_heads: Heads = 1
    visual_positions: bool = False
    emotion_layers: Layers = 4
    emotion_heads: Heads = 4
    head_width: Width = 32
    """d_k of every attention with heads."""
    emotion_feed_forward: Width = 300
    category_hidden: Width = 512
    word_hidden: Width = 300
    """The two heads are two linear maps each, of this inner width; E is the rows after the first map of the second."""
    decoder_dropout: Share = 0.0
    """On words and on the LSTM's output."""
    as_published: bool = False
    """Compute, start and train as the released code does, but for defects that no result should depend on."""
    loss: EpanLoss = field(default_factory=EpanLoss)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """See ``SystemConfig``; configurations from before ``as_published`` have a field that is gone.

        Raises:
            ValueError: as there, or the model encodes words in a way that evcap no longer has.
        """
        if values.get("reencode", False):
            raise ValueError("reencode = true is gone: train again with as_published = true, which computes otherwise")
        return super().from_dict({name: value for name, value in values.items() if name != "reencode"})


@dataclass
class EpanMemory(AlignedMemory):
    """Adds [V; E], (B, N, 2d), and its keys of the attention."""

    views: Tensor
    keys: DoubledKeys


class EpanEncoder(nn.Module):
    """Linear map and self-attention over the moments, then emotion perception."""

    words_of: Tensor

    def __init__(self, config: EpanConfig, lexicon_mask: Tensor) -> None:
        super().__init__()
        d, inner, hidden = config.width, config.category_hidden, config.word_hidden
        self.streams = config.streams
        self.register_buffer("words_of", lexicon_mask.bool().clone())
        self.visual = VisualStream(sum(self.streams.values()), config, head_width=config.head_width)
        self.vectors = TiedEmotionWords(config, lexicon_mask) if config.as_published else EmotionWords(config)
        self.perception = EmotionPerception(
            config,
            head_width=config.head_width,
            feed_forward=config.emotion_feed_forward,
            category_head=nn.Sequential(dense(d, inner), dense(inner, config.categories)),
            word_head=nn.Sequential(dense(d, hidden), dense(hidden, config.words)),
        )
        count_words(self)
        self.register_load_state_dict_post_hook(lambda module, _: count_words(module))  # type: ignore[no-untyped-call]

    def emotion_rows(self, rows: Tensor) -> Tensor:
        """E of E_w: the first map of the head that reads the words; the mean may come before or after a linear map."""
        emotion: Tensor = self.perception.word_head.get_submodule("0")(rows)
        return emotion

    def forward(self, batch: ClipBatch) -> EncodedClips:
        """V, E and the two distributions."""
        mask = batch.visual_mask
        visual = self.visual(moment_features(batch, self.streams), mask)
        perceived = self.perception(Rows(visual, mask, torch.ones_like(mask[:, 0])), self.vectors(), self.words_of)
        padding = ~mask.unsqueeze(-1)
        emotion = self.emotion_rows(perceived.rows).masked_fill(padding, 0.0)
        return EncodedClips(visual.masked_fill(padding, 0.0), mask, emotion, perceived)


class EpanDecoder(AlignedDecoder[EpanMemory]):
    """C_t = [E; T_t; V], Z_t = Att(h_{t-1}; C_t), LSTM([Z_t; y_t])."""

    def __init__(self, config: EpanConfig) -> None:
        views = config.width + config.word_hidden
        super().__init__(
            config,
            context=views + config.width,
            kept=config.attention_width,
            head_width=config.head_width,
            dropout=config.decoder_dropout,
            as_published=config.as_published,
        )
        self.attention = AdditiveEnergies(config.lstm_width, views, config.attention_width)
        self.attention_told = dense(config.width, config.attention_width, bias=False)

    def prepare(self, encoded: EncodedClips) -> EpanMemory:
        """What no step changes."""
        views = torch.cat([encoded.visual, encoded.emotion], dim=-1)
        return EpanMemory(
            encoded.visual,
            DoubledKeys.of(self.alignment.key(encoded.visual)),
            encoded.mask,
            views,
            DoubledKeys.of(self.attention.key(views)),
        )

    def word_keys(self, phrases: Tensor) -> Tensor:
        """The share of a phrase in the keys of C_t."""
        keys: Tensor = self.attention_told(phrases)
        return keys

    def content(self, memory: EpanMemory) -> tuple[Tensor, ...]:
        """[V; E]."""
        return (memory.views,)

    def share_energies(self, memory: EpanMemory, keys: Tensor, clips: Tensor) -> SharedEnergies:
        """Those of C_t."""
        return SharedEnergies(memory.keys, keys, self.attention.vector, clips)

    def attend(
        self,
        memory: EpanMemory,
        views: Tensor | SharedRows,
        others: tuple[Tensor, ...],  # noqa: ARG002 - there are none
        clips: Tensor,
        hidden: Tensor,
        so_far: WordsSoFar,
        carried: Tensor | None,
    ) -> tuple[Sequence[Tensor], Tensor | None]:
        """Z_t, the shares of [V; E] and of T_t; T_t itself is never built."""
        query = self.attention.query(hidden)
        if so_far.energies is None:
            energies = attention_energies(
                memory.keys, so_far.weights, so_far.keys, query, self.attention.vector, gathered(views, clips)
            )
        else:
            energies = so_far.energies(so_far.weights, query)
        attention = attention_weights(energies, memory.mask[clips])[:, None]
        of_phrases = per_row(attention @ so_far.weights, so_far.phrases)
        return (per_row(attention, views)[:, 0], of_phrases[:, 0]), carried


class Epan(AlignedSystem):
    """The whole system."""

    Config: ClassVar[type[SystemConfig]] = EpanConfig
    config: EpanConfig

    def __init__(self, config: EpanConfig, lexicon_mask: Tensor) -> None:
        super().__init__(config, lexicon_mask, EpanEncoder(config, lexicon_mask), self._decoder(config))
        if config.as_published:
            drop_as_released(self)
            start_as_released(self)

    @staticmethod
    def _decoder(config: Any) -> AlignedDecoder[Any]:
        return EpanDecoder(config)

    def terms(self, output: AlignedOutput, targets: Targets) -> dict[str, tuple[float, Tensor]]:
        """Words, contrastive attention, emotion."""
        if output.perceived is None:
            raise ValueError("the encoder perceived no emotion")
        loss = emotion_labels(output.perceived, targets)
        return super().terms(output, targets) | {"classification": (self.config.loss.classification, loss)}

    def word_tables(self) -> dict[str, Tensor]:
        """The vocabulary's, and separate ones of the emotion words and, where they are not among these, categories."""
        vectors: EmotionWords | TiedEmotionWords = self.encoder.vectors
        categories = {"categories": vectors.categories} if isinstance(vectors, EmotionWords) else {}
        return super().word_tables() | categories | {"words": vectors.words}

    def fit_lexicon(self, lexicon: Lexicon) -> None:
        """See ``CaptionModel``: which emotion word names a category."""
        vectors: EmotionWords | TiedEmotionWords = self.encoder.vectors
        if isinstance(vectors, TiedEmotionWords):
            vectors.name(lexicon.named_by())


def emotion_labels(perceived: Perceived, targets: Targets) -> Tensor:
    """Negative log-likelihood of a caption's categories and of its emotion words, each the mean over labels.

    At most three of each kind count for a caption.
    """
    total = targets.tokens.new_zeros((), dtype=torch.float32)
    for logits, labels in ((perceived.categories, targets.categories), (perceived.words, targets.words)):
        kept = labels & (labels.long().cumsum(dim=1) <= LABELS)
        likelihoods = precise(logits).log_softmax(dim=-1)[targets.clip_index]
        total = total - torch.where(kept, likelihoods, 0.0).sum() / kept.sum().clamp(min=1)
    return total
