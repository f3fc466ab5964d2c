"""The whole captioner: sections 1.1 to 1.5 in the order the data flows. Losses, search and files are elsewhere.

Everything before the decoder runs once per distinct clip; captions name their clip by its number in the batch.

Notation: B distinct clips, R captions, T steps, V vocabulary, N_c categories, N_w emotion words, d model width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.audio_visual import AudioVisualFusion
from evcap_cli.network.batch import ClipBatch, Encoded
from evcap_cli.network.collate import stream_statistics
from evcap_cli.network.config import CaptionerConfig
from evcap_cli.network.decoder import Decoder
from evcap_cli.network.emotion import EmotionCues, Perceived, interpolation, reported_categories
from evcap_cli.network.fine_grained import FineGrainedFusion, FusedVisual, PlainVisual
from evcap_cli.network.layers import masked_mean
from evcap_cli.network.losses import Auxiliary, PartMeans
from evcap_cli.network.visual_encoder import Rows, StreamEncoder, StreamProjection, Streams
from evcap_cli.network.word_tables import fill_tables

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind


@dataclass
class CaptionerOutput:
    """What a training step needs.

    Args:
        logits: next-word scores, (R, T, V); (K, V) of the K steps that count, where the lengths were given.
        encoded: the clips as the decoder saw them.
        auxiliary: what the losses compare.
    """

    logits: Tensor
    encoded: Encoded
    auxiliary: Auxiliary | None


class Captioner(nn.Module):
    """The paper's system.

    Args:
        config: every number of it.
        lexicon_mask: (N_c, N_w) bool, True where a word belongs to a category (the first one that lists it).
    """

    def __init__(self, config: CaptionerConfig, lexicon_mask: Tensor) -> None:
        nn.Module.__init__(self)  # not super(): ``systems/fusion.py`` puts the contract of systems between the two
        if config.decoder_audio and not config.audio_visual:
            raise ValueError("decoder_audio needs module A (audio_visual): without it the audio stream is not used")
        if config.decoder_objects and not config.fine_grained:
            raise ValueError("decoder_objects needs module B (fine_grained): without it objects are not used")
        self.config = config
        self.streams = StreamEncoder(config)
        self.fusion = FineGrainedFusion(config) if config.fine_grained else PlainVisual(config)
        self.audio_visual = AudioVisualFusion(config) if config.audio_visual else None
        self.emotion = EmotionCues(config, lexicon_mask)
        self.decoder = Decoder(config)

    def forward(
        self, batch: ClipBatch, tokens: Tensor, clip_index: Tensor, lengths: Sequence[int] | None = None
    ) -> CaptionerOutput:
        """Teacher-forced next-word scores of R captions of B distinct clips.

        Args:
            batch: the clips.
            tokens: what each step is fed, (R, T), the start mark first.
            clip_index: the clip of each caption, (R,).
            lengths: as ``Decoder.teacher_forced`` takes them.
        """
        encoded, auxiliary = self.encode_with_aux(batch)
        memory = self.decoder.prepare(encoded)
        return CaptionerOutput(self.decoder.teacher_forced(memory, tokens, clip_index, lengths), encoded, auxiliary)

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

    def load_word_vectors(
        self, vocabulary: Tensor | None = None, categories: Tensor | None = None, words: Tensor | None = None
    ) -> None:
        """Start the word tables from given vectors, such as GloVe's. A row of NaN keeps its random start.

        Raises:
            ValueError: for a table of another shape.
        """
        fill_tables(self.word_tables(), {"vocabulary": vocabulary, "categories": categories, "words": words})
