"""The paper's system: sections 1.1 to 1.5 in the order the data flows; each section is a module of ``network/``.

Everything before the decoder runs once per distinct clip; captions name their clip by its number in the batch.

Notation: B distinct clips, R captions, T steps, V vocabulary, N_c categories, N_w emotion words, d model width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.audio_visual import AudioVisualFusion
from evcap_cli.network.batch import ClipBatch, Encoded
from evcap_cli.network.collate import stream_statistics
from evcap_cli.network.config import FusionConfig, SystemConfig
from evcap_cli.network.decoder import Decoder
from evcap_cli.network.decoder_state import DecoderMemory, DecoderState
from evcap_cli.network.emotion import EmotionCues, Perceived, interpolation, reported_categories
from evcap_cli.network.fine_grained import FineGrainedFusion, FusedVisual, PlainVisual
from evcap_cli.network.layers import masked_mean
from evcap_cli.network.losses import Auxiliary, FusionOutput, Losses, PartMeans, Targets, losses
from evcap_cli.network.visual_encoder import Rows, StreamEncoder, StreamProjection, Streams
from evcap_cli.systems.contract import CaptionModel, PreparedClips

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind


class Fusion(CaptionModel):
    """The paper's system.

    Args:
        config: every number of it.
        lexicon_mask: (N_c, N_w) bool, True where a word belongs to a category (the first one that lists it).

    Raises:
        ValueError: a module is on without one that it needs.
    """

    Config: ClassVar[type[SystemConfig]] = FusionConfig
    PARTS: ClassVar[Mapping[str, Sequence[str]]] = {
        "encoder": ("streams", "fusion", "audio_visual"),
        "emotion": ("emotion",),
        "decoder": ("decoder",),
        "words": ("decoder.embedding", "decoder.output"),
    }
    config: FusionConfig

    def __init__(self, config: FusionConfig, lexicon_mask: Tensor) -> None:
        super().__init__(config, lexicon_mask)
        if config.decoder_audio and not config.audio_visual:
            raise ValueError("decoder_audio needs module A (audio_visual): without it the audio stream is not used")
        if config.decoder_objects and not config.fine_grained:
            raise ValueError("decoder_objects needs module B (fine_grained): without it objects are not used")
        self.streams = StreamEncoder(config)
        self.fusion = FineGrainedFusion(config) if config.fine_grained else PlainVisual(config)
        self.audio_visual = AudioVisualFusion(config) if config.audio_visual else None
        self.emotion = EmotionCues(config, lexicon_mask)
        self.decoder = Decoder(config)

    def forward(
        self, batch: ClipBatch, tokens: Tensor, clip_index: Tensor, lengths: Sequence[int] | None = None
    ) -> FusionOutput:
        """See ``CaptionModel``; nothing is computed for padding."""
        encoded, auxiliary = self.encode_with_aux(batch)
        scores = self.decoder.teacher_forced(self.decoder.prepare(encoded), tokens, clip_index, lengths)
        return FusionOutput(scores.logits, scores.lengths, auxiliary)

    def losses(self, output: FusionOutput, targets: Targets) -> Losses:
        """Section 1.6."""
        return losses(output, targets, self.config.loss)

    def prepare(self, batch: ClipBatch) -> PreparedClips:
        """Sections 1.1 to 1.4, and the emotion reported for each clip."""
        encoded = self.encode(batch)
        return PreparedClips(self.decoder.prepare(encoded), encoded.categories)

    def start(self, memory: DecoderMemory) -> DecoderState:
        """See ``CaptionModel``."""
        return self.decoder.start(memory)

    def step(self, memory: DecoderMemory, state: DecoderState, tokens: Tensor) -> tuple[Tensor, DecoderState]:
        """See ``CaptionModel``."""
        return self.decoder.step(memory, state, tokens)

    def encode(self, batch: ClipBatch) -> Encoded:
        """Sections 1.1 to 1.4, without what only the losses need."""
        return self._encode(batch)[0]

    def encode_with_aux(self, batch: ClipBatch) -> tuple[Encoded, Auxiliary]:
        """Sections 1.1 to 1.4 with the auxiliary heads."""
        encoded, streams, fused, branches = self._encode(batch)
        parts = None
        if fused.parts is not None and streams.objects is not None:
            branches = {**self.emotion.perceive_parts(fused.parts, streams.mask, streams.objects.present), **branches}
            parts = PartMeans(
                appearance_motion=masked_mean(fused.parts[0], streams.mask),
                appearance=masked_mean(streams.appearance, streams.mask),
                appearance_object=masked_mean(fused.parts[1], streams.mask),
                motion_object=masked_mean(fused.parts[2], streams.mask),
                objects=masked_mean(streams.objects.values, streams.objects.mask),
                has_objects=streams.objects.present,
            )
        return encoded, Auxiliary(branches, parts)

    def _encode(self, batch: ClipBatch) -> tuple[Encoded, Streams, FusedVisual, dict[str, Perceived]]:
        streams: Streams = self.streams(batch)
        fused: FusedVisual = self.fusion(streams)
        visual, audio, clock = fused.visual, None, None
        if self.audio_visual is not None and streams.audio is not None and batch.audio_times is not None:
            visual, sound = self.audio_visual(visual, streams.mask, streams.audio)
            audio = replace(streams.audio, values=sound)
            clock = interpolation(batch.moment_times, batch.audio_times, audio.mask)
        everywhere = torch.ones_like(streams.mask[:, 0])
        emotion, branches = self.emotion(Rows(visual, streams.mask, everywhere), audio, clock)
        padding = ~streams.mask.unsqueeze(-1)
        encoded = Encoded(
            visual=visual.masked_fill(padding, 0.0),
            emotion=emotion.masked_fill(padding, 0.0),
            mask=streams.mask,
            categories=reported_categories(branches),
        )
        if self.config.decoder_audio and audio is not None and clock is not None:
            encoded.audio = (clock.to(audio.values.dtype) @ audio.values).masked_fill(padding, 0.0)
        if fused.bound is not None and streams.objects is not None:
            encoded.objects, encoded.object_mask = fused.bound, streams.objects.mask
        return encoded, streams, fused, branches

    @torch.no_grad()
    def fit_normalisation(self, clips: Iterable[ClipFeatures]) -> None:
        """Take the statistics by which streams are standardised from training clips (*Decision*).

        Args:
            clips: read once, in order; the same clips in the same order give the same buffers.
        """
        if not self.config.normalise_streams:
            return
        for kind, (mean, deviation) in stream_statistics(clips, self.config.streams).items():
            projection = self._projection(kind)
            projection.mean.copy_(mean)
            projection.scale.copy_(1 / deviation)

    def _projection(self, kind: Kind) -> StreamProjection:
        stream = {
            "appearance": self.streams.appearance,
            "motion": self.streams.motion,
            "object": self.streams.objects,
            "audio": self.streams.audio,
        }[kind]
        if stream is None:
            raise ValueError(f"the model reads no stream of kind {kind}")
        return stream.projection

    def word_tables(self) -> dict[str, Tensor]:
        """The decoder's words (V, d_w), D_c (N_c, d_w) and D_w (N_w, d_w)."""
        vectors = self.emotion.vectors
        return {"vocabulary": self.decoder.embedding.weight, "categories": vectors.categories, "words": vectors.words}
