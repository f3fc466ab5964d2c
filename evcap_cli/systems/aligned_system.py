"""What EPAN, CANet and DCGN share around encoder and decoder: the contract, the words' loss, contrastive attention.

Notation: B distinct clips, R captions, T steps, V vocabulary, N_c categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.losses import Targets, emotional_cross_entropy
from evcap_cli.systems.aligned_decoder import AlignedDecoder
from evcap_cli.systems.aligned_tensors import AlignedOutput, AlignedState, EncodedClips
from evcap_cli.systems.contract import CaptionModel, PreparedClips, WeightedTerms
from evcap_cli.systems.contrast import contrastive_attention
from evcap_cli.systems.moments import standardise_moments


class AlignedSystem(CaptionModel):
    """An encoder with a ``visual`` stream, and an ``AlignedDecoder``.

    Args:
        config: with ``loss.emotion_word_weight`` and ``loss.contrast``.
        lexicon_mask: as in ``CaptionModel``.
        encoder: a ``ClipBatch`` to ``EncodedClips``.
        decoder: of the system.
    """

    PARTS: ClassVar[Mapping[str, Sequence[str]]] = {
        "encoder": ("encoder",),
        "emotion": ("encoder.vectors", "encoder.perception"),
        "decoder": ("decoder",),
        "words": ("decoder.embedding", "decoder.output"),
    }

    def __init__(self, config: Any, lexicon_mask: Tensor, encoder: nn.Module, decoder: AlignedDecoder[Any]) -> None:
        super().__init__(config, lexicon_mask)
        self.encoder: Any = encoder
        self.decoder = decoder

    def forward(
        self, batch: ClipBatch, tokens: Tensor, clip_index: Tensor, lengths: Sequence[int] | None = None
    ) -> AlignedOutput:
        """See ``CaptionModel``."""
        encoded: EncodedClips = self.encoder(batch)
        output = self.decoder.teacher_forced(self.decoder.prepare(encoded), tokens, clip_index, lengths)
        output.perceived = encoded.perceived
        return output

    def losses(self, output: AlignedOutput, targets: Targets) -> WeightedTerms:
        """The weighted sum of ``terms``."""
        return WeightedTerms.sum(**self.terms(output, targets))

    def terms(self, output: AlignedOutput, targets: Targets) -> dict[str, tuple[float, Tensor]]:
        """Words and contrastive attention, each with its weight; a system may add to them."""
        loss = self.config.loss
        by_weight = getattr(self.config, "as_published", False)
        words = emotional_cross_entropy(output, targets, loss.emotion_word_weight, by_weight=by_weight)
        contrast = contrastive_attention(output, self.decoder.alignment, targets)
        return {"cross_entropy": (1.0, words), "contrast": (loss.contrast, contrast)}

    def prepare(self, batch: ClipBatch) -> PreparedClips:
        """See ``CaptionModel``."""
        encoded: EncodedClips = self.encoder(batch)
        perceived = encoded.perceived
        categories = None if perceived is None else perceived.categories.float().softmax(dim=-1)
        return PreparedClips(self.decoder.prepare(encoded), categories)

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
