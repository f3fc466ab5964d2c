"""The inside of an epoch of an adapter's training: steps of accumulated gradients, then validation.

A step's captions are divided into parts of clips that are alike; the loss is the mean over the tokens of all answers of
the step, whatever the parts. Several processes each take their share of a step and add their gradients, which are
small, at its end: nothing else has to be wrapped. Where memory ends, parts are halved for good.

Notation: R captions of a step, K processes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import torch

from evcap_cli import console
from evcap_cli.devices import out_of_memory
from evcap_cli.errors import TrainingError, VideoError
from evcap_cli.freed_memory import give_back_memory
from evcap_cli.scoring.score_texts import Scores, score_texts
from evcap_cli.systems.decoded_clips import clip_of
from evcap_cli.training.part_times import PartTimes
from evcap_cli.training.run_preparation import seed_torch
from evcap_cli.training.shown_clips import confusion
from evcap_cli.training.tuning.examples import Answers, Example, ExampleLoader, RecentClips

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.features.kept_clips import KeptClips
    from evcap_cli.systems.tunable_captioner import TunableCaptioner
    from evcap_cli.training.tuning.tuning_recipe import TuneConfig

SAMPLES: Final = 3
"""Captions of validation videos in the log of each epoch."""
NAMED_VIDEOS: Final = 8
"""Videos that an error names."""


class TuningLoop:
    """Epochs of an adapter's training.

    Args:
        config: how to train.
        captioner: with its adapter.
        parameters: of the adapter, by name. optimiser: of them.
        accelerator: accelerate's ``Accelerator``.
        clips: of all videos.
        train: captions to train on. validation: raw captions of the held-out videos.
        lexicon: of the scores.
        run: named in errors.
    """

    def __init__(
        self,
        config: TuneConfig,
        captioner: TunableCaptioner[Any],
        parameters: Mapping[str, Parameter],
        optimiser: torch.optim.Optimizer,
        accelerator: Any,
        clips: KeptClips,
        train: Mapping[str, Sequence[str]],
        validation: Mapping[str, Sequence[str]],
        lexicon: Lexicon,
        run: Path,
    ) -> None:
        self.config, self.captioner, self.parameters, self.optimiser = config, captioner, parameters, optimiser
        self.accelerator, self.clips, self.lexicon, self.run = accelerator, clips, lexicon, run
        self.recent = RecentClips(captioner, clips)
        self.train = Answers(captioner, train, config.max_words)
        self.held_out = Answers(captioner, validation, config.max_words)
        self.validation = validation
        self.rows = max(1, config.batch_size // config.accumulate)
        """Captions that go through the model together."""
        self.times = PartTimes()
        self.texts: dict[str, str] = {}
        """Video -> caption of the last validation."""

    @property
    def _most_rows(self) -> int:
        own = self.captioner.rows_at_once
        return self.rows if own is None else min(self.rows, own)

    def epoch(self, number: int) -> dict[str, Any]:
        """Train epoch ``number`` (from 0) and validate; its entry for the log.

        Raises:
            TrainingError: the loss is not a number, or one caption does not fit into memory.
        """
        config, started = self.config, time.monotonic()
        self.times.clear()
        seed_torch(config.seed, number, self.accelerator.process_index)
        steps = self.train.steps(config.batch_size, config.seed, number)
        count, rank = self.accelerator.num_processes, self.accelerator.process_index
        loader = ExampleLoader(self.recent)
        self.captioner.set_training(True)
        total = norm = rate = 0.0
        with console.progress(len(steps), f"epoch {number + 1}/{config.epochs}", "step") as bar:
            for step, examples in enumerate(loader.steps(self.train, [captions[rank::count] for captions in steps])):
                rate = learning_rate(config, number, step, len(steps))
                loss, norm = self._step(examples, self.train.count_tokens(steps[step]), rate, number, step)
                total += loss
                bar.advance(note=f"loss {loss:.3f}")
        trained = time.monotonic() - started
        self.optimiser.zero_grad(set_to_none=True)
        give_back_memory()
        entry: dict[str, Any] = {
            "epoch": number + 1,
            "select": config.select,
            "loss": {"total": round(total / len(steps), 6)},
            "learning_rate": rate,
            "gradient_norm": round(norm, 6),
            "captions_per_second": round(len(self.train) / trained, 1),
            "captions_at_once": self.rows,
            "loading_share": round(loader.waited_seconds / trained, 4),
        }
        self.times.seconds["data"] = loader.waited_seconds
        with self.times.measure("validation"):
            entry |= self._validated(number)
        entry["part_seconds"] = self.times.entry()
        entry["seconds"] = round(time.monotonic() - started, 2)
        return entry

    def _step(
        self, examples: Sequence[Example], tokens: int, rate: float, epoch: int, step: int
    ) -> tuple[float, float]:
        """One optimiser step of all processes; the mean loss of a token, and the norm of the gradient."""
        loss = self._gradient(examples, tokens)
        loss = self._added_up(loss)
        if not math.isfinite(loss):
            raise self._not_a_number("loss", examples, epoch, step)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip_norm))
        if not math.isfinite(norm):
            raise self._not_a_number("gradient", examples, epoch, step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with self.times.measure("optimiser"):
            self.optimiser.step()
        return loss, norm

    def _gradient(self, examples: Sequence[Example], tokens: int) -> float:
        """Leave the gradient of this process's share; its part of the mean loss of a token.

        Raises:
            TrainingError: one caption alone does not fit into memory.
        """
        while True:
            try:
                self.optimiser.zero_grad(set_to_none=True)
                total = 0.0
                for part in self._parts(examples):
                    with self.times.measure("forward"):
                        loss = self._loss(part) / tokens
                        total += float(loss.detach())
                    with self.times.measure("backward"):
                        loss.backward()  # type: ignore[no-untyped-call]
            except Exception as problem:
                if not out_of_memory(problem):
                    raise
                if self._most_rows == 1:
                    raise TrainingError(
                        "one caption alone does not fit into memory",
                        path=self.run,
                        hint="give fewer --frames or a smaller --frame-size, --dtype bf16, or a smaller --base",
                    ) from problem
            else:
                return total
            # outside of the handler, which would keep the tensors of the failed pass
            self._halve()

    def _halve(self) -> None:
        said = self.rows < max(1, self.config.batch_size // self.config.accumulate)
        self.rows = self._most_rows // 2
        self.optimiser.zero_grad(set_to_none=True)
        if self.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        (console.detail if said else console.warn)(
            f"{self.run}: out of memory: {self.rows} of the {self.config.batch_size} captions of a step go through the"
            f" model at once now, in {math.ceil(self.config.batch_size / self.rows)} parts; results stay the same"
        )

    def _parts(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Examples that go through the model together: alike, and no more than fit."""
        groups: dict[object, list[Example]] = {}
        for example in examples:
            groups.setdefault(self.captioner.alike(example.clip), []).append(example)
        most = self._most_rows
        return [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]

    def _loss(self, part: Sequence[Example]) -> Tensor:
        return self.captioner.answer_loss([example.clip for example in part], [example.answer for example in part])

    def _added_up(self, loss: float) -> float:
        """Add gradients and losses of all processes."""
        if self.accelerator.num_processes == 1:
            return loss
        device = self.accelerator.device
        parts = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in self.parameters.values()
        ]
        flat = torch.cat([*(part.flatten() for part in parts), torch.tensor([loss], device=device)])
        flat = self.accelerator.reduce(flat, reduction="sum")
        start = 0
        for weight in self.parameters.values():
            weight.grad = flat[start : start + weight.numel()].view_as(weight).clone()
            start += weight.numel()
        return float(flat[-1])

    def _not_a_number(self, what: str, examples: Sequence[Example], epoch: int, step: int) -> TrainingError:
        videos = list(dict.fromkeys(example.video for example in examples))
        more = f" and {len(videos) - NAMED_VIDEOS} more" if len(videos) > NAMED_VIDEOS else ""
        names = ", ".join(videos[:NAMED_VIDEOS])
        return TrainingError(
            f"the {what} is not a number in epoch {epoch + 1}, step {step + 1} (videos {names}{more})",
            path=self.run,
            hint="try a smaller --lr, or leave those videos out",
        )

    def _validated(self, epoch: int) -> dict[str, Any]:
        """Scores and loss on the held-out videos, the same on all processes; empty where there are none."""
        if not self.validation:
            return {}
        self.captioner.set_training(False)
        cross_entropy = self._cross_entropy()
        if not math.isfinite(cross_entropy):
            raise TrainingError(
                f"the loss on the held-out videos is not a number after epoch {epoch + 1}",
                path=self.run,
                hint="try a smaller --lr",
            )
        captions, scores = self.scored(self.validation)
        found: list[Any] = [None]
        if scores is not None:
            values = {name: round(value, 4) for name, value in scores.metrics.items() if value is not None}
            values["cross_entropy"] = round(cross_entropy, 6)
            found[0] = {
                "validation": values,
                "samples": dict(list(captions.items())[:SAMPLES]),
                "confusion": confusion(captions, self.validation, self.lexicon),
            }
        self.texts = captions
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(found)
        return cast("dict[str, Any]", found[0])

    def _cross_entropy(self) -> float:
        """Mean over the tokens of the held-out captions."""
        count, rank = self.accelerator.num_processes, self.accelerator.process_index
        loader = ExampleLoader(self.recent)
        steps = [captions[rank::count] for captions in self.held_out.in_order(self.config.batch_size)]
        total = 0.0
        with torch.inference_mode():
            for examples in loader.steps(self.held_out, steps):
                total += sum(float(self._loss(part)) for part in self._parts(examples))
        if count > 1:
            device = self.accelerator.device
            total = float(self.accelerator.reduce(torch.tensor(total, device=device), reduction="sum"))
        return total / max(sum(map(len, self.held_out.tokens)), 1)

    def scored(
        self, references: Mapping[str, Sequence[str]], *, meteor: bool = False, bootstrap: int = 0
    ) -> tuple[dict[str, str], Scores | None]:
        """Caption videos, each process its share, and score them; the scores are the main process's only.

        A video without a caption is scored with none.
        """
        self.captioner.set_training(False)
        count, rank = self.accelerator.num_processes, self.accelerator.process_index
        videos = list(references)
        mine = list(self._captioned(videos[rank::count]).items())
        if count > 1:
            from accelerate.utils import gather_object

            mine = gather_object(mine)
        found = dict(mine)
        captions = {video: found[video] for video in videos if video in found}
        if not self.accelerator.is_main_process:
            return captions, None
        return captions, score_texts(captions, references, self.lexicon, meteor=meteor, bootstrap=bootstrap)

    def _captioned(self, videos: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        size = self.captioner.clips_a_batch
        for start in range(0, len(videos), size):
            chunk = videos[start : start + size]
            results = self.captioner.caption([clip_of(self.clips.read(video)) for video in chunk])
            for video, result in zip(chunk, results, strict=True):
                if isinstance(result, VideoError):
                    console.detail(f"{video}: {result.message}")
                found[video] = "" if isinstance(result, VideoError) else result.text
        return found


def learning_rate(config: TuneConfig, epoch: int, step: int, steps: int) -> float:
    """The rate of one step: linear warm-up, then constant, or along half a cosine to a hundredth.

    Args:
        config: how to train.
        epoch: from 0.
        step: of the epoch, from 0.
        steps: of an epoch.
    """
    every = max(config.epochs * steps, 1)
    warm = config.warmup * every if config.schedule == "cosine" else config.warmup * steps
    done = epoch * steps + step
    if done < warm:
        return config.learning_rate * (done + 1) / math.ceil(warm)
    if config.schedule == "constant":
        return config.learning_rate
    share = min((done - warm) / max(every - warm, 1), 1.0)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
