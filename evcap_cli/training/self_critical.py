"""Self-critical fine-tuning: epochs after the ordinary ones that reward sampled captions by their CFS.

A step samples several captions of each of its clips and raises the probability of those that are better than the
others of their clip: policy gradient with a baseline of the model's own (Rennie et al. 2017, self-critical sequence
training), which is the mean reward of the clip's other samples (Luo 2020, a better variant of self-critical sequence
training). Captions are drawn by what every system gives to the search, their probabilities come from ``forward``.

``reward.py`` scores a caption; the step down the gradient, validation and the choice of the epoch
are those of ordinary epochs (``loop.py``). Everything random derives from (seed, epoch).

Notation: B clips of a step, S samples of a clip, R = B x S, T tokens of the longest sample, K tokens of all, V
vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch.nn import functional as F

from evcap_cli import console
from evcap_cli.data.special_tokens import END, PAD, START
from evcap_cli.errors import UsageError
from evcap_cli.freed_memory import give_back_memory
from evcap_cli.training.reward import CaptionReward
from evcap_cli.training.run_preparation import seed_torch

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from evcap_cli.network.batch import ClipBatch
    from evcap_cli.systems.contract import CaptionModel
    from evcap_cli.training.loop import Loop
    from evcap_cli.training.recipe import TrainConfig

PHASE: Final = "self-critical"
"""Under ``phase`` in the log entries of such epochs; ordinary ones have none."""
SCALE: Final = 100.0
"""Rewards are logged x 100, as CFS is printed; gradients are of CFS as such, whose size fits ``clip_norm``."""

History = Sequence[Mapping[str, Any]]


def next_phase(history: History, config: TrainConfig) -> Literal["ordinary", "self-critical"] | None:
    """What the epoch after ``history`` is; None: the run is at its end.

    ``early_stop`` ends the ordinary epochs; the self-critical ones follow all the same.
    """
    critical = count(history)
    if not critical and len(history) < config.epochs and not _stale(history, config):
        return "ordinary"
    return "self-critical" if critical < config.self_critical_epochs else None


def count(history: History) -> int:
    """Self-critical epochs among those of a log."""
    return sum(entry.get("phase") == PHASE for entry in history)


def check(history: History, config: TrainConfig, run: Path) -> None:
    """See that a run with self-critical epochs can go on as ``config`` says.

    Raises:
        UsageError: they were of another rate or number of samples, or ordinary epochs would have to follow them.
    """
    critical = [entry for entry in history if entry.get("phase") == PHASE]
    if not critical:
        return
    hint = "give another -o, or --overwrite to start again"
    for name, value in (
        ("self_critical_rate", critical[-1]["learning_rate"]),
        ("self_critical_samples", critical[-1]["samples_a_clip"]),
    ):
        if getattr(config, name) != value:
            raise UsageError(f"holds self-critical epochs of {name} = {value}", path=run, hint=hint)
    ordinary = [entry for entry in history if entry.get("phase") != PHASE]
    if len(ordinary) < config.epochs and not _stale(ordinary, config):
        raise UsageError(
            f"holds self-critical epochs after epoch {len(ordinary)}: no ordinary ones can follow", path=run, hint=hint
        )


def _stale(ordinary: History, config: TrainConfig) -> bool:
    """Whether ``early_stop`` ends the ordinary epochs here."""
    best = max((number for number, entry in enumerate(ordinary, 1) if entry["best"]), default=0)
    return 0 < config.early_stop <= len(ordinary) - best and len(ordinary) > 0


class SelfCritical:
    """The inside of a self-critical epoch.

    Args:
        loop: of the run, with its model, optimiser and tables.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.clips = np.unique(loop.prepared.train.clip)
        self._rewards: dict[tuple[int, tuple[int, ...]], float] = {}

    @cached_property
    def reward(self) -> CaptionReward:
        """By the training references of all clips that are trained on."""
        return CaptionReward(self.loop.prepared.train_captions, self.loop.prepared.lexicon)

    def epoch(self, number: int) -> dict[str, Any]:
        """Train epoch ``number`` (from 0, the ordinary ones counted) and validate; its entry for the log."""
        loop, started = self.loop, time.monotonic()
        config, accelerator = loop.config, loop.accelerator
        seed_torch(config.seed, number, accelerator.process_index)
        order = np.random.default_rng([config.seed, number]).permutation(self.clips)
        size = max(config.batch_size // config.self_critical_samples, 1)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        self._rewards.clear()
        loop.times.clear()
        sums = np.zeros(3)  # loss, reward, squared advantage
        norm, steps = 0.0, 0
        with console.progress(len(batches), f"epoch {number + 1} ({PHASE})", "step") as bar:
            for step, clips in enumerate(batches):
                mine, share = _share(clips, accelerator.num_processes, accelerator.process_index)
                if mine is not None:
                    values, norm = self._step(mine, share, number, step)
                    sums += values
                    steps += 1
                    bar.advance(note=f"reward {values[1]:.1f}")
        trained = time.monotonic() - started
        loop.optimiser.zero_grad(set_to_none=True)
        give_back_memory()
        means = sums / max(steps, 1)
        entry = {
            "epoch": number + 1,
            "phase": PHASE,
            "select": config.select,
            "loss": {"total": round(float(means[0]), 6)},
            "reward": round(float(means[1]), 4),
            "advantage_spread": round(float(means[2]) ** 0.5, 4),
            "learning_rate": config.self_critical_rate,
            "samples_a_clip": config.self_critical_samples,
            "gradient_norm": round(norm, 6),
            "captions_per_second": round(len(order) * config.self_critical_samples / trained, 1),
            "loading_share": round(loop.times.seconds.get("data", 0.0) / trained, 4),
        }
        return loop.finished(entry, number, started)

    def _step(self, clips: npt.NDArray[np.int64], share: float, epoch: int, step: int) -> tuple[list[float], float]:
        """One optimiser step; loss, mean reward and mean squared advantage, and the norm of the gradient."""
        loop, samples = self.loop, self.loop.config.self_critical_samples
        with loop.times.measure("data"):
            batch = loop.features.clip_batch(clips, loop.accelerator.device)
        loop.model.eval()
        with loop.times.measure("sampling"):
            drawn = sample(loop.model, batch, samples, loop.beam.max_words, loop.beam.forbidden)
        with loop.times.measure("reward"):
            rewards = self._worth(clips, drawn, samples)
        advantages = leave_one_out(rewards)
        weights = torch.tensor(advantages / SCALE, dtype=torch.float32, device=drawn.device).flatten()
        loop.optimiser.zero_grad(set_to_none=True)
        with loop.times.measure("forward"):
            loss = policy_loss(loop.wrapped, batch, drawn, weights, loop.beam.forbidden)
        norm = loop.descend(loss, share, loop.config.self_critical_rate, clips, epoch, step)
        return [float(loss.detach()), float(rewards.mean()), float((advantages**2).mean())], norm

    def _worth(self, clips: npt.NDArray[np.int64], drawn: Tensor, samples: int) -> npt.NDArray[np.float64]:
        """Reward of each sample, (B, S), x 100."""
        prepared = self.loop.prepared
        found = []
        for row, tokens in enumerate(drawn.tolist()):
            key = int(clips[row // samples]), tuple(tokens)
            if key not in self._rewards:
                words = prepared.vocabulary.decode(tokens)
                self._rewards[key] = self.reward(prepared.features.videos[key[0]], words)
            found.append(self._rewards[key])
        return np.array(found).reshape(-1, samples)


def _share(clips: npt.NDArray[np.int64], processes: int, rank: int) -> tuple[npt.NDArray[np.int64] | None, float]:
    """The clips of a step that a process takes, and its weight among the processes (gradients are averaged).

    None on every process when there are fewer clips than processes.
    """
    if len(clips) < processes:
        return None, 0.0
    mine = clips[rank::processes]
    return mine, processes * len(mine) / len(clips)


def leave_one_out(rewards: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Reward less the mean reward of the clip's other samples; both (B, S), S at least 2."""
    others = rewards.shape[1] - 1
    return np.asarray(rewards - (rewards.sum(axis=1, keepdims=True) - rewards) / others)


@torch.no_grad()
def sample(model: CaptionModel, batch: ClipBatch, samples: int, max_words: int, forbidden: Sequence[int]) -> Tensor:
    """Draw captions of each clip word by word from the model's probabilities, as they are in its present mode.

    Args:
        model: of any system.
        batch: B clips.
        samples: of each.
        max_words: a caption of so many words ends there, without an end mark being drawn.
        forbidden: ids that are never drawn.

    Returns:
        What was drawn, (B x S, T), the samples of a clip next to each other; PAD follows an end mark that was drawn.
    """
    memory = model.prepare(batch).memory
    device = memory.device
    rows = torch.arange(len(memory), device=device).repeat_interleave(samples)
    logits, state = model.step(memory, model.start(memory), torch.full((len(memory),), START, device=device))
    logits, state = logits[rows], state.reorder(rows)
    never = torch.tensor(list(forbidden), device=device)
    running = torch.ones(len(rows), dtype=torch.bool, device=device)
    drawn: list[Tensor] = []
    while True:
        logits[:, never] = float("-inf")
        words = torch.multinomial(logits.float().softmax(dim=-1), 1)[:, 0]
        drawn.append(words.where(running, PAD))
        running = running & (words != END)
        if len(drawn) == max_words or not bool(running.any()):
            return torch.stack(drawn, dim=1)
        logits, state = model.step(memory, state, words.where(running, PAD))


def policy_loss(model: Any, batch: ClipBatch, drawn: Tensor, weights: Tensor, forbidden: Sequence[int]) -> Tensor:
    """Minus the mean over all drawn tokens of a sample's weight times a token's log-probability.

    Its gradient with the advantages as weights is the policy gradient. Probabilities are those that ``sample`` draws
    from: of the tokens that are not forbidden.

    Args:
        model: the system, as it is called in training.
        batch: B clips.
        drawn: by ``sample``, (R, T).
        weights: of each sample, (R,).
        forbidden: ids that are never drawn.
    """
    real = drawn != PAD
    inputs = F.pad(drawn[:, :-1].masked_fill(drawn[:, :-1] == END, PAD), (1, 0), value=START)
    clip_index = torch.arange(len(batch.appearance), device=drawn.device)
    clip_index = clip_index.repeat_interleave(len(drawn) // len(batch.appearance))
    logits = model(batch, inputs, clip_index, real.sum(dim=1).tolist()).logits.float()
    logits = logits.index_fill(1, torch.tensor(list(forbidden), device=drawn.device), float("-inf"))
    surprise = F.cross_entropy(logits, drawn[real], reduction="none")
    return (surprise * weights[:, None].expand_as(drawn)[real]).sum() / len(surprise)
