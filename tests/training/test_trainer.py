from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.errors import TrainingError, UsageError
from evcap_cli.features.familiarity import Familiarity, clip_means
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.training.feature_sources import MappingSource
from evcap_cli.training.loop import Loop, learning_rate
from evcap_cli.training.run_state import FILE
from evcap_cli.training.trainer import Trainer, TrainResult
from evcap_cli.training.validation import Validation
from tests.training import toy


def train(run: Path, **train: Any) -> TrainResult:
    return trainer(run, **train).fit()


def trainer(run: Path, source: MappingSource | None = None, **train: Any) -> Trainer:
    return Trainer(
        toy.recipe(**train),
        toy.captions(),
        toy.LEXICON,
        source or toy.source(),
        run,
        tensorboard=False,
        command="evcap train",
    )


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return checkpoint.model.state_dict()


def assert_same(one: Checkpoint, two: Checkpoint) -> None:
    assert weights(one).keys() == weights(two).keys()
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(two)[name]), name


@pytest.mark.slow
def test_a_tiny_captioner_learns_what_its_features_tell(tmp_path: Path) -> None:
    result = train(tmp_path, epochs=10, learning_rate=2e-2, val_share=0.34)
    losses = [entry["loss"]["total"] for entry in result.history]
    assert losses[-1] < losses[0] / 2
    best = result.history[result.best_epoch - 1]
    assert best["validation"]["cfs"] == max(entry["validation"]["cfs"] for entry in result.history)
    assert best["validation"]["acc_sw"] > 50
    assert best["validation"]["bleu_4"] > 50


@pytest.mark.slow
def test_a_checkpoint_knows_what_its_training_videos_were_like(tmp_path: Path) -> None:
    made = Trainer(
        toy.recipe(epochs=1, val_share=0.4), toy.captions(60), toy.LEXICON, toy.source(60), tmp_path, tensorboard=False
    )
    found = made.fit().checkpoint.familiarity
    assert found is not None
    held_out = [clip_means(toy.features(int(video[3:]))) for video in made.prepared.validation_captions]
    others = [clip_means(toy.features(int(video[3:]))) for video in made.prepared.train_captions]
    expected = Familiarity.fit(others, held_out)
    assert expected is not None
    assert len(found.validation) == len(held_out) >= 20
    new = [toy.features(number) for number in range(60, 70)]
    assert found.unusualness(new) == pytest.approx(expected.unusualness(new))
    assert Checkpoint.from_pretrained(tmp_path).familiarity is not None


@pytest.mark.slow
def test_the_run_folder_is_a_checkpoint_with_log_and_model_card(tmp_path: Path) -> None:
    result = train(tmp_path)
    loaded = Checkpoint.from_pretrained(tmp_path)
    assert_same(result.checkpoint, loaded)
    assert loaded.training["epoch"] == result.best_epoch
    assert loaded.digest == result.checkpoint.digest
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(len(line["samples"]) > 0 for line in lines)
    card = (tmp_path / "README.md").read_text()
    assert "evcap train" in card
    assert "| CFS |" in card


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first = train(tmp_path / "a", epochs=1)
    assert_same(first.checkpoint, train(tmp_path / "b", epochs=1).checkpoint)
    other = train(tmp_path / "c", epochs=1, seed=2)
    assert not torch.equal(*(c.checkpoint.model.decoder.embedding.weight for c in (first, other)))


@pytest.mark.slow
def test_a_run_stopped_inside_an_epoch_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole")
    step = Loop._step

    def stops(self: Loop, batch: Any, rate: float, epoch: int, number: int) -> Any:
        if (epoch, number) == (1, 2):
            raise KeyboardInterrupt
        return step(self, batch, rate, epoch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", stops)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut")
    resumed = train(tmp_path / "cut")
    assert_same(whole.checkpoint, resumed.checkpoint)
    keep = ("epoch", "loss", "validation", "learning_rate")
    assert [[e[k] for k in keep] for e in whole.history] == [[e[k] for k in keep] for e in resumed.history]


@pytest.mark.slow
def test_a_finished_run_started_again_only_writes_its_checkpoint(tmp_path: Path) -> None:
    first = train(tmp_path)
    (tmp_path / "config.json").unlink()
    again = train(tmp_path)
    assert_same(first.checkpoint, again.checkpoint)
    assert Checkpoint.from_pretrained(tmp_path).digest == first.checkpoint.digest


@pytest.mark.slow
def test_more_epochs_continue_a_run_and_other_settings_are_refused(tmp_path: Path) -> None:
    train(tmp_path / "a", epochs=2)
    assert_same(train(tmp_path / "a", epochs=3).checkpoint, train(tmp_path / "b", epochs=3).checkpoint)
    with pytest.raises(UsageError, match="other data or settings"):
        train(tmp_path / "a", epochs=3, batch_size=4)


@pytest.mark.slow
def test_a_damaged_state_is_one_clear_line(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    (tmp_path / FILE).write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="cannot be read") as caught:
        train(tmp_path, epochs=1)
    assert "--overwrite" in str(caught.value)


