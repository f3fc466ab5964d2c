"""What EPAN, CANet and DCGN share around encoder and decoder: the contract, the words' loss, contrastive attention.

Notation: B distinct clips, R captions, T steps, V vocabulary, N_c categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.losses import Targets, emotional_cross_entropy
from evcap_cli.systems.aligned import AlignedDecoder
from evcap_cli.systems.contract import CaptionModel, Prepared, WeightedTerms
from evcap_cli.systems.contrast import contrastive_attention
from evcap_cli.systems.moments import standardise_moments
from evcap_cli.systems.narration import AlignedMemory, AlignedState, Narrated, SeenClips


@dataclass
class AlignedOutput:
    """Whole captions, teacher-forced, and what the losses look at.

    Args:
        narrated: scores and alignment.
        memory: the decoder's. seen: the encoder's.
        tokens: what each step was fed, (R, T).
    """

    narrated: Narrated
    memory: AlignedMemory
    seen: SeenClips
    tokens: Tensor

    @property
    def logits(self) -> Tensor:
        """(R, T, V), or (K, V) where lengths were given."""
        return self.narrated.logits


class AlignedSystem(CaptionModel):
    """An encoder with a ``visual`` stream, and an ``AlignedDecoder``.

    Args:
        config: with ``loss.emotion_word_weight`` and ``loss.contrast``.
        lexicon_mask: as in ``CaptionModel``.
        encoder: a ``ClipBatch`` to ``SeenClips``.
        decoder: of the system.
    """

    takes_lengths: ClassVar[bool] = True

    def __init__(self, config: Any, lexicon_mask: Tensor, encoder: nn.Module, decoder: AlignedDecoder[Any]) -> None:
        super().__init__(config, lexicon_mask)
        self.encoder: Any = encoder
        self.decoder = decoder

    def forward(
        self, batch: ClipBatch, tokens: Tensor, clip_index: Tensor, lengths: Sequence[int] | None = None
    ) -> AlignedOutput:
        """See ``CaptionModel``; lengths as in ``AlignedDecoder.teacher_forced``."""
        seen: SeenClips = self.encoder(batch)
        memory = self.decoder.prepare(seen)
        return AlignedOutput(self.decoder.teacher_forced(memory, tokens, clip_index, lengths), memory, seen, tokens)

    def losses(self, output: AlignedOutput, targets: Targets) -> WeightedTerms:
        """The weighted sum of ``terms``."""
        return WeightedTerms.sum(**self.terms(output, targets))

    def terms(self, output: AlignedOutput, targets: Targets) -> dict[str, tuple[float, Tensor]]:
        """Words and contrastive attention, each with its weight; a system may add to them."""
        loss, memory = self.config.loss, output.memory
        words = emotional_cross_entropy(output.logits, targets.tokens, targets.emotion_tokens, loss.emotion_word_weight)
        contrast = contrastive_attention(
            output.narrated, self.decoder.alignment, memory.alignment_keys, memory.mask, output.tokens, targets
        )
        return {"cross_entropy": (1.0, words), "contrast": (loss.contrast, contrast)}

    def prepare(self, batch: ClipBatch) -> Prepared:
        """See ``CaptionModel``."""
        seen: SeenClips = self.encoder(batch)
        felt = None if seen.perceived is None else seen.perceived.categories.float().softmax(dim=-1)
        return Prepared(self.decoder.prepare(seen), felt)

    def start(self, memory: Any) -> AlignedState:
        """See ``CaptionModel``."""
        return self.decoder.start(memory)

    def step(self, memory: Any, state: AlignedState, tokens: Tensor) -> tuple[Tensor, AlignedState]:
        """See ``CaptionModel``."""
        return self.decoder.step(memory, state, tokens)

    def fit_normalisation(self, clips: Iterable[ClipFeatures]) -> None:
        """See ``CaptionModel``."""
        standardise_moments(self.encoder.visual.projection, clips, self.config.streams)

    def word_tables(self) -> dict[str, Tensor]:
        """The vocabulary's."""
        return {"vocabulary": self.decoder.embedding.weight}
