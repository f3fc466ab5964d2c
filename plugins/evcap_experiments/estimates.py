"""How long an experiment will take: from epochs measured in its folder, else from a training step measured now.

An estimate always says where it comes from and what it leaves out.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from evcap_cli.backbones.contract import KINDS
from evcap_cli.console import counted
from evcap_cli.errors import DataError, UsageError
from evcap_cli.reading.typed import read_json_lines

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor

    from evcap_cli.backbones.contract import Kind
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.network.batch import ClipBatch
    from evcap_cli.network.config import SystemConfig
    from evcap_cli.training.recipe import Recipe
    from evcap_experiments.runs import SeedRuns

LOG: Final = "log.jsonl"
WARM_STEPS, TIMED_STEPS = 1, 2


@dataclass(frozen=True)
class Estimate:
    """Time of all runs that are not done.

    Args:
        seconds: of all of them together; 0 where nothing is left.
        source: what it was computed from, and what comes on top.
    """

    seconds: float
    source: str


@dataclass(frozen=True)
class _Epoch:
    """A line of the log, as far as it is read here."""

    seconds: float


def epochs_measured(run: Path) -> list[float]:
    """Seconds of each finished epoch of a run, from its log; none where there is no log that can be read."""
    try:
        return [epoch.seconds for _, epoch in read_json_lines(_Epoch, run / LOG)]
    except DataError:
        return []


def estimate(planned: Sequence[SeedRuns], root: DataRoot, dims: Mapping[str, int]) -> Estimate:
    """Time of the runs that are not done.

    A run's own epochs count most, then the epochs of other runs, then a step of each system measured on random tensors
    of the recipe's sizes, with the most modules.

    Args:
        planned: all runs of an experiment.
        root: the data set they are trained on.
        dims: kind of backbone -> its width.

    Raises:
        UsageError: the recipe's model cannot be built.
    """
    pairs = [(one, run) for one in planned for run in one.runs]
    left = [(one, run) for one, run in pairs if not run.done]
    if not left:
        return Estimate(0.0, "every run is done")
    measured = {run.folder: epochs_measured(run.folder) for _, run in pairs}
    seconds = [second for several in measured.values() for second in several]
    if seconds:
        usual = statistics.median(seconds)
        total = sum(
            max(_epochs(one.recipe) - len(measured[run.folder]), 0)
            * (statistics.median(measured[run.folder] or [usual]))
            for one, run in left
        )
        return Estimate(
            total,
            f"{counted(len(seconds), 'epoch')} measured in this folder, {usual:.1f} s each in the middle, validation"
            " included; the features of videos that are not in the cache yet, and the test at the end, come on top",
        )
    # the last of a system is the one with the most modules
    largest = {one.recipe.system: one for one, _ in sorted(left, key=lambda pair: -len(pair[0].recipe.without))}
    step = {
        system: seconds_a_step(one.recipe, root, dims, str(one.parameters["device"])) for system, one in largest.items()
    }
    steps = steps_an_epoch(next(iter(largest.values())).recipe, root)
    taken = ", ".join(f"{seconds:.2f} s ({system})" for system, seconds in step.items())
    return Estimate(
        sum(_epochs(one.recipe) * steps * step[one.recipe.system] for one, _ in left),
        f"a training step on random tensors took {taken} here just now,"
        f" {counted(steps, 'step')} an epoch by this data set; the"
        " features of the videos, validation and the test come on top",
    )


def _epochs(recipe: Recipe) -> int:
    return recipe.train.epochs + recipe.train.self_critical_epochs


def steps_an_epoch(recipe: Recipe, root: DataRoot) -> int:
    """Batches of the captions that are not validation."""
    from evcap_cli.data.emvidcap import hold_out

    learn, _ = hold_out(list(root.train), recipe.train.val_share, recipe.train.seed)
    return math.ceil(sum(len(root.train[video]) for video in learn) / recipe.train.batch_size)


def seconds_a_step(recipe: Recipe, root: DataRoot, dims: Mapping[str, int], device: str) -> float:
    """Seconds of one training step of the recipe's sizes: captions of the data set, random features.

    Raises:
        UsageError: the recipe's model cannot be built, or there is no such device.
    """
    import torch

    from evcap_cli import plugins
    from evcap_cli.data.caption_batches import caption_batches
    from evcap_cli.data.caption_text import tokens
    from evcap_cli.data.vocabulary import Vocabulary
    from evcap_cli.devices import choose_device
    from evcap_cli.training.acceleration import make_accelerator
    from evcap_cli.training.optimiser import make_optimiser
    from evcap_cli.training.training_tables import CaptionTable

    train, lexicon = recipe.train, root.lexicon
    words = {
        video: [cut for text in texts if (cut := tokens(text, train.max_words))] for video, texts in root.train.items()
    }
    vocabulary = Vocabulary.from_captions(
        (cut for several in words.values() for cut in several), min_count=train.min_count
    )
    config = recipe.captioner(
        **{f"{kind}_dim": dims.get(kind) for kind in KINDS},
        vocabulary=len(vocabulary),
        categories=len(lexicon.categories),
        words=len(lexicon.words),
    )
    if "appearance" not in dims:
        raise UsageError("the captioner needs an appearance backbone", hint="name one with --appearance")
    where = choose_device(device)
    accelerator = make_accelerator(where.type, train.precision)
    numbers = {video: number for number, video in enumerate(words)}
    table = CaptionTable.build(words, numbers, vocabulary, lexicon, per_video_labels=False).to(accelerator.device)
    batches = caption_batches(
        table.clip, batch_size=train.batch_size, per_clip=train.captions_per_clip, seed=train.seed, epoch=0
    )
    system = plugins.system(recipe.system).load()(config, torch.from_numpy(lexicon.mask())).to(accelerator.device)
    model, optimiser = accelerator.prepare(system, make_optimiser(train, system.parameters(), accelerator.device))
    model.train()
    taken = []
    for number in range(WARM_STEPS + TIMED_STEPS):
        batch = batches[number % len(batches)]
        clips = _random_clips(config, len(batch.clips), accelerator.device)
        started = time.perf_counter()
        fed, targets = table.select(batch)
        loss = system.losses(model(clips, fed, targets.clip_index), targets)
        optimiser.zero_grad(set_to_none=True)
        accelerator.backward(loss.total)
        optimiser.step()
        float(loss.total.detach())  # waits for an accelerator
        taken.append(time.perf_counter() - started)
    return statistics.mean(taken[WARM_STEPS:])


def _random_clips(config: SystemConfig, count: int, device: torch.device) -> ClipBatch:
    """Clips of full length, random."""
    import torch

    from evcap_cli.network.batch import ClipBatch

    streams = config.streams

    def rows(kind: Kind, number: int) -> Tensor | None:
        return torch.randn(count, number, streams[kind], device=device) if kind in streams else None

    def real(number: int) -> Tensor:
        return torch.ones(count, number, dtype=torch.bool, device=device)

    def times(number: int) -> Tensor:
        return torch.linspace(0, 5, number, device=device).repeat(count, 1)

    return ClipBatch(
        appearance=torch.randn(count, config.moments, streams["appearance"], device=device),
        visual_mask=real(config.moments),
        moment_times=times(config.moments),
        motion=rows("motion", config.moments),
        objects=rows("object", config.objects),
        object_mask=real(config.objects) if "object" in streams else None,
        audio=rows("audio", config.audio_steps),
        audio_mask=real(config.audio_steps) if "audio" in streams else None,
        audio_times=times(config.audio_steps) if "audio" in streams else None,
    )
