"""What ``--dry-run`` shows: the command of each run, and how long the runs will take.

The time comes from epochs measured in the folder, else from a training step measured now; an estimate always says
which, and what it leaves out.
"""

from __future__ import annotations

import math
import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from evcap_cli import console
from evcap_cli.backbones.contract import KINDS
from evcap_cli.clocks import roughly
from evcap_cli.commands import options as shared
from evcap_cli.console import counted
from evcap_cli.errors import DataError, UsageError
from evcap_cli.reading.typed import read_json_lines

if TYPE_CHECKING:
    from pathlib import Path

    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.network.batch import ClipBatch
    from evcap_cli.network.config import SystemConfig
    from evcap_cli.training.recipe import Recipe
    from evcap_experiments.runs import SeedRuns, TrainingRun

LOG: Final = "log.jsonl"
WARM_STEPS, TIMED_STEPS = 1, 2


def show_runs(runs: Sequence[TrainingRun]) -> None:
    """A line a run."""
    for run in runs:
        console.answer(f"  {'done   ' if run.done else 'to do  '}{shlex.join(['evcap', 'train', *run.arguments])}")


def show_time(planned: Sequence[SeedRuns], root: DataRoot) -> None:
    """The time that is left of all runs, and where the figure comes from."""
    found = estimate(planned, root, _widths(planned[0].parameters))
    console.answer(f"time to go: {f'about {roughly(found.seconds)}' if found.seconds else 'none'} ({found.source})")


def _widths(given: Mapping[str, Any]) -> dict[str, int]:
    """Kind -> width of the backbones that will be used; none of them is loaded."""
    from evcap_cli.backbones.loading import make_backbone
    from evcap_cli.backbones.presets import backbone_addresses

    settings = shared.backbone_settings(given["config"], given["weights"], given["option"])
    overrides = shared.overrides(given["appearance"], given["motion"], given["object_"], given["audio"])
    addresses = backbone_addresses(given["backbone"], overrides, settings.presets)
    return {kind: make_backbone(kind, address, settings.options).spec.dim for kind, address in addresses.items()}


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

    train, _ = hold_out(list(root.train), recipe.train.val_share, recipe.train.seed)
    return math.ceil(sum(len(root.train[video]) for video in train) / recipe.train.batch_size)


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
        clips = _random_clips(config, len(batch.clips)).to(accelerator.device)
        started = time.perf_counter()
        tokens_in, targets = table.select(batch)
        loss = system.losses(model(clips, tokens_in, targets.clip_index), targets)
        optimiser.zero_grad(set_to_none=True)
        accelerator.backward(loss.total)
        optimiser.step()
        float(loss.total.detach())  # waits for an accelerator
        taken.append(time.perf_counter() - started)
    return statistics.mean(taken[WARM_STEPS:])


def _random_clips(config: SystemConfig, count: int) -> ClipBatch:
    """Clips of full length: one random clip, ``count`` times."""
    import torch

    from evcap_cli.features.streams import ClipFeatures, StreamFeatures
    from evcap_cli.network.collate import collate

    rows = dict(zip(KINDS, (config.moments, config.moments, config.objects, config.audio_steps), strict=True))
    streams = {
        kind: StreamFeatures(torch.randn(rows[kind], dim), torch.linspace(0, 5, rows[kind]))
        for kind, dim in config.streams.items()
    }
    return collate([ClipFeatures(streams, duration=5.0)] * count, config)
