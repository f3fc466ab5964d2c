"""Captions of clips in a feature table and their scores: to choose an epoch, and for the test at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import torch

from evcap_cli.scoring.score_texts import Scores, score_texts
from evcap_cli.search.beam_search import BeamConfig
from evcap_cli.search.reranking import best_captions

if TYPE_CHECKING:
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.data.vocabulary import Vocabulary
    from evcap_cli.systems.contract import CaptionModel
    from evcap_cli.training.training_tables import FeatureTable

CLIPS_A_BATCH: Final = 64


def caption_clips(
    model: CaptionModel,
    table: FeatureTable,
    numbers: Sequence[int],
    vocabulary: Vocabulary,
    lexicon: Lexicon,
    beam: BeamConfig,
) -> dict[str, str]:
    """Video -> caption for the clips numbered ``numbers``; leaves the model in evaluation mode."""
    model.eval()
    place = next(model.parameters()).device
    captions: dict[str, str] = {}
    with torch.inference_mode():
        for start in range(0, len(numbers), CLIPS_A_BATCH):
            chunk = list(numbers[start : start + CLIPS_A_BATCH])
            prepared = model.prepare(table.clip_batch(chunk, place))
            found = best_captions(model, prepared, beam, vocabulary, lexicon)
            for number, hypotheses in zip(chunk, found, strict=True):
                captions[table.videos[number]] = " ".join(vocabulary.decode(hypotheses[0].tokens))
    return captions


def evaluate(
    model: CaptionModel,
    table: FeatureTable,
    numbers: Sequence[int],
    references: Mapping[str, Sequence[str]],
    vocabulary: Vocabulary,
    lexicon: Lexicon,
    beam: BeamConfig,
    *,
    meteor: bool = False,
    bootstrap: int = 0,
) -> tuple[dict[str, str], Scores]:
    """Caption clips and score them. METEOR is left out unless requested: CFS does not need it, and it starts Java."""
    captions = caption_clips(model, table, numbers, vocabulary, lexicon, beam)
    return captions, score_texts(captions, references, lexicon, meteor=meteor, bootstrap=bootstrap)