@pytest.mark.slow
def test_no_epochs_give_a_marked_untrained_checkpoint(tmp_path: Path) -> None:
    assert train(tmp_path, epochs=0).checkpoint.untrained
    assert Checkpoint.from_pretrained(tmp_path).untrained
    assert "not trained" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_names_the_videos_and_keeps_the_last_good_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = train(tmp_path / "good", epochs=1)
    step = Loop._step

    def poisoned(self: Loop, batch: Any, rate: float, epoch: int, number: int) -> Any:
        if (epoch, number) == (1, 1):
            with torch.no_grad():
                self.model.decoder.embedding.weight.fill_(float("nan"))
        return step(self, batch, rate, epoch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", poisoned)
        with pytest.raises(TrainingError, match=r"not a number in epoch 2, step 2 \(videos vid") as caught:
            train(tmp_path / "bad", epochs=3)
    line = str(caught.value)
    assert line.startswith(str(tmp_path / "bad"))
    assert "\n" not in line
    for part in ("the checkpoint of epoch 1 is kept", "--lr", "another -o, or --overwrite"):
        assert part in line
    assert_same(Checkpoint.from_pretrained(tmp_path / "bad"), good.checkpoint)
    # what the line says is true: the run goes on from there, and other settings want another folder
    assert_same(train(tmp_path / "bad", epochs=3).checkpoint, train(tmp_path / "never", epochs=3).checkpoint)
    with pytest.raises(UsageError, match="--overwrite"):
        train(tmp_path / "bad", epochs=3, learning_rate=1e-3)
    assert Trainer.fit(trainer(tmp_path / "other", epochs=1, learning_rate=1e-3)).best_epoch == 1


def test_a_loss_that_is_not_a_number_in_the_first_epoch_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loop, "_loss", lambda *_: SimpleNamespace(total=torch.tensor(float("nan"))))
    with pytest.raises(TrainingError, match="no epoch was finished"):
        train(tmp_path)
    assert not (tmp_path / "config.json").exists()
    assert not (tmp_path / FILE).exists()


@pytest.mark.slow
def test_held_out_videos_whose_loss_is_not_a_number_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Validation, "cross_entropy", lambda _: float("nan"))
    with pytest.raises(TrainingError, match=r"held-out videos is not a number after epoch 1; no epoch was finished"):
        train(tmp_path)


@pytest.mark.slow
def test_early_stopping_ends_after_epochs_without_a_better_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcap_cli.training.run_state.epoch_score", lambda entry, _: [-float(entry["epoch"])])
    result = train(tmp_path, epochs=9, early_stop=2)
    assert (len(result.history), result.best_epoch) == (3, 1)
    assert len(train(tmp_path, epochs=9, early_stop=2).history) == 3


def test_videos_without_features_are_left_out_and_none_at_all_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = MappingSource({f"vid{n}": toy.features(n) for n in range(12)})
    prepared = trainer(tmp_path, some).prepared
    assert len(prepared.features) == 12
    assert "6 of 18 videos have no features" in capsys.readouterr().err
    unknown: dict[str, ClipFeatures] = {"other": toy.features(0)}
    with pytest.raises(TrainingError, match="no video has features"):
        trainer(tmp_path, MappingSource(unknown))


def test_features_of_another_width_than_the_backbones_are_named(tmp_path: Path) -> None:
    clips = {f"vid{n}": toy.features(n) for n in range(18)}
    wrong = dict(clips["vid3"].streams) | {"audio": StreamFeatures(torch.zeros(2, 9), torch.zeros(2))}
    clips["vid3"] = ClipFeatures(wrong, 4.0)
    with pytest.raises(TrainingError, match="9"):
        trainer(tmp_path, MappingSource(clips))


def test_a_module_without_its_stream_is_named_before_features_are_read(tmp_path: Path) -> None:
    class Reading(MappingSource):
        def read(self, videos: Any) -> Any:
            raise AssertionError("features were read")

    clips = {
        name: ClipFeatures({"appearance": clip.streams["appearance"]}, 4.0) for name, clip in toy.source().clips.items()
    }
    with pytest.raises(UsageError, match=r"module fine-grained needs the motion stream; .*--without fine-grained"):
        trainer(tmp_path, Reading(clips))


@pytest.mark.slow
def test_modules_switched_off_train_too(tmp_path: Path) -> None:
    recipe = toy.recipe(epochs=1).with_values(model={"fine_grained": False, "audio_visual": False})
    run = Trainer(recipe, toy.captions(), toy.LEXICON, toy.source(), tmp_path, tensorboard=False).fit()
    assert run.checkpoint.model.config.streams.keys() == {"appearance", "motion"}


@pytest.mark.slow
def test_tensorboard_gets_every_epoch(tmp_path: Path) -> None:
    Trainer(toy.recipe(epochs=2), toy.captions(), toy.LEXICON, toy.source(), tmp_path).fit()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/total")] == [1, 2]
    assert "validation/cfs" in events.Tags()["scalars"]
    samples = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[1])["samples"]
    assert samples
    for video, caption in samples.items():
        last = events.Tensors(f"samples/{video}/text_summary")[-1]
        assert (last.step, last.tensor_proto.string_val[0].decode()) == (2, caption)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    config = toy.recipe(epochs=10, schedule="cosine", warmup_epochs=2, learning_rate=1.0).train
    rates = [learning_rate(config, epoch, step, 4) for epoch in range(10) for step in range(4)]
    assert rates[:8] == pytest.approx([(n + 1) / 8 for n in range(8)])
    assert rates[8] == pytest.approx(1.0)
    assert all(a > b for a, b in pairwise(rates[8:]))
    assert 0.01 <= rates[-1] < 0.02
    constant = toy.recipe(learning_rate=0.5).train
    assert {learning_rate(constant, e, s, 4) for e in range(3) for s in range(4)} == {0.5}


@pytest.mark.slow
def test_a_run_does_not_go_on_with_another_sampling(tmp_path: Path) -> None:
    def fit(sampling: str) -> None:
        Trainer(
            toy.recipe(epochs=1),
            toy.captions(),
            toy.LEXICON,
            toy.source(),
            tmp_path,
            tensorboard=False,
            sampling=sampling,
        ).fit()

    fit("epan")
    fit("epan")
    with pytest.raises(UsageError, match="other data or settings"):
        fit("moments")
