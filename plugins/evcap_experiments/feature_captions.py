"""Captions of clips by a checkpoint from their features, with and without their sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evcap_cli.checkpoints.checkpoint import Checkpoint
    from evcap_cli.features.streams import ClipFeatures


def caption_features(checkpoint: Checkpoint, clips: Mapping[str, ClipFeatures]) -> dict[str, str]:
    """A caption of each clip, by id, with the checkpoint's own search."""
    from evcap_cli.training.evaluation import caption_clips
    from evcap_cli.training.training_tables import FeatureTable

    if not clips:
        return {}
    table = FeatureTable.build(clips.items(), len(clips), checkpoint.model.config)
    vocabulary, lexicon, beam = checkpoint.vocabulary, checkpoint.lexicon, checkpoint.beam
    return caption_clips(checkpoint.model, table, range(len(table)), vocabulary, lexicon, beam)


def drop_audio(features: ClipFeatures) -> ClipFeatures:
    """The same clip as if it had no sound track."""
    from evcap_cli.features.streams import StreamFeatures

    audio = features.streams.get("audio")
    if audio is None:
        return features
    silence = StreamFeatures(audio.values[:0], audio.times[:0])
    return replace(features, streams={**features.streams, "audio": silence})
