from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from evcap_cli.data.special_tokens import END, PAD, START, UNK
from evcap_cli.errors import TrainingError, UsageError
from evcap_cli.training import self_critical
from evcap_cli.training.part_times import PartTimes
from evcap_cli.training.self_critical import SelfCritical, leave_one_out, next_phase, policy_loss, sample
from evcap_cli.training.trainer import Trainer, TrainResult
from tests.training import toy
from tests.training.test_trainer import assert_same

FORBIDDEN = (PAD, START, UNK)
EPOCHS = {"epochs": 2, "self_critical_epochs": 2, "self_critical_samples": 3, "self_critical_rate": 1e-3}


def trainer(run: Path, system: str = "fusion", **train: Any) -> Trainer:
    source = toy.source(10)
    return Trainer(toy.recipe(system, **train), toy.captions(10), toy.LEXICON, source, run, tensorboard=False)


def fit(run: Path, **train: Any) -> TrainResult:
    return trainer(run, **{**EPOCHS, **train}).fit()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A run of all epochs in one go."""
    return fit(tmp_path_factory.mktemp("run") / "undisturbed")


class Dice:
    """A model that draws every word from the same probabilities: PAD, START, END, UNK, and two words, one a clip."""

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.fed: list[torch.Tensor] = []

    def prepare(self, batch: Any) -> Any:
        class Memory(list[int]):
            device = torch.device("cpu")

        return SimpleNamespace(memory=Memory(range(batch)))

    def start(self, memory: Any) -> Any:
        return self.state(torch.arange(len(memory)))

    def state(self, clips: torch.Tensor) -> Any:
        return SimpleNamespace(clips=clips, reorder=lambda rows: self.state(clips[rows]))

    def step(self, memory: Any, state: Any, tokens: torch.Tensor) -> Any:
        self.fed.append(tokens)
        row = torch.tensor([0.5, 0.5, self.ends, 0.5, 0.0, 0.0]).repeat(len(tokens), 1)
        row[torch.arange(len(tokens)), 4 + state.clips] = 1 - self.ends
        return row.log(), state


def test_samples_follow_the_models_probabilities_and_end_at_the_end_mark_or_at_the_most_words() -> None:
    torch.manual_seed(0)
    model = Dice(0.25)
    drawn = sample(model, 2, 4000, 3, FORBIDDEN)  # type: ignore[arg-type]
    assert drawn.shape == (8000, 3)
    assert (model.fed[0] == START).all()
    for clip, rows in enumerate(drawn.split(4000)):  # a clip's samples lie side by side
        word = 4 + clip
        share = {
            caption: (rows == torch.tensor(caption)).all(dim=1).float().mean().item()
            for caption in ((END, PAD, PAD), (word, END, PAD), (word, word, END), (word, word, word))
        }
        assert list(share.values()) == pytest.approx([0.25, 0.1875, 0.140625, 0.421875], abs=0.03)
        assert sum(share.values()) == pytest.approx(1)  # nothing else is drawn, forbidden tokens least of all


def test_sampling_stops_where_all_captions_are_at_their_end() -> None:
    model = Dice(1.0)
    assert sample(model, 2, 3, 9, FORBIDDEN).tolist() == [[END]] * 6  # type: ignore[arg-type]
    assert len(model.fed) == 1


def test_the_baseline_is_the_mean_of_the_clips_other_samples() -> None:
    rewards = np.random.default_rng(0).normal(size=(3, 4))
    for b, s in np.ndindex(3, 4):
        others = [rewards[b, other] for other in range(4) if other != s]
        assert leave_one_out(rewards)[b, s] == pytest.approx(rewards[b, s] - sum(others) / 3)


@pytest.mark.slow
@pytest.mark.parametrize("system", ["fusion", "dcgn", "sa-lstm"])
def test_the_gradient_is_that_of_log_probabilities_written_plainly(tmp_path: Path, system: str) -> None:
    ready = trainer(tmp_path, system)
    model, table = ready.prepared.model.eval(), ready.prepared.features
    torch.manual_seed(1)
    clips = torch.tensor([2, 5])
    drawn = sample(model, table.select(clips), 3, 4, FORBIDDEN)
    assert drawn.shape[0] == 6
    weights = torch.randn(6)

    total, tokens = torch.zeros(()), 0
    for row, caption in enumerate(drawn.tolist()):
        batch, prefix = table.select(clips[row // 3 : row // 3 + 1]), [START]
        for word in caption:
            if word == PAD:
                break
            output = model(batch, torch.tensor([prefix]), torch.tensor([0]))
            allowed = [number for number in range(output.logits.shape[-1]) if number not in FORBIDDEN]
            probabilities = output.logits[-1][allowed].softmax(dim=0)
            total = total - weights[row] * probabilities[allowed.index(word)].log()
            prefix, tokens = [*prefix, word], tokens + 1
    model.zero_grad()
    (total / tokens).backward()
    slow = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    model.zero_grad()
    loss = policy_loss(model, table.select(clips), drawn, weights, FORBIDDEN)
    loss.backward()
    assert float(loss) == pytest.approx(float(total / tokens), abs=1e-5)
    assert max(gradient.abs().max() for gradient in slow.values()) > 1e-3
    for name, parameter in model.named_parameters():
        if name in slow:
            torch.testing.assert_close(parameter.grad, slow[name], atol=1e-5, rtol=1e-3)
        else:
            assert parameter.grad is None or not parameter.grad.any(), name


@pytest.mark.parametrize("system", ["fusion", "dcgn", "sa-lstm"])
@pytest.mark.slow
def test_the_mean_reward_rises(tmp_path: Path, system: str) -> None:
    train = {"epochs": 3, "self_critical_epochs": 12, "self_critical_rate": 4e-3, "batch_size": 24, "val_share": 0.0}
    history = trainer(tmp_path, system, **train).fit().history
    rewards = [entry["reward"] for entry in history if "phase" in entry]
    assert len(rewards) == 12
    assert np.mean(rewards[-4:]) > np.mean(rewards[:4]) + 5


@pytest.mark.slow
def test_the_log_tells_the_phase_and_the_epoch_is_chosen_over_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = fit(tmp_path)
    assert [entry.get("phase") for entry in result.history] == [None, None, "self-critical", "self-critical"]
    best = max(result.history, key=lambda entry: (entry["validation"]["cfs"], -entry["validation"]["cross_entropy"]))
    assert result.best_epoch == best["epoch"]
    last = result.history[-1]
    assert (last["epoch"], last["learning_rate"]) == (4, 1e-3)
    assert last["advantage_spread"] > 0
    assert f"epoch 4/4 (self-critical): mean reward {last['reward']:.1f}, held out: CFS" in capsys.readouterr().err
    assert result.checkpoint.training["settings"]["self_critical_epochs"] == 2


@pytest.mark.slow
def test_ordinary_epochs_are_those_of_a_run_without_self_critical_ones(
    tmp_path: Path, undisturbed: TrainResult
) -> None:
    plain = fit(tmp_path / "plain", self_critical_epochs=0)
    assert [entry.get("phase") for entry in plain.history] == [None, None]
    keep = ("loss", "validation", "learning_rate", "gradient_norm", "samples")
    for one, two in zip(plain.history, undisturbed.history, strict=False):
        assert {name: one[name] for name in keep} == {name: two[name] for name in keep}
    # and self-critical epochs can be put behind a finished run
    assert_same(fit(tmp_path / "plain").checkpoint, undisturbed.checkpoint)


@pytest.mark.slow
def test_a_run_with_and_without_self_critical_epochs_is_the_same_run(tmp_path: Path) -> None:
    given = {"self_critical_epochs": 3, "self_critical_samples": 4, "self_critical_rate": 1e-3}
    plain, more = trainer(tmp_path, epochs=2), trainer(tmp_path, epochs=2, **given)
    assert plain.prepared.fingerprint == more.prepared.fingerprint


@pytest.mark.slow
def test_self_critical_epochs_start_from_the_best_epoch_with_a_fresh_optimiser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evcap_cli.training.run_state.epoch_score", lambda entry, _: [-float(entry["epoch"])])
    seen: list[tuple[dict[str, torch.Tensor], int]] = []
    epoch = SelfCritical.epoch

    def watched(self: SelfCritical, number: int) -> dict[str, Any]:
        weights = {name: tensor.clone() for name, tensor in self.loop.model.state_dict().items()}
        seen.append((weights, len(self.loop.optimiser.state)))
        return epoch(self, number)

    monkeypatch.setattr(SelfCritical, "epoch", watched)
    result = fit(tmp_path, epochs=3, self_critical_epochs=2)
    first = fit(tmp_path / "first", epochs=1, self_critical_epochs=0)
    assert result.best_epoch == 1
    for name, tensor in first.checkpoint.model.state_dict().items():
        assert torch.equal(tensor, seen[0][0][name]), name
    assert seen[0][1] == 0
    assert seen[1][1] > 0


LAST_IS_BEST: dict[str, Any] = {"select": "last"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return fit(tmp_path_factory.mktemp("run") / "whole", **LAST_IS_BEST)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [(2, 0), (2, 1), (3, 1)])
def test_a_killed_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: tuple[int, int], whole: TrainResult
) -> None:
    step = SelfCritical._step

    def stops(self: SelfCritical, clips: Any, share: float, epoch: int, number: int) -> Any:
        if (epoch, number) == killed:
            raise KeyboardInterrupt
        return step(self, clips, share, epoch, number)

    with monkeypatch.context() as patch:
        patch.setattr(SelfCritical, "_step", stops)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "cut", **LAST_IS_BEST)
    resumed = fit(tmp_path / "cut", **LAST_IS_BEST)
    assert (whole.best_epoch, resumed.best_epoch) == (4, 4)
    assert_same(whole.checkpoint, resumed.checkpoint)
    keep = ("epoch", "loss", "validation", "reward")
    assert [[e.get(k) for k in keep] for e in whole.history] == [[e.get(k) for k in keep] for e in resumed.history]


@pytest.mark.slow
def test_more_self_critical_epochs_go_on_and_what_does_not_fit_them_is_refused(
    tmp_path: Path, undisturbed: TrainResult
) -> None:
    fit(tmp_path / "a", self_critical_epochs=1)
    for change, said in (
        ({"self_critical_rate": 1e-2}, "self_critical_rate = 0.001"),
        ({"self_critical_samples": 2}, "self_critical_samples = 3"),
        ({"epochs": 3}, "after epoch 2: no ordinary ones can follow"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            fit(tmp_path / "a", **change)
        assert "--overwrite" in str(caught.value)
    assert_same(fit(tmp_path / "a").checkpoint, undisturbed.checkpoint)


def test_early_stopping_ends_the_ordinary_epochs_only() -> None:
    config = toy.recipe(epochs=9, early_stop=2, self_critical_epochs=3).train
    history: list[dict[str, Any]] = [{"best": True}, {"best": False}]
    assert next_phase(history, config) == "ordinary"
    history.append({"best": False})
    phases = []
    while phase := next_phase(history, config):
        phases.append(phase)
        history.append({"best": True, "phase": "self-critical"})
    assert phases == ["self-critical"] * 3
    self_critical.check([*history[:3], {**history[3], "learning_rate": 1e-4, "samples_a_clip": 5}], config, Path("run"))


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_names_epoch_and_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_critical, "policy_loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(TrainingError, match=r"not a number in epoch 3, step 1 \(videos vid.*epoch [12] is kept"):
        fit(tmp_path)


def test_clips_of_a_step_are_dealt_to_the_processes() -> None:
    clips = np.arange(7)
    shares = [self_critical._share(clips, 3, rank) for rank in range(3)]
    assert sorted(np.concatenate([mine for mine, _ in shares if mine is not None]).tolist()) == clips.tolist()
    assert [share for _, share in shares] == pytest.approx([9 / 7, 6 / 7, 6 / 7])
    assert self_critical._share(clips[:2], 3, 0) == (None, 0.0)


def test_batches_hold_as_many_captions_as_ordinary_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[int]] = []

    def step(self: SelfCritical, clips: Any, *_: Any) -> Any:
        taken.append(clips.tolist())
        return [0.0, 0.0, 0.0], 0.0

    monkeypatch.setattr(SelfCritical, "_step", step)
    for batch_size, clips in ((9, 3), (2, 1)):
        ready = trainer(tmp_path, batch_size=batch_size, self_critical_samples=3)
        taken.clear()
        loop = SimpleNamespace(
            prepared=ready.prepared,
            config=ready.config,
            accelerator=ready.accelerator,
            optimiser=SimpleNamespace(zero_grad=lambda **_: None),
            times=PartTimes(),
            finished=lambda entry, *_: entry,
        )
        SelfCritical(loop).epoch(4)  # type: ignore[arg-type]
        assert {len(several) for several in taken[:-1]} == {clips}
        assert sorted(clip for several in taken for clip in several) == sorted(set(ready.prepared.train.clip.tolist()))
