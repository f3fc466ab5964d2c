"""The inside of an epoch: batches to gradients to steps, then validation on the held-out videos.

Everything random in it derives from (seed, epoch). ``trainer.py`` joins the epochs. With several
devices each takes its share of the videos of every batch.

Notation: R captions, B distinct clips, T steps of a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import torch

from evcap_cli import console
from evcap_cli.data.caption_batches import CaptionBatch, caption_batches
from evcap_cli.errors import TrainingError
from evcap_cli.network.losses import Targets, emotional_cross_entropy
from evcap_cli.training.acceleration import give_back_memory
from evcap_cli.training.evaluation import evaluate
from evcap_cli.training.run_preparation import PreparedRun, seed_torch

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from evcap_cli.network.batch import ClipBatch
    from evcap_cli.search.beam_search import BeamConfig
    from evcap_cli.systems.contract import CaptionModel, LossTerms
    from evcap_cli.training.recipe import TrainConfig
    from evcap_cli.training.training_tables import FeatureTable

SAMPLES: Final = 3
"""Held-out captions shown in the log of each epoch."""
NAMED_VIDEOS: Final = 8
"""Videos an error names."""
DEVICE_TABLE_BYTES: Final = 8 << 30
"""Feature tables up to this size live on the accelerator: gathering a batch there costs nothing."""


@dataclass(frozen=True)
class OracleSplit:
    """The test split, for ``--select oracle`` only: no other run holds it while it trains.

    Args:
        features: of its videos. references: video -> raw captions.
    """

    features: FeatureTable
    references: Mapping[str, Sequence[str]]


class Loop:
    """The inside of an epoch.

    Args:
        prepared: tables and split.
        accelerator: accelerate's ``Accelerator``.
        model: on the device already. optimiser: of its parameters.
        beam: how held-out videos are captioned.
        run: named in errors.
        test: scored after each epoch as well; None: it is left alone.
    """

    def __init__(
        self,
        prepared: PreparedRun,
        accelerator: Any,
        model: CaptionModel,
        optimiser: torch.optim.Optimizer,
        beam: BeamConfig,
        run: Path,
        test: OracleSplit | None = None,
    ) -> None:
        self.prepared, self.config, self.beam, self.run = prepared, prepared.recipe.train, beam, run
        self.accelerator, self.model = accelerator, model
        device = self.accelerator.device
        self.wrapped, self.optimiser = self.accelerator.prepare(model, optimiser)
        small = self.prepared.features.nbytes <= DEVICE_TABLE_BYTES
        self.features = self.prepared.features.to(device) if small else self.prepared.features
        self.train, self.held = self.prepared.train.to(device), self.prepared.validation.to(device)
        self.test = test
        self.loading_seconds = 0.0

    def epoch(self, number: int) -> dict[str, Any]:
        """Train epoch ``number`` (from 0) and validate; its entry for the log."""
        config, started = self.config, time.monotonic()
        self.loading_seconds = 0.0
        seed_torch(config.seed, number, self.accelerator.process_index)
        batches = caption_batches(
            self.prepared.train.clip,
            batch_size=config.batch_size,
            per_clip=config.captions_per_clip,
            seed=config.seed,
            epoch=number,
        )
        self.loading_seconds = time.monotonic() - started
        self.wrapped.train()
        sums: dict[str, float] = {}
        norm = rate = 0.0
        with console.progress(len(batches), f"epoch {number + 1}/{config.epochs}", "step") as bar:
            for step, batch in enumerate(batches):
                rate = learning_rate(config, number, step, len(batches))
                values, norm = self._step(batch, rate, number, step)
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value
                bar.advance(note=f"loss {values['total']:.3f}")
        trained = time.monotonic() - started
        self.optimiser.zero_grad(set_to_none=True)
        give_back_memory()  # before validation, and copies of all weights for the state, add to it
        entry: dict[str, Any] = {
            "epoch": number + 1,
            "select": config.select,
            "loss": {name: round(value / len(batches), 6) for name, value in sums.items()},
            "learning_rate": rate,
            "gradient_norm": round(norm, 6),
            "captions_per_second": round(len(self.train) / trained, 1),
            "loading_share": round(self.loading_seconds / trained, 4),
        }
        return self.finished(entry, number, started)

    def finished(self, entry: dict[str, Any], number: int, started: float) -> dict[str, Any]:
        """``entry`` of the trained epoch ``number`` with its validation, and the seconds since ``started``."""
        if self.prepared.validation_clips or self.test is not None:
            entry |= self._validate(number)
        entry["seconds"] = round(time.monotonic() - started, 2)
        return entry

    def restart(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from ``weights`` with an optimiser that has seen nothing."""
        self.model.load_state_dict(weights)
        self.optimiser.state.clear()

    def _step(self, batch: CaptionBatch, rate: float, epoch: int, step: int) -> tuple[dict[str, float], float]:
        """One optimiser step; the values of the losses and the norm of the gradient."""
        mine, share = self._share(batch)
        if mine is None:
            return {"total": 0.0}, 0.0
        self.optimiser.zero_grad(set_to_none=True)  # before the forward pass, which then has their memory too
        loss = self._loss(self.wrapped, mine)
        norm = self.descend(loss.total, share, rate, batch.clips, epoch, step)
        return loss.values(), norm

    def descend(
        self, total: Tensor, share: float, rate: float, clips: npt.NDArray[np.int64], epoch: int, step: int
    ) -> float:
        """Change the weights along the gradient of ``total``.

        Args:
            total: the loss of this process's share of ``clips``.
            share: its weight among the processes.
            rate: of this step.
            clips: of the step; they are named in errors, as are the next two.
            epoch: from 0.
            step: from 0.

        Returns:
            The norm of the gradient.

        Raises:
            TrainingError: the loss or its gradient is not a number.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if not math.isfinite(float(total.detach())):
            raise self._not_a_number("loss", clips, epoch, step)
        self.accelerator.backward(total * share)
        norm = float(self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.clip_norm))
        if not math.isfinite(norm) and self.accelerator.scaler is None:  # a scaler skips such a step by itself
            raise self._not_a_number("gradient", clips, epoch, step)
        self.optimiser.step()
        return norm

    def _loss(self, model: Any, batch: CaptionBatch) -> LossTerms:
        started = time.monotonic()
        features, fed, targets = self.load(batch)
        self.loading_seconds += time.monotonic() - started
        return self.model.losses(model(features, fed, targets.clip_index, self.train.steps(batch)), targets)

    def load(self, batch: CaptionBatch) -> tuple[ClipBatch, Tensor, Targets]:
        """Rows of a batch's clips, what the decoder is fed, and the targets, on the device."""
        fed, targets = self.train.select(batch)
        return self.clip_batch(batch.clips), fed, targets

    def clip_batch(self, clips: npt.NDArray[np.int64]) -> ClipBatch:
        """The clips of these numbers, on the device."""
        numbers = torch.from_numpy(clips).to(self.features.tensors.appearance.device)
        return self.features.select(numbers).to(self.accelerator.device, non_blocking=True)

    def _share(self, batch: CaptionBatch) -> tuple[CaptionBatch | None, float]:
        """The videos of a batch that this process takes, and its weight among the processes (gradients are averaged).

        None on every process when there are fewer videos than processes.
        """
        count, rank = self.accelerator.num_processes, self.accelerator.process_index
        if count == 1:
            return batch, 1.0
        if len(batch.clips) < count:
            return None, 0.0
        kept = batch.clip_index % count == rank
        mine = CaptionBatch(batch.captions[kept], batch.clips[rank::count], batch.clip_index[kept] // count)
        return mine, count * int(kept.sum()) / len(kept)

    def _not_a_number(self, what: str, clips: npt.NDArray[np.int64], epoch: int, step: int) -> TrainingError:
        names = [self.prepared.features.videos[number] for number in clips[:NAMED_VIDEOS]]
        more = f" and {len(clips) - NAMED_VIDEOS} more" if len(clips) > NAMED_VIDEOS else ""
        return TrainingError(
            f"the {what} is not a number in epoch {epoch + 1}, step {step + 1} (videos {', '.join(names)}{more})",
            path=self.run,
            hint="try a smaller --lr, or leave those videos out",
        )

    def _validate(self, epoch: int) -> dict[str, Any]:
        """Scores and loss on held-out videos, and the test split's where it is looked at; known to all processes."""
        found: list[Any] = [None]
        if self.accelerator.is_main_process:
            found[0] = (self._held_entry(epoch) if self.prepared.validation_clips else {}) | self._test_entry()
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(found)
        return cast("dict[str, Any]", found[0])

    def _held_entry(self, epoch: int) -> dict[str, Any]:
        prepared = self.prepared
        captions, scores = evaluate(
            self.model,
            self.features,
            prepared.validation_clips,
            prepared.validation_captions,
            prepared.vocabulary,
            prepared.lexicon,
            self.beam,
        )
        values = _rounded(scores.metrics)
        values["cross_entropy"] = round(self._held_cross_entropy(), 6)
        if not math.isfinite(values["cross_entropy"]):
            raise TrainingError(
                f"the loss on the held-out videos is not a number after epoch {epoch + 1}",
                path=self.run,
                hint="try a smaller --lr",
            )
        return {"validation": values, "samples": dict(list(captions.items())[:SAMPLES])}

    def _test_entry(self) -> dict[str, Any]:
        """Scores of the test split, METEOR too: published code chooses the best epoch of each metric."""
        if self.test is None:
            return {}
        table, prepared = self.test.features, self.prepared
        _, scores = evaluate(
            self.model,
            table,
            range(len(table)),
            self.test.references,
            prepared.vocabulary,
            prepared.lexicon,
            self.beam,
            meteor=True,
        )
        return {"test": _rounded(scores.metrics)}

    def _held_cross_entropy(self) -> float:
        """Mean cross entropy of the held-out captions, without dropout; emotion words weigh as in training."""
        weight = float(getattr(getattr(self.prepared.config, "loss", None), "emotion_word_weight", 0.0))
        order = np.argsort(prepared_clips := self.prepared.validation.clip, kind="stable")
        total = 0.0
        with torch.inference_mode():
            for start in range(0, len(order), self.config.batch_size):
                captions = order[start : start + self.config.batch_size]
                clips, index = np.unique(prepared_clips[captions], return_inverse=True)
                batch = CaptionBatch(captions, clips, index.astype(np.int64))
                fed, targets = self.held.select(batch)
                chosen = torch.from_numpy(clips).to(self.features.tensors.appearance.device)
                features = self.features.select(chosen).to(self.accelerator.device)
                scores = self.model(features, fed, targets.clip_index, self.held.steps(batch))
                total += float(emotional_cross_entropy(scores, targets, weight)) * len(captions)
        return total / len(order)


def _rounded(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in metrics.items() if value is not None}


def learning_rate(config: TrainConfig, epoch: int, step: int, steps: int) -> float:
    """The rate of one step: linear warm-up, then constant, or along half a cosine to a hundredth."""
    done = epoch + step / steps
    if done < config.warmup_epochs:
        return config.learning_rate * (done + 1 / steps) / config.warmup_epochs
    if config.schedule == "constant":
        return config.learning_rate
    share = (done - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(share, 1.0))) / 2)
