from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evcap_cli.network import decoder_state, tanh_energies
from evcap_cli.network.batch import Encoded
from evcap_cli.network.decoder import Decoder
from evcap_cli.network.layers import emit_word, lstm_cell
from tests.network.decoder_cases import captions, encoded_clips, small_decoder

VARIANTS: list[dict[str, Any]] = [
    {},
    {"pre_norm": True, "phrase_heads": 2},
    {"word_width": 5, "decoder_audio": True},
    {"decoder_objects": True},
]


@pytest.fixture(params=VARIANTS, ids=["paper", "pre-norm, two heads", "narrow words, audio", "objects"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return small_decoder(**request.param)


def written_out(decoder: Decoder, encoded: Encoded, clip: int, words: Tensor) -> Tensor:
    """Section 1.5 for one caption, the prefix encoded anew for each step and C_t built as the paper prints it."""
    config, real = decoder.config, encoded.mask[clip]
    visual, emotion = encoded.visual[clip][real], encoded.emotion[clip][real]
    layer, attention = decoder.phrases.layer, decoder.phrases.layer.attention
    d, H = config.width, config.phrase_heads
    cell = nn.LSTMCell(decoder.gates.in_features - config.lstm_width, config.lstm_width).double()
    entering = cell.weight_ih.shape[1]
    with torch.no_grad():
        cell.weight_ih.copy_(decoder.gates.weight[:, :entering])
        cell.weight_hh.copy_(decoder.gates.weight[:, entering:])
        cell.bias_ih.copy_(decoder.gates.bias)
        cell.bias_hh.zero_()
    state = (torch.zeros(1, config.lstm_width, dtype=torch.float64),) * 2
    logits = []
    for t in range(1, len(words) + 1):
        embedded = decoder.embedding(words[:t])
        entered = decoder.word_projection(embedded).clone()
        for position in range(t):
            for column in range(d):
                angle = position / 10000 ** (column // 2 * 2 / d)
                entered[position, column] += math.sin(angle) if column % 2 == 0 else math.cos(angle)
        asked = layer.attention_norm(entered) if config.pre_norm else entered
        query, key, value = attention.query(asked), attention.key(asked), attention.value(asked)
        mixed = torch.zeros_like(entered)
        for j in range(t):
            for head in range(H):
                part = slice(head * d // H, (head + 1) * d // H)
                seen = torch.stack([query[j, part] @ key[i, part] / math.sqrt(d / H) for i in range(j + 1)]).softmax(0)
                mixed[j, part] = sum(seen[i] * value[i, part] for i in range(j + 1))
        if config.pre_norm:
            rows = entered + attention.join(mixed)
            phrases = decoder.phrases.norm(rows + layer.feed_forward(layer.feed_forward_norm(rows)))
        else:
            rows = layer.attention_norm(entered + attention.join(mixed))
            phrases = layer.feed_forward_norm(rows + layer.feed_forward(rows))
        told = torch.zeros(len(visual), d, dtype=torch.float64)
        for i, moment in enumerate(visual):
            inner = decoder.alignment_visual(moment) + decoder.alignment_phrase(phrases)
            told[i] = (torch.tanh(inner) @ decoder.alignment_vector).softmax(0) @ phrases
        parts = [visual, emotion, *([encoded.audio[clip][real]] if config.decoder_audio else []), told]
        content = torch.cat(parts, dim=1)
        key_weight = torch.cat([decoder.attention_content.weight, decoder.attention_phrase.weight], dim=1)
        keys = content @ key_weight.T + decoder.attention_content.bias + decoder.attention_state(state[0])
        found = (torch.tanh(keys) @ decoder.attention_vector).softmax(0) @ content
        if decoder.object_look is not None:
            look, things = decoder.object_look, encoded.objects[clip][encoded.object_mask[clip]]
            asked = look.of_phrase(phrases[-1]) + look.of_state(state[0][0])
            chances = torch.stack([look.key(thing) @ asked / math.sqrt(d) for thing in things]).softmax(0)
            found = torch.cat([found, chances @ things])
        state = cell(torch.cat([embedded[-1], found])[None], state)
        logits.append(decoder.output(state[0])[0])
    return torch.stack(logits)


def test_a_forward_pass_equals_the_equations_written_out(decoder: Decoder) -> None:
    encoded, clips = encoded_clips(4), torch.tensor([3, 0, 1, 3, 2])
    words = captions(5, 7)
    with torch.no_grad():
        logits = decoder.teacher_forced(decoder.prepare(encoded), words, clips).padded()
        for row, clip in enumerate(clips.tolist()):
            torch.testing.assert_close(logits[row], written_out(decoder, encoded, clip, words[row]))


def test_one_causal_pass_equals_going_word_by_word(decoder: Decoder) -> None:
    encoded = encoded_clips(3)
    words, clips = captions(6, 7), torch.tensor([0, 0, 1, 1, 2, 2])
    with torch.no_grad():
        memory = decoder.prepare(encoded)
        causal = decoder.teacher_forced(memory, words, clips).padded()
        state = decoder.start(memory).reorder(torch.arange(len(memory)).repeat_interleave(2))
        for t in range(words.shape[1]):
            logits, state = decoder.step(memory, state, words[:, t])
            torch.testing.assert_close(logits, causal[:, t])


@pytest.mark.parametrize("room", [0, decoder_state.MOST_ROOM])
def test_beams_swapped_at_every_step_keep_their_own_past(
    decoder: Decoder, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_state, "MOST_ROOM", room)
    generator = torch.Generator().manual_seed(5)
    B, K = 3, 4
    with torch.no_grad():
        memory = decoder.prepare(encoded_clips(B))
        state = decoder.start(memory)
        past = torch.empty(B, 0, dtype=torch.long)
        for t in range(decoder.config.max_words + 1):
            words = torch.randint(4, 23, (len(past),), generator=generator)
            past = torch.cat([past, words[:, None]], dim=1)
            logits, state = decoder.step(memory, state, words)
            torch.testing.assert_close(logits, decoder.teacher_forced(memory, past, state.clips).padded()[:, -1])
            here = len(past) // B
            parents = torch.randint(0, here, (B, K), generator=generator)
            rows = (torch.arange(B)[:, None] * here + parents).flatten()
            past, state = past[rows], state.reorder(rows)
            assert state.words == t + 1


def test_a_clip_is_told_alike_beside_any_neighbours(decoder: Decoder) -> None:
    encoded, words = encoded_clips(4), captions(1, 5)
    with torch.no_grad():
        together = decoder.teacher_forced(decoder.prepare(encoded), words.expand(4, -1), torch.arange(4)).padded()
        for clip in range(4):
            alone = Encoded(*(None if v is None else v[clip : clip + 1] for v in vars(encoded).values()))
            told = decoder.teacher_forced(decoder.prepare(alone), words, torch.tensor([0])).padded()
            torch.testing.assert_close(told[0], together[clip])


def test_masked_moments_and_words_behind_the_end_change_nothing(decoder: Decoder) -> None:
    encoded, words, clips = encoded_clips(3), captions(3, 6), torch.arange(3)
    with torch.no_grad():
        before = decoder.teacher_forced(decoder.prepare(encoded), words, clips).padded()
        encoded.visual[~encoded.mask] = 1e3
        encoded.emotion[~encoded.mask] = -1e3
        words[:, 4:] = 0
        after = decoder.teacher_forced(decoder.prepare(encoded), words, clips).padded()
    torch.testing.assert_close(after[:, :4], before[:, :4])


def test_more_words_than_configured_are_refused() -> None:
    decoder = small_decoder()
    memory = decoder.prepare(encoded_clips(1))
    with pytest.raises(ValueError, match="max_words 6"):
        decoder.teacher_forced(memory, captions(1, 8), torch.tensor([0])).padded()
    state = decoder.start(memory)
    for word in captions(1, 7)[0]:
        _, state = decoder.step(memory, state, word[None])
    with pytest.raises(ValueError, match="max_words 6"):
        decoder.step(memory, state, torch.tensor([4]))


def test_audio_is_asked_for_where_the_configuration_joins_it() -> None:
    encoded = encoded_clips(1)
    encoded.audio = None
    with pytest.raises(ValueError, match="no audio"):
        small_decoder(decoder_audio=True).prepare(encoded)
    encoded = encoded_clips(1)
    encoded.objects = None
    with pytest.raises(ValueError, match="hands over no objects"):
        small_decoder(decoder_objects=True).prepare(encoded)


def test_all_parameters_learn_and_gradients_equal_those_of_the_equations(decoder: Decoder) -> None:
    encoded, words, clips = encoded_clips(3), captions(4, 6), torch.tensor([2, 0, 2, 1])
    for tensor in (encoded.visual, encoded.emotion):
        tensor.requires_grad_()
    weights = torch.randn(4, 6, 23, dtype=torch.float64)
    learned = [*decoder.parameters(), encoded.visual, encoded.emotion]
    fast = (decoder.teacher_forced(decoder.prepare(encoded), words, clips).padded() * weights).sum()
    with torch.enable_grad():
        slow = sum(
            (_graph(decoder, encoded, clip, words[r]) * weights[r]).sum() for r, clip in enumerate(clips.tolist())
        )
    gradients = torch.autograd.grad(fast, learned)
    expected = torch.autograd.grad(slow, learned)
    for got, want in zip(gradients, expected, strict=True):
        assert bool(got.any())
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)


def _graph(decoder: Decoder, encoded: Encoded, clip: int, words: Tensor) -> Tensor:
    """The equations for one caption as plain tensor expressions, everything stored for the backward pass."""
    real = encoded.mask[clip]
    parts = [encoded.visual, encoded.emotion, *([encoded.audio] if decoder.config.decoder_audio else [])]
    content = torch.cat([part[clip][real] for part in parts], dim=1)
    embedded = decoder.embedding(words)
    phrases = decoder.phrases(decoder.word_projection(embedded)[None])[0]
    inner = decoder.alignment_visual(encoded.visual[clip][real])[:, None] + decoder.alignment_phrase(phrases)
    energies = torch.tanh(inner) @ decoder.alignment_vector
    hidden = cell = torch.zeros(decoder.config.lstm_width, dtype=torch.float64)
    logits = []
    for t in range(len(words)):
        told = energies[:, : t + 1].softmax(1) @ phrases[: t + 1]
        keys = decoder.attention_content(content) + decoder.attention_phrase(told) + decoder.attention_state(hidden)
        look = (torch.tanh(keys) @ decoder.attention_vector).softmax(0)
        entering = [embedded[t], look @ torch.cat([content, told], dim=1)]
        if decoder.object_look is not None:
            things = encoded.objects[clip][encoded.object_mask[clip]]
            asked = decoder.object_look.of_phrase(phrases[t]) + decoder.object_look.of_state(hidden)
            entering.append((decoder.object_look.key(things) @ asked / math.sqrt(len(asked))).softmax(0) @ things)
        entering = torch.cat([*entering, hidden])
        take, keep, new, show = decoder.gates(entering).chunk(4)
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        hidden = show.sigmoid() * cell.tanh()
        logits.append(decoder.output(hidden))
    return torch.stack(logits)


@pytest.mark.parametrize("block", [1, 40, 10_000])
def test_recomputed_energies_have_the_gradients_of_plain_autograd(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tanh_energies.BLOCK_ELEMENTS, "cpu", block)
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    clips = torch.tensor([1, 0, 1, 1, 0])
    visual, phrase, vector = numbers(2, 3, 4), numbers(5, 2, 4), numbers(4)
    plain = torch.tanh(visual[clips][:, :, None] + phrase[:, None]) @ vector
    torch.testing.assert_close(tanh_energies.alignment_energies(visual, phrase, vector, clips), plain)
    assert torch.autograd.gradcheck(tanh_energies.alignment_energies, (visual, phrase, vector, clips))

    weights, query = numbers(5, 3, 2), numbers(5, 4)
    plain = torch.tanh(visual[clips] + weights @ phrase + query[:, None]) @ vector
    torch.testing.assert_close(tanh_energies.attention_energies(visual, weights, phrase, query, vector, clips), plain)
    assert torch.autograd.gradcheck(tanh_energies.attention_energies, (visual, weights, phrase, query, vector, clips))


@pytest.mark.parametrize("block", [1, 40, 60, 10_000])
def test_energies_of_rows_next_to_each_other_are_those_of_rows_that_name_their_clips(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tanh_energies.BLOCK_ELEMENTS, "cpu", block)
    content, phrase, vector = torch.randn(3, 4, 5), torch.randn(6, 2, 5), torch.randn(5)
    weights, query, clips = torch.rand(6, 4, 2), torch.randn(6, 5), torch.tensor([0, 0, 1, 1, 2, 2])
    for keys in (content, tanh_energies.DoubledKeys.of(content)):
        alone = [tanh_energies.alignment_energies(keys, phrase, vector, rows) for rows in (clips, None)]
        mixed = [tanh_energies.attention_energies(keys, weights, phrase, query, vector, rows) for rows in (clips, None)]
        torch.testing.assert_close(alone[1], torch.tanh(content[clips][:, :, None] + phrase[:, None]) @ vector)
        torch.testing.assert_close(*alone)
        torch.testing.assert_close(*mixed)


def test_energies_of_half_precise_rows_are_computed_in_single() -> None:
    """Their tanh is made of a sigmoid, good to 1e-6 of values of up to 1."""
    torch.manual_seed(0)
    rounded = [torch.randn(*shape).bfloat16() for shape in ((2, 3, 8), (5, 2, 8), (5, 3, 2), (5, 8))]
    kinds = (torch.bfloat16, torch.float64)
    given = [[each.to(kind, copy=True).requires_grad_() for each in rounded] for kind in kinds]
    single, clips = torch.randn(8), torch.tensor([1, 0, 1, 1, 0])
    found = []
    for vector, (visual, phrase, weights, query) in zip((single, single.double()), given, strict=True):
        alone = tanh_energies.alignment_energies(visual, phrase, vector, clips)
        mixed = tanh_energies.attention_energies(visual, weights, phrase, query, vector, clips)
        (alone.square().sum() + mixed.square().sum()).backward()
        found.append((alone, mixed))
    for half, exact in zip(*found, strict=True):
        assert half.dtype == torch.float32
        torch.testing.assert_close(half.double(), exact, rtol=0, atol=1e-5)
    # gradients of one row are rounded to 8 bits, and added in 8 bits
    for half, exact in zip(*given, strict=True):
        assert half.grad is not None
        torch.testing.assert_close(half.grad.double(), exact.grad, rtol=2**-6, atol=0.05)


def test_energies_in_single_precision_are_those_of_the_tanh() -> None:
    values = torch.cat([torch.linspace(-20, 20, 61), torch.tensor([-1e38, -1e-6, 1e-6, 1e38])])
    vector, clips, phrase = torch.randn(8), torch.zeros(1, dtype=torch.long), torch.zeros(1, 1, 8)
    found = tanh_energies.alignment_energies(values[None, :, None].expand(1, -1, 8), phrase, vector, clips)
    expected = values.double().tanh() * vector.double().sum()
    torch.testing.assert_close(found[0, :, 0].double(), expected, rtol=0, atol=4e-7 * float(vector.abs().sum()))


def test_the_search_in_mixed_precision_scores_words_as_rounded_products_do() -> None:
    gates, output = torch.nn.Linear(12, 32), torch.nn.Linear(8, 50)
    inputs, cell = torch.randn(6, 12), torch.randn(6, 8)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        first = emit_word(gates, output, inputs, cell, None)
        again = emit_word(gates, output, inputs, cell, first[3])
    exact = torch.nn.functional.linear(inputs.bfloat16().double(), gates.weight.bfloat16().double())
    hidden, expected = lstm_cell((exact + gates.bias.double()).bfloat16().float(), cell)
    logits = torch.nn.functional.linear(hidden.bfloat16().double(), output.weight.bfloat16().double())
    for scores, _, new, _ in (first, again):
        assert (scores.dtype, new.dtype) == (torch.bfloat16, torch.float32)
        # gates and scores of up to 4 are rounded to 8 bits; biases are too
        torch.testing.assert_close(new, expected, rtol=0, atol=2**-6)
        torch.testing.assert_close(scores.double(), logits + output.bias.double(), rtol=0, atol=2**-5)


def test_mixed_precision_stays_close_to_single() -> None:
    decoder, encoded = small_decoder().float(), encoded_clips(3)
    encoded = Encoded(*(v.float() if v is not None and v.is_floating_point() else v for v in vars(encoded).values()))
    words, clips = captions(3, 6), torch.arange(3)
    single = decoder.teacher_forced(decoder.prepare(encoded), words, clips).padded()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = decoder.teacher_forced(decoder.prepare(encoded), words, clips).padded()
    torch.testing.assert_close(mixed.float(), single, rtol=0.1, atol=0.1)
    mixed.float().logsumexp(-1).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in decoder.parameters() if p.grad is not None)


def test_steps_that_do_not_count_change_nothing_of_the_others_and_learn_nothing(decoder: Decoder) -> None:
    encoded, words, clips = encoded_clips(3), captions(5, 6), torch.tensor([2, 0, 2, 1, 0])
    lengths = [3, 6, 1, 6, 4]
    real = torch.arange(6) < torch.tensor(lengths)[:, None]
    words[~real] = 0
    weights = torch.randn(sum(lengths), 23, dtype=torch.float64)
    for tensor in (encoded.visual, encoded.emotion):
        tensor.requires_grad_()
    learned = [*decoder.parameters(), encoded.visual, encoded.emotion]
    whole = decoder.teacher_forced(decoder.prepare(encoded), words, clips).padded()[real]
    packed = decoder.teacher_forced(decoder.prepare(encoded), words, clips, lengths).logits
    torch.testing.assert_close(packed, whole)
    expected = torch.autograd.grad((whole * weights).sum(), learned)
    for got, want in zip(torch.autograd.grad((packed * weights).sum(), learned), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)
