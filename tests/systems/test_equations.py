"""Each system against its equations written out in loops, and its size against the published one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from evcap_cli import plugins
from evcap_cli.network.config import FusionConfig
from evcap_cli.network.emotion import Perceived
from evcap_cli.systems.dcgn import SUBSPACES, DcgnConfig, DcgnDecoder, pooling
from evcap_cli.systems.epan import Epan, EpanConfig, emotion_labels
from evcap_cli.systems.fusion import Fusion
from tests.network.small import LEXICON, clips
from tests.systems.slow_systems import SlowCanet, SlowDcgn, SlowEpan, SlowSaLstm
from tests.systems.small import EPAN, SIZES, batch, captions, system, told

SLOW = {
    "sa-lstm": SlowSaLstm,
    "canet": SlowCanet,
    "epan": SlowEpan,
    "epan, appearance only": SlowEpan,
    "epan, as published": SlowEpan,
    "dcgn": SlowDcgn,
    "dcgn, as published": SlowDcgn,
}


CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW)
def test_a_forward_pass_equals_the_equations_written_out(case: str) -> None:
    model, words = system(case), captions(2, 5)
    with torch.no_grad():
        logits = model(batch(model), words, torch.tensor([1, 3])).padded()
    for row, number in enumerate((1, 3)):
        slow = SLOW[case](model, clips()[number]).scores(words[row].tolist())
        np.testing.assert_allclose(logits[row].numpy(), slow, **CLOSE)


@pytest.mark.parametrize("case", ["epan", "dcgn"])
def test_perceived_emotion_equals_the_equations_written_out(case: str) -> None:
    model = system(case)
    assert isinstance(model, Epan)
    with torch.no_grad():
        perceived = model.encoder(batch(model)).perceived
    for number, features in enumerate(clips()):
        slow = SlowEpan(model, features)
        slow.begin()
        np.testing.assert_allclose(perceived.categories[number].numpy(), slow.categories, **CLOSE)
        np.testing.assert_allclose(perceived.words[number].numpy(), slow.words, **CLOSE)


def test_emotion_changes_with_each_word_and_with_which_word() -> None:
    model, words = system("dcgn"), captions(2, 4)
    decoder = model.decoder
    assert isinstance(decoder, DcgnDecoder)
    with torch.no_grad():
        memory = model.prepare(batch(model, clips()[:2])).memory
        state = model.start(memory)
        emotions = [state.carried]
        for t in range(4):
            _, state = model.step(memory, state, words[:, t])
            emotions.append(state.carried)
        assert all(not torch.allclose(a, b) for a, b in pairwise(emotions))
        other = words.clone()
        other[:, 2] = (other[:, 2] - 3) % 19 + 4
        state = model.start(memory)
        for t in range(3):
            _, state = model.step(memory, state, other[:, t])
        assert not torch.allclose(state.carried, emotions[3])


def test_hypotheses_of_one_clip_do_not_share_their_emotion() -> None:
    model = system("dcgn")
    with torch.no_grad():
        memory = model.prepare(batch(model, clips()[:1])).memory
        _, state = model.step(memory, model.start(memory), torch.tensor([1]))
        state = state.reorder(torch.tensor([0, 0]))
        _, state = model.step(memory, state, torch.tensor([5, 9]))
        assert not torch.allclose(state.carried[0], state.carried[1])
        swapped = state.carried.flip(0)
        assert torch.equal(state.reorder(torch.tensor([1, 0])).carried, swapped)


@pytest.mark.slow
@pytest.mark.parametrize("words", [1, 2, 4, 6, 7, 16])
def test_words_are_pooled_to_rows_as_adaptive_pooling_does(words: int) -> None:
    phrases = torch.randn(2, words, 3)
    expected = torch.nn.AdaptiveAvgPool1d(6)(phrases.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(pooling(6, words) @ phrases, expected)


def test_subspaces_are_those_of_dcgn_and_refuse_other_widths() -> None:
    assert SUBSPACES == (2, 3, 5, 6, 10)
    assert sum(300 // heads for heads in SUBSPACES) == 390
    with pytest.raises(ValueError, match="width 32 must be divisible by 3 heads"):
        DcgnConfig(5, None, None, None, 9, width=32, word_hidden=32)
    with pytest.raises(ValueError, match="word_hidden 300 must be the width 60"):
        DcgnConfig(5, None, None, None, 9, width=60)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def full(name: str) -> torch.nn.Module:
    kind = plugins.system(name).load()
    config = kind.Config(512, None, None, None, vocabulary=14_052)
    with torch.device("meta"):
        return kind(config, torch.zeros(34, 179, dtype=torch.bool))


@pytest.mark.slow
def test_epan_with_clip_features_has_the_published_size() -> None:
    model = full("epan")
    assert isinstance(model, Epan)
    d, h, a = 300, 512, 512
    one_attention = h * a + d * a + 2 * a
    # EPAN's code holds three more attentions that no equation uses; they are part of its 21.1 M.
    assert count(model) + 3 * one_attention == pytest.approx(21.1e6, rel=0.002)
    # What else differs from its code, to the last number: a table row for each category beside its word, no biases of
    # keys, one bias of the LSTM instead of two.
    as_published = 14_052 * d + 180 * d + count_of_layers(d, h, a)
    table, keys, lstm = (34 + 179 - 180) * d, 8 * 128 + 2 * 32, 4 * h
    assert count(model) == as_published + table - keys - lstm


def count_of_layers(d: int, h: int, a: int) -> int:
    """EPAN's layers as its description gives them, with every bias."""

    def linear(inputs: int, outputs: int) -> int:
        return (inputs + 1) * outputs

    def layer(heads: int, inner: int) -> int:
        attention = 3 * linear(d, heads * 32) + linear(heads * 32, d)
        return attention + linear(d, inner) + linear(inner, d) + 2 * 2 * d

    emotion = 2 * 4 * layer(4, 300) + linear(300, 512) + linear(512, 34) + linear(300, 300) + linear(300, 179)
    alignment = 2 * d * a + 2 * a
    attention = (h + 3 * d) * a + 2 * a
    lstm = 4 * h * (3 * d + d + h + 2)
    return linear(512, d) + 2 * layer(1, 512) + emotion + alignment + attention + lstm + linear(h, 14_052)


