"""What is recorded is what the model used: attention, gates, objects, emotion, and the words' probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import exp, sqrt

import pytest
import torch
from torch import Tensor, nn

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.special_tokens import END, START
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.explaining.clip_trace import trace_clip
from evcap_cli.explaining.trace_values import ClipTrace
from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.collate import collate
from evcap_cli.network.layers import lstm_cell, masked_mean
from evcap_cli.search.beam_search import BeamConfig, beam_search
from evcap_cli.search.rerank import Rerank
from evcap_cli.search.reranking import best_captions
from evcap_cli.systems.contract import CaptionModel
from evcap_cli.systems.fusion import Fusion
from tests.network import small
from tests.systems.small import system

BEAM = BeamConfig(size=3, max_words=4)
CLIP = small.clip(3, 2, 5)
LEXICON = Lexicon({"anger": ["a", "b"], "fear": ["c", "d", "e"], "joy": ["f"], "trust": ["g"]})


def fusion(**changes: object) -> Fusion:
    torch.manual_seed(3)
    model = Fusion(small.config(**changes), small.LEXICON).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.decoder.output.bias[END] -= 8  # captions of some words
    return model


def of(model: CaptionModel, name: str = "fusion") -> Checkpoint:
    words = [f"w{number}" for number in range(model.config.vocabulary - 4)]
    return Checkpoint(model, Vocabulary(words), LEXICON, {}, system=name)


def trace(clip: ClipFeatures = CLIP, **changes: object) -> ClipTrace:
    return trace_clip(of(fusion(**changes)), clip, BEAM)


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("decoder_audio", [False, True])
def test_the_recorded_attention_gives_the_decoder_s_own_states_and_scores(length: int, decoder_audio: bool) -> None:
    model = fusion(decoder_audio=decoder_audio)
    memory = model.prepare(small.batch(small.clips())).memory
    tokens = torch.tensor([[START, 5, 7, 6][:length]] * 4)
    clips = torch.arange(4)
    with torch.no_grad():
        scores, words = model.decoder.with_attention(memory, tokens, clips)
        assert len(words) == length
        state, decoder = model.start(memory), model.decoder
        hidden = cell = torch.zeros(4, model.config.lstm_width)
        for step, word in enumerate(words):
            assert torch.allclose(word.moments.sum(dim=1), torch.ones(4))
            assert (word.moments[~memory.mask] == 0).all()
            assert (word.moments[memory.mask] > 0).all()
            context = torch.cat(word.found, dim=-1)
            # Z_t by definition: the weighted sum of [V; E] and of T_t, whose alignment is computed anew
            phrases = decoder.phrases(decoder.word_projection(decoder.embedding(tokens[:, : step + 1])))
            energies = memory.alignment_keys.values[:, :, None] / 2 + decoder.alignment_phrase(phrases)[:, None]
            aligned = (torch.tanh(energies) @ decoder.alignment_vector).softmax(dim=-1) @ phrases
            content = torch.cat([memory.content, aligned], dim=-1)
            assert torch.allclose((word.moments[:, :, None] * content).sum(dim=1), context, atol=1e-5)
            # and it is this Z_t that drives the LSTM of the search
            entering = torch.cat([decoder.embedding(tokens[:, step]), context, hidden], dim=-1)
            hidden, cell = lstm_cell(decoder.gates(entering), cell)
            searched, state = model.step(memory, state, tokens[:, step])
            assert torch.allclose(decoder.output(hidden), searched, atol=1e-5)
            assert torch.allclose(scores.padded()[:, step], searched, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"fine_grained": False}, {"audio_visual": False}, {"fine_grained": False, "audio_visual": False}],
    ids=["A and B", "A", "B", "neither"],
)
def test_words_are_those_of_the_search_and_their_probabilities_its_score(changes: dict[str, bool]) -> None:
    model = fusion(**changes)
    found = trace_clip(of(model), CLIP, BEAM)
    best = beam_search(model, model.prepare(collate([CLIP], model.config)).memory, BEAM)[0][0]
    assert found.hypothesis.tokens == best.tokens
    assert len(best.tokens) > 1
    assert [word.text for word in found.words] == [f"w{token - 4}" for token in best.tokens] + ["(end)"]
    total = sum(word.log_probability for word in found.words)
    assert total == pytest.approx(best.score * BEAM.divisor(len(best.tokens) + 1), abs=1e-4)
    for word in found.words:
        assert word.attention is not None
        assert len(word.attention) == 3
        assert sum(word.attention) == pytest.approx(1, abs=1e-5)
        assert word.text not in dict(word.others)
        assert sum(p for _, p in word.others) + exp(word.log_probability) <= 1 + 1e-5
    assert (found.appearance_share is None) == (not model.config.fine_grained) == (found.objects is None)
    assert (found.audio_attention is None) == (not model.config.audio_visual)
    assert len(found.lacks) == len(changes)


def test_a_caption_that_re_ranking_chose_is_the_one_looked_into() -> None:
    model = fusion()
    checkpoint, beam = of(model), replace(BEAM, rerank=Rerank(consensus=9.0))
    found = trace_clip(checkpoint, CLIP, beam)
    prepared = model.prepare(collate([CLIP], model.config))
    best = best_captions(model, prepared, beam, checkpoint.vocabulary, checkpoint.lexicon)[0][0]
    assert found.hypothesis.tokens == best.tokens != trace_clip(checkpoint, CLIP, BEAM).hypothesis.tokens
    assert [word.text for word in found.words] == [f"w{token - 4}" for token in best.tokens] + ["(end)"]


def test_alternatives_are_the_likeliest_words_that_may_be_told() -> None:
    model = fusion()
    found = trace_clip(of(model), CLIP, BEAM)
    with torch.no_grad():
        logits = model(collate([CLIP], model.config), torch.tensor([[START]]), torch.tensor([0])).logits
    first = logits[0].softmax(dim=-1)
    names = {2: "(end)"} | {number: f"w{number - 4}" for number in range(4, 11)}
    chances = {name: float(first[number]) for number, name in names.items()}
    word = found.words[0].text
    assert found.words[0].log_probability == pytest.approx(float(first.log()[found.hypothesis.tokens[0]]), abs=1e-5)
    likeliest = sorted((name for name in chances if name != word), key=lambda name: -chances[name])[:3]
    assert [word for word, _ in found.words[0].others] == likeliest
    assert [p for _, p in found.words[0].others] == pytest.approx([chances[name] for name in likeliest], abs=1e-5)


def captured(module: nn.Module, run: Callable[[], object]) -> tuple[tuple[Tensor, ...], object]:
    calls: list[tuple[tuple[Tensor, ...], object]] = []
    handle = module.register_forward_hook(lambda _, given, result: calls.append((given, result)))
    run()
    handle.remove()
    return calls[-1]


def test_the_gate_is_what_mixes_appearance_with_motion() -> None:
    model = fusion()
    batch = small.batch([CLIP])
    with torch.no_grad():
        (streams,), fused = captured(model.fusion, lambda: model.prepare(batch))
        gate = model.fusion.appearance_gate(streams.appearance, streams.motion, streams.mask)
    assert torch.allclose(gate * streams.appearance + (1 - gate) * streams.motion, fused.parts[0], atol=1e-6)
    assert trace_clip(of(model), CLIP, BEAM).appearance_share == pytest.approx(
        gate[0, :3].mean(dim=1).tolist(), abs=1e-5
    )


def test_object_weights_are_the_softmax_of_both_attentions_and_keep_their_times() -> None:
    model = fusion(fusion_heads=1)
    with torch.no_grad():
        (streams,), _ = captured(model.fusion, lambda: model.prepare(small.batch([CLIP])))
    found = trace_clip(of(model), CLIP, BEAM)
    assert found.objects is not None
    assert [seen.seconds for seen in found.objects] == pytest.approx(CLIP.streams["object"].times.tolist())
    for name, query, module in (
        ("by_appearance", streams.appearance, model.fusion.appearance_looks_at_objects),
        ("by_motion", streams.motion, model.fusion.motion_looks_at_objects),
    ):
        with torch.no_grad():
            asked, keys = module.query(query[0, :3]), module.key(streams.objects.values[0, :2])
            weights = (asked @ keys.T / sqrt(keys.shape[1])).softmax(dim=1)
        for number, seen in enumerate(found.objects):
            assert getattr(seen, name) == pytest.approx(weights[:, number].tolist(), abs=1e-5)
    word = found.words[0]
    weights = [found.through_attention(word, seen.by_motion) for seen in found.objects]
    assert sum(weights) == pytest.approx(1, abs=1e-5)


def test_hearing_is_the_weight_of_the_global_sound_in_the_visual_branch() -> None:
    model = fusion(dual_layers=1, dual_heads=1)
    assert model.audio_visual is not None
    with torch.no_grad():
        (visual, mask, audio), _ = captured(model.audio_visual, lambda: model.prepare(small.batch([CLIP])))
        attention = model.audio_visual.visual_layers[0].attention
        rows = torch.cat([masked_mean(audio.values, audio.mask)[:, None], visual], dim=1)[0, :4]
        weights = (attention.query(visual[0, :3]) @ attention.key(rows).T / sqrt(rows.shape[1])).softmax(dim=1)
    assert mask[0].tolist() == [True] * 3 + [False] * 3
    assert trace_clip(of(model), CLIP, BEAM).audio_attention == pytest.approx(weights[:, 0].tolist(), abs=1e-5)


def test_the_reported_emotion_is_the_mean_of_picture_and_sound() -> None:
    found = trace()
    assert [branch.name for branch in found.branches] == ["picture", "sound"]
    picture, sound = (branch.categories for branch in found.branches)
    assert sum(picture) == pytest.approx(1, abs=1e-5)
    assert sum(sound) == pytest.approx(1, abs=1e-5)
    assert picture != pytest.approx(sound, abs=1e-3)
    assert found.categories == pytest.approx([(a + b) / 2 for a, b in zip(picture, sound, strict=True)], abs=1e-5)
    for branch in found.branches:
        chances = [p for _, p in branch.words]
        assert chances == sorted(chances, reverse=True)
        assert {word for word, _ in branch.words} <= set(LEXICON.words)


@pytest.mark.slow
def test_a_clip_without_sound_and_objects_says_so() -> None:
    found = trace(small.clip(3, 0, 0))
    assert found.objects == ()
    assert found.audio_attention is None
    assert [branch.present for branch in found.branches] == [True, False]
    assert found.categories == pytest.approx(found.branches[0].categories, abs=1e-6)
    assert [sentence.split(":")[0] for sentence in found.lacks] == [
        "No object was found in this clip",
        "This clip has no sound",
    ]


def test_looking_leaves_nothing_on_the_model() -> None:
    model = fusion()
    trace_clip(of(model), CLIP, BEAM)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("name", "feels"), [("epan", True), ("dcgn", True), ("canet", False), ("sa-lstm", False)])
def test_other_systems_show_their_words_and_their_emotion(name: str, feels: bool) -> None:
    model = system(name).float()
    found = trace_clip(of(model, name), CLIP, BEAM)
    total = sum(word.log_probability for word in found.words)
    assert total == pytest.approx(found.hypothesis.score * BEAM.divisor(len(found.words)), abs=1e-4)
    assert all(word.attention is None for word in found.words)
    assert found.lacks[0] == f"Attention, gates and objects are shown for fusion only, not yet for {name}."
    assert [branch.name for branch in found.branches] == ["picture"] * feels
    if feels:
        assert found.categories == pytest.approx(found.branches[0].categories, abs=1e-5)


@pytest.mark.slow
def test_a_decoder_that_looks_at_objects_shows_its_own_weights() -> None:
    model = fusion(decoder_objects=True)
    found = trace_clip(of(model, "fusion+"), CLIP, BEAM)
    words = torch.tensor([[START, *found.hypothesis.tokens]])
    with torch.no_grad():
        memory = model.prepare(small.batch([CLIP])).memory
        attended = model.decoder.with_attention(memory, words, torch.tensor([0]))[1]
    assert found.objects
    assert len(attended) == len(found.words)
    for word, expected in zip(found.words, attended, strict=True):
        assert len(word.objects) == len(found.objects)
        assert sum(word.objects) == pytest.approx(1, abs=1e-5)
        assert word.objects == pytest.approx(expected.objects[0, : len(found.objects)].tolist(), abs=1e-5)
    assert all(word.objects is None for word in trace().words), "the paper's decoder attends to none"
