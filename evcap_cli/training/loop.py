"""The inside of an epoch: batches to gradients to steps, then ``validation.py``.

Everything random in it derives from (seed, epoch). ``trainer.py`` joins the epochs. With several devices each takes its
share of the videos of every batch.

Notation: R captions, B distinct clips, T steps of a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from evcap_cli import console
from evcap_cli.data.caption_batches import CaptionBatch, caption_batches
from evcap_cli.errors import TrainingError
from evcap_cli.freed_memory import give_back_memory
from evcap_cli.network.losses import Targets
from evcap_cli.training.part_times import PartTimes
from evcap_cli.training.run_preparation import PreparedRun, seed_torch
from evcap_cli.training.validation import OracleSplit, Validation

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from evcap_cli.network.batch import ClipBatch
    from evcap_cli.search.beam_search import BeamConfig
    from evcap_cli.systems.contract import CaptionModel, LossTerms
    from evcap_cli.training.recipe import TrainConfig

NAMED_VIDEOS: Final = 8
"""Videos an error names."""
DEVICE_TABLE_BYTES: Final = 8 << 30
"""Feature tables up to this size live on the accelerator: gathering a batch there costs nothing."""


class Loop:
    """The inside of an epoch.

    Args:
        prepared: tables and split.
        accelerator: accelerate's ``Accelerator``.
        model: on the device already. optimiser: of its parameters.
        beam: of the search, for validation.
        run: named in errors.
        test: scored after each epoch as well; None: it is not used.
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
        self.train = self.prepared.train.to(device)
        self.validation = Validation(prepared, accelerator, model, self.features, beam, run, test)
        self.times = PartTimes()

    def epoch(self, number: int) -> dict[str, Any]:
        """Train epoch ``number`` (from 0) and validate; its entry for the log."""
        config, started = self.config, time.monotonic()
        self.times.clear()
        seed_torch(config.seed, number, self.accelerator.process_index)
        with self.times.measure("data"):
            batches = caption_batches(
                self.prepared.train.clip,
                batch_size=config.batch_size,
                per_clip=config.captions_per_clip,
                seed=config.seed,
                epoch=number,
            )
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
            "loading_share": round(self.times.seconds["data"] / trained, 4),
        }
        return self.finished(entry, number, started)

    def finished(self, entry: dict[str, Any], number: int, started: float) -> dict[str, Any]:
        """``entry`` of the trained epoch ``number`` with its validation and wall times."""
        with self.times.measure("validation"):
            entry |= self.validation.entry(number)
        entry["part_seconds"] = self.times.entry()
        entry["seconds"] = round(time.monotonic() - started, 2)
        return entry

    def restart(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from ``weights`` with a fresh optimiser."""
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
        with self.times.measure("forward"):  # an accelerator is waited for here
            value = float(total.detach())
        if not math.isfinite(value):
            raise self._not_a_number("loss", clips, epoch, step)
        with self.times.measure("backward"):
            self.accelerator.backward(total * share)
            norm = float(self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.clip_norm))
        if not math.isfinite(norm) and self.accelerator.scaler is None:  # a scaler skips such a step by itself
            raise self._not_a_number("gradient", clips, epoch, step)
        with self.times.measure("optimiser"):
            self.optimiser.step()
        return norm

    def _loss(self, model: Any, batch: CaptionBatch) -> LossTerms:
        with self.times.measure("data"):
            features, inputs, targets = self.load(batch)
        with self.times.measure("forward"):
            return self.model.losses(model(features, inputs, targets.clip_index, self.train.steps(batch)), targets)

    def load(self, batch: CaptionBatch) -> tuple[ClipBatch, Tensor, Targets]:
        """Rows of a batch's clips, the inputs of the decoder, and the targets, on the device."""
        return self.features.clip_batch(batch.clips, self.accelerator.device), *self.train.select(batch)

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


def learning_rate(config: TrainConfig, epoch: int, step: int, steps: int) -> float:
    """The rate of one step: linear warm-up, then constant, or along half a cosine to a hundredth."""
    done = epoch + step / steps
    if done < config.warmup_epochs:
        return config.learning_rate * (done + 1 / steps) / config.warmup_epochs
    if config.schedule == "constant":
        return config.learning_rate
    share = (done - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(share, 1.0))) / 2)
