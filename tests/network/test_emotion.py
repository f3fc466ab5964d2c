"""Section 1.4, Eq. 7 and 8, the mask of predicted categories, the audio clock, E and the reported emotion."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from evcap_cli.network.emotion import interpolation
from evcap_cli.network.visual_encoder import Rows
from tests.network.slow_reference import Slow, mean, softmax
from tests.network.small import LEXICON, batch, clips, model


def slow_perception(slow, name, rows, lexicon, top_k):
    """E_w, the logits of P_c and P_w, by Eq. 7, the mask, Eq. 8."""
    vectors = {
        kind: [slow.linear("vectors.project", v) for v in slow.w[f"vectors.{kind}"]] for kind in ("categories", "words")
    }
    e_c = slow.stack(f"{name}.category_encoder", rows, vectors["categories"])
    categories = slow.linear(f"{name}.category_head", mean(e_c))
    likeliest = np.argsort(-categories)[:top_k]
    kept = [vectors["words"][w] for w in range(lexicon.shape[1]) if any(lexicon[c, w] for c in likeliest)]
    e_w = slow.stack(f"{name}.word_encoder", rows, kept)
    return e_w, categories, slow.linear(f"{name}.word_head", mean(e_w))


def a_stream(width=8, seed=3):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False], [False, True, True, True, False]])
    return Rows(torch.randn(3, 5, width, generator=generator), mask, torch.tensor([True, True, True]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"emotion_top_k": 2}, {"pre_norm": True}, {"emotion_layers": 1}, {"emotion_heads": 4}]
)
@pytest.mark.parametrize("branch", ["visual", "audio", "parts"])
def test_eq_7_and_8_categories_then_the_words_they_allow(changes, branch):
    captioner = model(**changes)
    cfg, cues, stream = captioner.config, captioner.emotion, a_stream()
    found = getattr(cues, branch)(stream, cues.vectors(), cues.words_of)
    slow = Slow(cues, heads=cfg.emotion_heads, pre_norm=cfg.pre_norm)
    for b in range(3):
        rows = list(stream.values[b][stream.mask[b]].double().numpy())
        e_w, categories, words = slow_perception(slow, branch, rows, LEXICON.numpy(), cfg.emotion_top_k)
        np.testing.assert_allclose(found.categories[b].detach(), categories, atol=5e-5)
        np.testing.assert_allclose(found.rows[b][stream.mask[b]].detach(), e_w, atol=5e-5)
        np.testing.assert_allclose(found.words[b].detach(), words, atol=5e-5)


def test_the_mask_follows_the_predicted_category_and_words_outside_it_have_no_influence():
    captioner = model()
    cues, stream = captioner.emotion, a_stream()
    vectors = cues.vectors()
    for category in range(4):
        with torch.no_grad():
            cues.visual.category_head.bias.zero_()[category] = 1e4
        before = cues.visual(stream, vectors, cues.words_of).rows
        outside = torch.where(LEXICON[category][:, None], vectors[1], torch.randn_like(vectors[1]))
        torch.testing.assert_close(cues.visual(stream, (vectors[0], outside), cues.words_of).rows, before)
        assert torch.isfinite(before).all()  # the last category has no word at all


def test_interpolation_is_linear_between_real_steps_and_constant_beyond():
    generator = np.random.default_rng(0)
    times = np.sort(generator.uniform(0, 4, (3, 6)), axis=1).astype(np.float32)
    mask = np.array([[1] * 6, [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]], dtype=bool)
    moments = np.linspace(-0.5, 5, 9, dtype=np.float32)[None].repeat(3, 0)
    moments[:, 4] = times[:, 1]  # exactly on a step
    weights = interpolation(torch.from_numpy(moments), torch.from_numpy(times * mask), torch.from_numpy(mask))
    values = generator.standard_normal((3, 6))
    for b in range(3):
        expected = np.interp(moments[b], times[b][mask[b]], values[b][mask[b]])
        np.testing.assert_allclose(weights[b].double().numpy() @ values[b], expected, atol=1e-5)
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 9))


def test_steps_at_the_same_time_do_not_divide_by_nothing():
    weights = interpolation(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool))
    assert torch.isfinite(weights).all()
    torch.testing.assert_close(weights.sum(2), torch.ones(1, 2))


def test_e_joins_interpolated_audio_rows_with_visual_rows():
    captioner, given = model(), clips()
    made = batch(given)
    streams = captioner.streams(made)
    fused = captioner.fusion(streams)
    visual, sound = captioner.audio_visual(fused.visual, streams.mask, streams.audio)
    encoded = captioner.encode(made)
    slow = Slow(captioner.emotion)
    for b in range(len(given)):
        moments, steps = streams.mask[b], streams.audio.mask[b]
        v, a = visual[b][moments].detach().double().numpy(), sound[b][steps].detach().double().numpy()
        seen, seen_c, _ = slow_perception(slow, "visual", list(v), LEXICON.numpy(), 1)
        heard, heard_c, _ = slow_perception(slow, "audio", list(a), LEXICON.numpy(), 1)
        clock, when = made.audio_times[b][steps].numpy(), made.moment_times[b][moments].numpy()
        carried = np.stack([np.interp(when, clock, column) for column in np.array(heard).T], axis=1)
        expected = [slow.linear("join", np.concatenate(pair)) for pair in zip(carried, seen, strict=True)]
        np.testing.assert_allclose(encoded.emotion[b][moments].detach(), expected, atol=1e-4)
        has_sound = len(given[b].streams["audio"].values) > 0
        reported = (softmax(seen_c) + softmax(heard_c)) / 2 if has_sound else softmax(seen_c)
        np.testing.assert_allclose(encoded.categories[b].detach(), reported, atol=1e-4)


def test_without_module_a_e_comes_from_the_visual_branch_alone():
    captioner = model(audio_visual=False)
    made = batch(clips(), audio_visual=False)
    assert made.audio is None
    encoded = captioner.encode(made)
    slow = Slow(captioner.emotion)
    v = encoded.visual[0].detach().double().numpy()
    seen, categories, _ = slow_perception(slow, "visual", list(v), LEXICON.numpy(), 1)
    np.testing.assert_allclose(encoded.emotion[0].detach(), [slow.linear("join", r) for r in seen], atol=1e-4)
    np.testing.assert_allclose(encoded.categories[0].detach(), softmax(categories), atol=1e-5)


def test_the_heads_of_the_sub_modules_share_one_set_of_weights_and_know_missing_objects():
    captioner, stream = model(), a_stream()
    has_objects = torch.tensor([True, False, True])
    other = dataclasses.replace(stream, values=stream.values.flip(0))
    parts = captioner.emotion.perceive_parts((stream.values, other.values, stream.values), stream.mask, has_objects)
    assert list(parts) == ["appearance_motion", "appearance_object", "motion_object"]
    torch.testing.assert_close(parts["appearance_motion"].words, parts["motion_object"].words)
    alone = captioner.emotion.parts(other, captioner.emotion.vectors(), captioner.emotion.words_of)
    torch.testing.assert_close(parts["appearance_object"].words, alone.words)
    assert parts["appearance_motion"].present.all()
    assert torch.equal(parts["motion_object"].present, has_objects)
