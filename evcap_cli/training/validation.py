"""Validation after an epoch: scores and loss on the validation videos, and the scores of an oracle's test split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import torch

from evcap_cli.data.caption_batches import CaptionBatch
from evcap_cli.errors import TrainingError
from evcap_cli.network.losses import emotional_cross_entropy
from evcap_cli.training.evaluation import evaluate
from evcap_cli.training.shown_clips import confusion

if TYPE_CHECKING:
    from evcap_cli.search.beam_search import BeamConfig
    from evcap_cli.systems.contract import CaptionModel
    from evcap_cli.training.run_preparation import PreparedRun
    from evcap_cli.training.training_tables import FeatureTable

SAMPLES: Final = 3
"""Captions of validation videos in the log of each epoch."""


@dataclass(frozen=True)
class OracleSplit:
    """The test split, for ``--select oracle`` only: no other run reads it while it trains.

    Args:
        features: of its videos. references: video -> raw captions.
    """

    features: FeatureTable
    references: Mapping[str, Sequence[str]]


class Validation:
    """Validation of a run.

    Args:
        prepared: tables and split.
        accelerator: accelerate's ``Accelerator``.
        model: on the device already.
        features: of ``prepared``, where they shall be read.
        beam: of the search.
        run: named in errors.
        test: scored as well; None: it is not used.

    Attributes:
        texts: video -> caption of the last validation, on the main process.
    """

    def __init__(
        self,
        prepared: PreparedRun,
        accelerator: Any,
        model: CaptionModel,
        features: FeatureTable,
        beam: BeamConfig,
        run: Path,
        test: OracleSplit | None,
    ) -> None:
        self.prepared, self.accelerator, self.model, self.features = prepared, accelerator, model, features
        self.captions = prepared.validation.to(accelerator.device)
        self.beam, self.run, self.test = beam, run, test
        self.texts: dict[str, str] = {}

    def entry(self, epoch: int) -> dict[str, Any]:
        """For the log of ``epoch`` (from 0), the same on all processes; empty where there is nothing to score.

        Raises:
            TrainingError: the loss is not a number.
        """
        if not self.prepared.validation_clips and self.test is None:
            return {}
        found: list[Any] = [None]
        if self.accelerator.is_main_process:
            found[0] = self._validation_entry(epoch) | self._test_entry()
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(found)
        return cast("dict[str, Any]", found[0])

    def _validation_entry(self, epoch: int) -> dict[str, Any]:
        prepared = self.prepared
        if not prepared.validation_clips:
            return {}
        captions, values = self._evaluate(self.features, prepared.validation_clips, prepared.validation_captions)
        values["cross_entropy"] = round(self.cross_entropy(), 6)
        if not math.isfinite(values["cross_entropy"]):
            raise TrainingError(
                f"the loss on the held-out videos is not a number after epoch {epoch + 1}",
                path=self.run,
                hint="try a smaller --lr",
            )
        self.texts = captions
        return {
            "validation": values,
            "samples": dict(list(captions.items())[:SAMPLES]),
            "confusion": confusion(captions, prepared.validation_captions, prepared.lexicon),
        }

    def _test_entry(self) -> dict[str, Any]:
        """Scores of the test split, METEOR too: published code chooses the best epoch of each metric."""
        if self.test is None:
            return {}
        table = self.test.features
        return {"test": self._evaluate(table, range(len(table)), self.test.references, meteor=True)[1]}

    def _evaluate(
        self,
        table: FeatureTable,
        clips: Sequence[int],
        references: Mapping[str, Sequence[str]],
        *,
        meteor: bool = False,
    ) -> tuple[dict[str, str], dict[str, float]]:
        """Captions by video, and their scores to 4 decimals."""
        vocabulary, lexicon = self.prepared.vocabulary, self.prepared.lexicon
        captions, scores = evaluate(self.model, table, clips, references, vocabulary, lexicon, self.beam, meteor=meteor)
        return captions, {name: round(value, 4) for name, value in scores.metrics.items() if value is not None}

    def cross_entropy(self) -> float:
        """Mean over the validation captions, without dropout; emotion words weigh as in training."""
        config = self.prepared.config
        weight = float(getattr(getattr(config, "loss", None), "emotion_word_weight", 0.0))
        by_weight = bool(getattr(config, "as_published", False))
        clip_of, size = self.prepared.validation.clip, self.prepared.recipe.train.batch_size
        order = np.argsort(clip_of, kind="stable")
        total = 0.0
        with torch.inference_mode():
            for start in range(0, len(order), size):
                captions = order[start : start + size]
                clips, index = np.unique(clip_of[captions], return_inverse=True)
                batch = CaptionBatch(captions, clips, index.astype(np.int64))
                inputs, targets = self.captions.select(batch)
                features = self.features.clip_batch(clips, self.accelerator.device)
                scores = self.model(features, inputs, targets.clip_index, self.captions.steps(batch))
                total += float(emotional_cross_entropy(scores, targets, weight, by_weight=by_weight)) * len(captions)
        return total / len(order)
