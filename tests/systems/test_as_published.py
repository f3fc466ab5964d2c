"""``as_published`` beyond its numbers: starts, dropout, its one table of words, older configurations."""

from __future__ import annotations

import pytest
import torch

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.network.layers import AttentionLayer, MultiHeadCrossAttention
from evcap_cli.network.losses import emotional_cross_entropy, weighted_targets
from evcap_cli.systems.dcgn import Dcgn
from evcap_cli.systems.epan import Epan, EpanConfig
from evcap_cli.training.recipe import load_recipe
from tests.systems.small import batch, system, told

WORDS = Lexicon(
    {"joy": ["merry", "joy"], "fear": ["scared", "afraid"], "rage": ["rage", "angry"], "awe": ["awed"]}, name="four"
)


def fresh(name: str, **changes: object) -> Epan:
    """As training makes it."""
    kind = {"epan": Epan, "dcgn": Dcgn}[name]
    torch.manual_seed(0)
    values = {"vocabulary": 40, "categories": 4, "words": 7, "as_published": True, **changes}
    made = kind(kind.Config(64, None, None, None, **values), torch.as_tensor(WORDS.mask()))  # type: ignore[arg-type]
    assert isinstance(made, Epan)
    return made


def test_dropout_is_where_the_released_code_has_it() -> None:
    model = fresh("dcgn")
    rates = {name: module for name, module in model.named_modules() if name.endswith(("dropout", "drop"))}
    dropping = {name for name, each in rates.items() if getattr(each, "rate", getattr(each, "p", 0.0)) > 0}
    layers = {name for name, module in model.named_modules() if isinstance(module, AttentionLayer)}
    self_attention = {"encoder.visual.encoder.layers.0", "decoder.phrases.layer"}
    assert self_attention < layers
    expected = {f"{name}.dropout" for name in layers} | {f"{name}.attention.dropout" for name in self_attention}
    assert dropping == expected | {"decoder.dynamics.drop"}


def test_the_routing_of_dcgn_drops_in_training_only_and_its_mean_is_what_it_is_otherwise() -> None:
    model = fresh("dcgn", slots=5).double()
    dynamics = model.decoder.dynamics  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(1)
    emotion, words, moments = (torch.randn(1, n, 300, generator=generator).double() for n in (30, 2, 30))
    mask = torch.ones(1, 30, dtype=torch.bool)
    with torch.no_grad():
        described, of_moments = dynamics.describe(dynamics.word(words)), dynamics.aggregate_moments(moments, mask)
        dynamics.eval()
        still = dynamics(emotion, mask, described, of_moments)
        assert torch.equal(dynamics(emotion, mask, described, of_moments), still)
        dynamics.train()
        one, other = (dynamics(emotion, mask, described, of_moments) for _ in range(2))
    assert not torch.equal(one, other)
    assert float((one - still).norm() / (still - emotion).norm()) < 1


def test_weights_start_as_in_the_released_code() -> None:
    model = fresh("epan")
    attention = model.encoder.perception.word_encoder.layers[0].attention
    assert isinstance(attention, MultiHeadCrossAttention)
    assert float(attention.query.weight.detach().std()) == pytest.approx((2 / 332) ** 0.5, rel=0.02)
    assert float(attention.join.weight.detach().std()) == pytest.approx((2 / 428) ** 0.5, rel=0.02)
    decoder = model.decoder
    for part, inputs in (
        (model.encoder.visual.projection.linear.weight, 64),
        (model.encoder.visual.projection.linear.bias, 64),
        (decoder.attention.key.weight, 900),  # type: ignore[attr-defined]
        (decoder.attention_told.weight, 900),  # type: ignore[attr-defined]
        (decoder.attention.vector, 512),  # type: ignore[attr-defined]
        (decoder.gates.weight, 512),
        (decoder.gates.bias, 512),
        (decoder.recurrent_bias, 512),
    ):
        assert part is not None
        assert float(part.detach().abs().max()) == pytest.approx(inputs**-0.5, rel=0.05)
        assert float(part.detach().abs().max()) <= inputs**-0.5
    assert bool((decoder.alignment.key.bias == 1).all())
    assert float(decoder.embedding.weight.detach().std()) == pytest.approx(1, abs=0.05)
    assert float(model.encoder.vectors.words.detach().std()) == pytest.approx(1, abs=0.05)


def test_a_category_is_the_emotion_word_of_its_name() -> None:
    model = fresh("epan")
    model.fit_lexicon(WORDS)
    assert WORDS.categories == ("awe", "fear", "joy", "rage")
    categories, words = model.encoder.vectors()
    named = [WORDS.words.index(word) for word in ("awed", "scared", "joy", "rage")]
    assert torch.equal(categories[0], words[0, named])
    assert set(model.word_tables()) == {"vocabulary", "words"}
    assert set(fresh("epan", as_published=False).word_tables()) == {"vocabulary", "categories", "words"}


def test_a_file_cannot_name_a_category_by_a_word_that_is_not_there() -> None:
    model = fresh("epan")
    model.encoder.vectors.names.fill_(10**9)
    categories, words = model.encoder.vectors()
    assert torch.equal(categories[0, 0], words[0, -1])


def test_cross_entropy_is_divided_by_the_sum_of_weights() -> None:
    model = system("epan, as published")
    inputs, targets = told()
    with torch.no_grad():
        output = model(batch(model), inputs, targets.clip_index)
        _, weights = weighted_targets(output, targets, 0.1)
        counted = int((targets.tokens > 0).sum())
        plain = emotional_cross_entropy(type(output)(**vars(output) | {"logits": output.logits.clone()}), targets, 0.1)
        found = model.losses(output, targets).values()["cross_entropy"]
    assert float(weights.sum()) > counted
    assert found == pytest.approx(float(plain) * counted / float(weights.sum()))


def test_configurations_from_before_are_read_unless_they_encoded_again_at_each_step() -> None:
    values = EpanConfig(5, None, None, None, 9).to_dict()
    del values["as_published"]
    assert EpanConfig.from_dict(values | {"reencode": False}) == EpanConfig(5, None, None, None, 9)
    with pytest.raises(ValueError, match="reencode = true is gone: train again with as_published"):
        EpanConfig.from_dict(values | {"reencode": True})


@pytest.mark.parametrize("name", ["epan", "dcgn"])
def test_the_recipes_set_what_the_released_code_does(name: str) -> None:
    recipe = load_recipe(f"{name}-released")
    assert recipe.system == name
    assert recipe.model == {"as_published": True, "normalise_streams": False}
    train = recipe.train
    assert (train.optimiser, train.learning_rate, train.weight_decay, train.clip_norm) == ("adamax", 7e-4, 1e-5, 5.0)
    assert (train.epochs, train.batch_size, train.captions_per_clip, train.precision) == (30, 128, 1, "fp32")
    assert (train.max_words, train.beam_size, train.length_penalty, train.labels) == (15, 5, 1.6, "caption")