@pytest.mark.parametrize(
    ("name", "size"), [("epan", 19_881_825), ("dcgn", 20_645_071), ("canet", 17_340_880), ("sa-lstm", 17_105_332)]
)
def test_the_size_of_a_system_is_what_the_documentation_says(name: str, size: int) -> None:
    assert count(full(name)) == size


def test_shapes_of_epan_are_those_of_its_description() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in full("epan").state_dict().items()}
    assert shapes["encoder.visual.projection.linear.weight"] == (300, 512)
    assert shapes["encoder.visual.encoder.layers.0.attention.query.weight"] == (32, 300)
    assert shapes["encoder.visual.encoder.layers.0.feed_forward.inner.weight"] == (512, 300)
    assert shapes["encoder.perception.word_encoder.layers.3.attention.value.weight"] == (128, 300)
    assert shapes["encoder.perception.word_encoder.layers.3.feed_forward.inner.weight"] == (300, 300)
    assert shapes["encoder.perception.category_head.0.weight"] == (512, 300)
    assert shapes["encoder.perception.category_head.1.weight"] == (34, 512)
    assert shapes["encoder.perception.word_head.1.weight"] == (179, 300)
    assert shapes["decoder.alignment.key.weight"] == (512, 300)
    assert shapes["decoder.gates.weight"] == (4 * 512, 300 + 900 + 512)
    dynamics = {name: tuple(tensor.shape) for name, tensor in full("dcgn").decoder.dynamics.state_dict().items()}
    assert dynamics["assign.weight"] == (100, 300)
    assert dynamics["query.weight"] == (390, 300)
    assert dynamics["of_slots.weight"] == (390 + 26 + 5, 300)


