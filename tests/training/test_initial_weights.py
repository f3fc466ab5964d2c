"""``--init``: what is taken over from a checkpoint, what is new, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.special_tokens import SPECIALS
from evcap_cli.errors import CheckpointError, UsageError
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.training.feature_sources import MappingSource
from evcap_cli.training.initial_weights import InitialWeights
from evcap_cli.training.loop import Loop
from evcap_cli.training.run_preparation import PreparedRun, prepare
from evcap_cli.training.trainer import Trainer, TrainResult
from evcap_cli.training.training_tables import FeatureTable
from tests.systems.small import CASES, system
from tests.training import toy

SYSTEMS = sorted(toy.MODELS)
OTHERS = {"happy": "glad", "man": "robot", "dog": "robot", "walks": "spins"}
LEXICON = Lexicon({"anger": ["cross"], "joy": ["glad", "happy"], "sadness": ["sad"]}, name="other")


def shifted(videos: int = 18) -> dict[str, list[str]]:
    """The toy captions with other words."""
    return {
        video: [" ".join(OTHERS.get(word, word) for word in text.lower().rstrip(".").split()) for text in texts]
        for video, texts in toy.captions(videos).items()
    }


def moved(videos: int = 18) -> MappingSource:
    """The toy features with another mean and spread."""
    clips = {
        f"vid{number}": ClipFeatures(
            {kind: StreamFeatures(3 * s.values + 5, s.times) for kind, s in toy.features(number).streams.items()},
            duration=4.0,
        )
        for number in range(videos)
    }
    return MappingSource(clips, toy.source(1).backbones)


def checkpoint(name: str = "fusion", **training: Any) -> Checkpoint:
    """Random weights on the toy data, as if they were trained."""
    made = prepare(toy.recipe(name, seed=5), toy.captions(), toy.LEXICON, toy.source())
    backbones = {kind: dict(record) for kind, record in toy.source(1).backbones.items()}
    about = {"untrained": False, "data": {"name": "toys"}, **training}
    return Checkpoint(made.model, made.vocabulary, made.lexicon, backbones, training=about, name="old", digest="d1",
                      system=name)  # fmt: skip


def begun(initial: InitialWeights, **given: Any) -> PreparedRun:
    values = {"captions": shifted(), "lexicon": LEXICON, "source": toy.source(), **given}
    recipe = values.pop("recipe", toy.recipe(initial.checkpoint.system))
    return prepare(
        recipe, values.pop("captions"), values.pop("lexicon"), values.pop("source"), initial=initial, **values
    )


def fit(run: Path, initial: InitialWeights, **train: Any) -> TrainResult:
    recipe = toy.recipe(initial.checkpoint.system, **train)
    return Trainer(recipe, shifted(), LEXICON, toy.source(), run, tensorboard=False, initial=initial).fit()


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_model_with_more_words_scores_the_old_ones_as_before(name: str) -> None:
    old = checkpoint(name)
    new = begun(InitialWeights(old), lexicon=toy.LEXICON)
    words = len(old.vocabulary)
    assert new.vocabulary.words[:words] == old.vocabulary.words
    assert set(new.vocabulary.words[words:]) == {"glad", "robot", "spins"}
    batch = FeatureTable.build(toy.source().read(["vid0", "vid1"]), 2, old.model.config).tensors
    tokens = torch.tensor([[1, 4, 5], [1, 6, 7]])
    with torch.no_grad():
        before, after = (model.eval()(batch, tokens, torch.arange(2)).padded() for model in (old.model, new.model))
    assert after.shape[-1] == words + 3
    torch.testing.assert_close(after[..., :words], before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fusion", "epan"])
def test_rows_of_categories_and_emotion_words_go_by_their_names(name: str) -> None:
    old = checkpoint(name)
    new = begun(InitialWeights(old))
    assert new.lexicon == LEXICON
    mask = next(buffer for label, buffer in new.model.named_buffers() if label.endswith("words_of"))
    assert torch.equal(mask, torch.from_numpy(LEXICON.mask()))
    for table, before, after in (
        ("categories", toy.LEXICON.categories, LEXICON.categories),
        ("words", toy.LEXICON.words, LEXICON.words),
    ):
        rows, own = old.model.word_tables()[table], new.model.word_tables()[table]
        for number, word in enumerate(after):
            if word in before:
                assert torch.equal(own[number], rows[before.index(word)]), word
            else:
                assert not any(torch.equal(own[number], row) for row in rows), word
    heads = {
        key: value
        for key, value in new.model.state_dict().items()
        if "category_head" in key and key in old.model.state_dict()
    }
    grown = [key for key, value in heads.items() if len(value) == 3]
    assert grown
    for key in grown:
        mean = old.model.state_dict()[key].mean(dim=0)
        torch.testing.assert_close(heads[key][LEXICON.categories.index("anger")], mean)


@pytest.mark.slow
def test_a_new_word_starts_near_those_of_its_emotion_or_else_of_all() -> None:
    old = checkpoint()
    new = begun(InitialWeights(old), lexicon=LEXICON)
    output, before = new.model.decoder.output, old.model.decoder.output
    ids, own = new.vocabulary.ids, old.vocabulary.ids
    with torch.no_grad():
        assert torch.equal(output.weight[ids["glad"]], before.weight[own["happy"]])  # the one word of joy that it had
        known = before.weight[len(SPECIALS) :]
        torch.testing.assert_close(output.weight[ids["robot"]], known.mean(dim=0))
        torch.testing.assert_close(output.bias[ids["spins"]], before.bias[len(SPECIALS) :].mean())
        rows = new.model.decoder.embedding.weight
    assert not torch.equal(rows[ids["robot"]], rows[ids["spins"]])  # or they would be read as one word


@pytest.mark.slow
def test_new_words_take_given_vectors_and_known_ones_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text(
        "".join(f"{word} {' '.join(['0.5'] * 16)}\n" for word in ("robot", "girl", "glad"))
    )
    old = checkpoint()
    new = begun(InitialWeights(old), glove=tmp_path / "glove.txt")
    rows, before = new.model.decoder.embedding.weight, old.model.decoder.embedding.weight
    assert rows[new.vocabulary.ids["robot"]].tolist() == [0.5] * 16
    assert torch.equal(rows[new.vocabulary.ids["girl"]], before[old.vocabulary.ids["girl"]])
    assert new.model.word_tables()["words"][LEXICON.word_ids["glad"]].tolist() == [0.5] * 16


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_statistics_of_features_are_kept_or_taken_from_the_new_clips(name: str) -> None:
    old, source = checkpoint(name), moved()
    fresh = prepare(toy.recipe(name), shifted(), LEXICON, source)
    kept = begun(InitialWeights(old), source=source)
    refitted = begun(InitialWeights(old, refit_normalisation=True), source=source)
    means = [key for key in old.model.state_dict() if key.endswith((".mean", ".scale"))]
    assert means
    for key in means:
        assert torch.equal(kept.model.state_dict()[key], old.model.state_dict()[key])
        assert torch.equal(refitted.model.state_dict()[key], fresh.model.state_dict()[key])
    assert kept.fingerprint != refitted.fingerprint


@pytest.mark.parametrize("case", CASES)
def test_the_parts_of_a_system_hold_each_parameter_once(case: str) -> None:
    model = system(case)
    parts = model.parts()
    assert {"decoder", "words"} <= parts.keys() <= {"encoder", "emotion", "decoder", "words"}
    assert sorted(name for names in parts.values() for name in names) == sorted(n for n, _ in model.named_parameters())
    embedding = next(name for name, p in model.named_parameters() if p is model.word_tables()["vocabulary"])
    assert embedding in parts["words"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "freeze"), [("fusion", ("encoder", "emotion")), ("dcgn", ("words",)), ("sa-lstm", ("decoder",))]
)
def test_a_frozen_part_stays_and_the_others_are_trained(tmp_path: Path, name: str, freeze: tuple[str, ...]) -> None:
    old = checkpoint(name)
    initial = InitialWeights(old, freeze)
    start = begun(initial).model.state_dict()
    result = fit(tmp_path, initial, epochs=1)
    parts = result.checkpoint.model.parts()
    for part, names in parts.items():
        same = [torch.equal(start[key], result.checkpoint.model.state_dict()[key]) for key in names]
        assert all(same) if part in freeze else not all(same), part
    card = (tmp_path / "README.md").read_text()
    assert f"- not trained further: {', '.join(sorted(freeze))}\n" in card


def test_an_unknown_part_lists_those_that_there_are_and_all_parts_are_too_many() -> None:
    with pytest.raises(UsageError, match="has no part") as caught:
        InitialWeights(checkpoint("canet"), ("emotion",))
    assert str(caught.value) == "old: canet has no part 'emotion' to freeze; its parts: encoder, decoder, words"
    with pytest.raises(UsageError, match="nothing is left to train"):
        InitialWeights(checkpoint("sa-lstm"), ("words", "decoder"))


@pytest.mark.slow
def test_a_run_that_is_stopped_and_resumed_has_the_weights_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initial = InitialWeights(checkpoint(), ("emotion",))
    whole = fit(tmp_path / "whole", initial)
    step = Loop._step

    def stops(self: Loop, batch: Any, rate: float, epoch: int, number: int) -> Any:
        if (epoch, number) == (1, 1):
            raise KeyboardInterrupt
        return step(self, batch, rate, epoch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", stops)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "cut", initial)
    other = checkpoint()
    other.digest = "d2"
    for another in (InitialWeights(other, ("emotion",)), InitialWeights(initial.checkpoint)):
        with pytest.raises(UsageError, match="other data or settings"):
            fit(tmp_path / "cut", another)
    fit(tmp_path / "cut", initial)
    for name in ("model.safetensors", "vocabulary.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert whole.checkpoint.training["init"]["digest"] == "d1"


@pytest.mark.slow
def test_the_checkpoint_and_its_card_say_where_the_weights_came_from(tmp_path: Path) -> None:
    old = checkpoint(
        init={"name": "first\n# no heading", "digest": "d0", "data": "films", "earlier": [3, {"name": "zero"}]}
    )
    made = fit(tmp_path, InitialWeights(old, refit_normalisation=True), epochs=0).checkpoint
    assert not made.untrained
    noted = json.loads((tmp_path / "config.json").read_text())["training"]["init"]
    assert noted == {
        "name": "old",
        "data": "toys",
        "digest": "d1",
        "freeze": [],
        "refit_normalisation": True,
        "untrained": False,
        "earlier": [
            {"name": "first # no heading", "data": "films", "digest": "d0"},
            {"name": "zero", "data": "", "digest": ""},
        ],
    }
    card = (tmp_path / "README.md").read_text()
    assert "- started from the weights of old (digest d1), trained on toys\n" in card
    assert "- which started from those of first # no heading (digest d0), trained on films\n" in card
    assert "- features standardised by the statistics of this data\n" in card


@pytest.mark.slow
def test_random_weights_stay_marked_until_they_are_trained(tmp_path: Path) -> None:
    assert fit(tmp_path, InitialWeights(checkpoint(untrained=True)), epochs=0).checkpoint.untrained


def test_a_recipe_comes_from_the_checkpoint_without_what_belongs_to_a_run() -> None:
    settings = {"learning_rate": 0.3, "epochs": 7, "seed": 9, "select": "oracle", "schedule": "cosine", "later": 1}
    recipe = InitialWeights(checkpoint(settings={**settings, "self_critical_epochs": 5})).recipe(None, None)
    assert (recipe.name, recipe.system) == ("fine-tuning", "fusion")
    assert (recipe.train.learning_rate, recipe.train.epochs, recipe.train.schedule) == (0.3, 7, "cosine")
    assert (recipe.train.seed, recipe.train.select, recipe.train.self_critical_epochs) == (0, "cfs", 0)
    assert recipe.model["width"] == toy.MODEL["width"]


@pytest.mark.parametrize(
    ("captions", "epochs", "said"),
    [
        (1000, 40, "40 epochs of 15 steps: old had 12, which are few steps for 1000 captions (--epochs sets"),
        (30, 60, "60 epochs of 1 step: old had 12"),
        (3600, 12, ""),
        (40_000, 12, ""),
    ],
)
def test_few_captions_have_more_epochs(
    captions: int, epochs: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    initial = InitialWeights(checkpoint(settings={"epochs": 12, "batch_size": 64}))
    recipe = initial.with_enough_steps(initial.recipe(None, None), captions)
    assert recipe.train.epochs == epochs
    assert bool(said) == bool(shown := capsys.readouterr().err)
    assert said in shown


def test_settings_that_are_none_are_named_and_left(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = InitialWeights(checkpoint(settings={"epochs": "many"})).recipe(None, None)
    assert recipe.train.epochs == 30
    assert "old: its settings of training are not used (epochs" in capsys.readouterr().err


def test_another_system_another_width_and_other_backbones_are_refused_by_name(tmp_path: Path) -> None:
    initial = InitialWeights(checkpoint())
    with pytest.raises(UsageError, match=r"^old: holds a fusion model, not epan; leave --model out"):
        initial.recipe(None, "epan")
    path = tmp_path / "wide.toml"
    path.write_text("[train]\nepochs = 4\n[model]\ndropout = 0.6\n")
    kept = initial.recipe(str(path), None)
    assert (kept.train.epochs, kept.model["dropout"], kept.model["width"]) == (4, 0.6, 16)
    path.write_text("[model]\nwidth = 32\n")
    with pytest.raises(UsageError, match=r"^old: was trained with width 16, not 32 \(recipe wide\); "):
        initial.recipe(str(path), None)
    with pytest.raises(UsageError, match=r"^old: was trained with fine_grained true, not false"):
        initial.check(kept.leaving_out(["fine-grained"]))
    source = toy.source()
    source.backbones["motion"]["name"] = "r3d"  # type: ignore[index]
    with pytest.raises(CheckpointError, match=r"^old: trained with motion backbone 'memory', not 'r3d'; "):
        begun(initial, source=source)


def test_data_without_a_lexicon_of_its_own_keep_the_checkpoints() -> None:
    initial = InitialWeights(checkpoint())
    assert initial.lexicon(Lexicon.general()) == toy.LEXICON
    assert initial.lexicon(LEXICON) is LEXICON


@pytest.mark.slow
def test_categories_that_the_data_lack_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    begun(InitialWeights(checkpoint(), ("words",)), lexicon=Lexicon({"joy": ["glad"]}))
    said = " ".join(capsys.readouterr().err.split())
    assert "started from old: 12 words, 3 of them new; lexicon of 1 category, 0 new, and 1 words, 1 new" in said
    assert "lacks 1 category of old, which the new checkpoint cannot report: sadness" in said
    assert "--freeze words keeps 3 new words as they start" in said


@pytest.mark.slow
def test_labels_that_a_checkpoint_was_trained_on_stay_with_what_starts_from_it(tmp_path: Path) -> None:
    initial = InitialWeights(checkpoint(labels_by="teacher"))
    for own, expected in (("", "teacher"), ("other", "other and teacher")):
        trainer = Trainer(
            toy.recipe(), shifted(), LEXICON, toy.source(), tmp_path, tensorboard=False, initial=initial, labels_by=own
        )
        assert trainer.facts.labels_by == expected
        assert trainer.labels_by == own  # the references are not the teacher's