def test_the_fusion_model_with_both_modules_off_is_the_encoder_of_epan() -> None:
    sizes = SIZES | EPAN | {"head_width": 10, "emotion_feed_forward": 10}
    torch.manual_seed(3)
    epan = Epan(EpanConfig(**sizes | {"motion_dim": None, "encoder_heads": 3}), LEXICON).eval()
    with torch.no_grad():
        for parameter in epan.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        epan.encoder.visual.projection.mean.normal_()
    shared = {f.name for f in FusionConfig.__dataclass_fields__.values()} & set(EpanConfig.__dataclass_fields__)
    same = {name: getattr(epan.config, name) for name in shared - {"loss"}}
    fusion = Fusion(FusionConfig(**same, fine_grained=False, audio_visual=False), LEXICON).eval()

    given = {name.removeprefix("encoder."): tensor for name, tensor in epan.state_dict().items()}
    mapped: dict[str, torch.Tensor] = {}
    for name, tensor in given.items():
        if name.startswith("visual."):
            mapped[name.replace("visual.", "streams.appearance.", 1)] = tensor
        elif name.startswith(("vectors.", "words_of")):
            mapped[f"emotion.{name}"] = tensor
        elif "_encoder." in name:
            mapped[name.replace("perception.", "emotion.visual.", 1)] = tensor
    for head in ("category_head", "word_head"):  # two linear maps are one
        first, second = ([given[f"perception.{head}.{i}.{part}"] for part in ("weight", "bias")] for i in (0, 1))
        mapped[f"emotion.visual.{head}.weight"] = second[0] @ first[0]
        mapped[f"emotion.visual.{head}.bias"] = second[0] @ first[1] + second[1]
    mapped["emotion.join.weight"], mapped["emotion.join.bias"] = (
        given[f"perception.word_head.0.{part}"] for part in ("weight", "bias")
    )
    encoder = {name for name in fusion.state_dict() if not name.startswith("decoder.")}
    assert set(mapped) == encoder
    assert fusion.load_state_dict(mapped, strict=False).unexpected_keys == []
    made = batch(epan)
    made = type(made)(**{k: v.float() if v is not None and v.is_floating_point() else v for k, v in vars(made).items()})
    with torch.no_grad():
        seen, encoded = epan.encoder(made), fusion.encode(made)
    torch.testing.assert_close(encoded.visual, seen.visual)
    torch.testing.assert_close(encoded.emotion, seen.emotion)
    torch.testing.assert_close(encoded.categories, seen.perceived.categories.softmax(dim=-1))


def test_at_most_three_labels_of_a_caption_count_and_padding_none() -> None:
    _, targets = told()
    categories, words = torch.randn(4, 4), torch.randn(4, 7)
    expected = 0.0
    for logits, labels in ((categories, targets.categories), (words, targets.words)):
        terms = []
        for row, number in enumerate(targets.clip_index.tolist()):
            wanted = labels[row].nonzero().flatten().tolist()[:3]
            terms += [-float(logits[number].log_softmax(0)[label]) for label in wanted]
        expected += sum(terms) / len(terms)
    assert any(int(row.sum()) > 3 for row in targets.words)
    perceived = Perceived(torch.zeros(4, 6, 1), categories, words, torch.ones(4, dtype=torch.bool))
    assert float(emotion_labels(perceived, targets)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_epan_is_the_weighted_sum_of_its_terms() -> None:
    model = system("epan")
    fed, targets = told()
    values = model.losses(model(batch(model), fed, targets.clip_index), targets).values()
    assert set(values) == {"total", "cross_entropy", "contrast", "classification"}
    total = values["cross_entropy"] + 0.2 * values["contrast"] + 0.2 * values["classification"]
    assert values["total"] == pytest.approx(total)
    assert model.config.loss.emotion_word_weight == 0.1
