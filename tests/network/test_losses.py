"""Section 1.6, Eq. 10 to 14, against loops over captions, words and clips."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from evcap_cli.network.config import LossConfig
from evcap_cli.network.losses import (
    PartMeans,
    Targets,
    emotional_cross_entropy,
    losses,
    motion_contrast,
    object_alignment,
)
from evcap_cli.network.packing import WordScores
from tests.network.slow_reference import cosine, softmax
from tests.network.small import batch, clips, model

CLIP_OF = [0, 0, 1, 2, 3, 3]


def targets(seed=0, vocabulary=11, **changes):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, vocabulary, (6, 5), generator=generator)
    for row, length in enumerate((5, 3, 1, 4, 2, 5)):
        tokens[row, length - 1] = 2
        tokens[row, length:] = 0
    categories = torch.rand(6, 4, generator=generator) > 0.5
    words = torch.rand(6, 7, generator=generator) > 0.6
    categories[1], words[1] = False, False
    emotion_tokens = torch.rand(vocabulary, generator=generator) > 0.5
    return dataclasses.replace(Targets(tokens, torch.tensor(CLIP_OF), categories, words, emotion_tokens), **changes)


def output(captioner, given, wanted):
    made = batch(
        given, **{key: getattr(captioner.config, key) for key in ("fine_grained", "audio_visual", "motion_dim")}
    )
    fed = torch.cat([torch.ones(6, 1, dtype=torch.long), wanted.tokens[:, :-1]], dim=1)
    return captioner(made, fed, wanted.clip_index)


def test_eq_10_emotion_words_weigh_more_and_padding_nothing():
    wanted = targets()
    logits = torch.randn(6, 5, 11)
    total, count = 0.0, 0
    for r in range(6):
        for t in range(5):
            token = int(wanted.tokens[r, t])
            if token == 0:
                continue
            weight = 1.3 if wanted.emotion_tokens[token] else 1.0
            total -= weight * math.log(softmax(logits[r, t].tolist())[token])
            count += 1
    found = emotional_cross_entropy(WordScores.of(logits), wanted, 0.3)
    assert float(found) == pytest.approx(total / count, rel=1e-5)


def test_eq_10_of_scores_in_half_precision_is_computed_in_single():
    wanted = targets()
    single = torch.randn(6, 5, 11).bfloat16().float().requires_grad_()
    half = single.detach().bfloat16().requires_grad_()
    losses = [emotional_cross_entropy(WordScores.of(logits * 1), wanted, 0.3) for logits in (single, half)]
    assert float(losses[1].detach()) == pytest.approx(float(losses[0].detach()), rel=1e-6)
    for loss in losses:
        loss.backward()
    # the gradient alone is rounded, to the 8 bits of bfloat16, once
    torch.testing.assert_close(half.grad.float(), single.grad, rtol=2**-8, atol=1e-8)


def test_eq_10_in_fp16_keeps_gradients_that_scaling_makes_large_enough():
    wanted = targets()
    half = torch.randn(6, 5, 11).sub(torch.arange(11) * 2.0).half().requires_grad_()
    (emotional_cross_entropy(WordScores.of(half * 1), wanted, 0.3) * 2**16).backward()
    assert bool((half.grad[wanted.tokens != 0] != 0).all())


def slow_classification(branches, wanted):
    total = 0.0
    for branch in branches.values():
        rows = []
        for r, clip in enumerate(CLIP_OF):
            labelled = bool(wanted.categories[r].any() or wanted.words[r].any())
            if not labelled or not branch.present[clip]:
                continue
            loss = 0.0
            for logits, labels in (
                (branch.categories[clip], wanted.categories[r]),
                (branch.words[clip], wanted.words[r]),
            ):
                probabilities = softmax(logits.tolist())
                loss -= sum(math.log(p) for p, label in zip(probabilities, labels, strict=True) if label)
            rows.append(loss)
        total += sum(rows) / max(len(rows), 1)
    return total


@pytest.mark.parametrize(
    ("changes", "branches"),
    [
        ({}, {"appearance_motion", "appearance_object", "motion_object", "visual", "audio"}),
        ({"audio_visual": False}, {"appearance_motion", "appearance_object", "motion_object", "visual"}),
        ({"fine_grained": False}, {"visual", "audio"}),
        ({"fine_grained": False, "audio_visual": False, "motion_dim": None}, {"visual"}),
    ],
)
def test_eq_11_classifies_every_branch_that_is_on(changes, branches):
    captioner, wanted = model(**changes), targets()
    found = output(captioner, clips(), wanted)
    assert set(found.auxiliary.branches) == branches
    assert losses(found, wanted, captioner.config.loss).values()["classification"] == pytest.approx(
        slow_classification(found.auxiliary.branches, wanted), rel=1e-4
    )


def test_an_absent_stream_adds_no_classification_and_no_alignment():
    captioner, given = model(), [clips()[1], clips()[2]]  # one without objects, one without sound
    wanted = targets(clip_index=torch.tensor([0, 0, 0, 1, 1, 1]))
    with torch.no_grad():
        found = output(captioner, given, wanted)
    before = losses(found, wanted, captioner.config.loss)
    branches, parts = found.auxiliary.branches, found.auxiliary.parts
    with torch.no_grad():
        branches["audio"].categories[1] += torch.randn(4)
        branches["motion_object"].words[0] += torch.randn(7)
        branches["appearance_object"].categories[0] += torch.randn(4)
        parts.objects[0] += torch.randn(8)
    after = losses(found, wanted, captioner.config.loss)
    assert float(after.classification) == pytest.approx(float(before.classification), rel=1e-6)
    assert float(after.alignment) == pytest.approx(float(before.alignment), rel=1e-6)
    with torch.no_grad():
        branches["audio"].categories[0] += torch.randn(4)
        parts.objects[1] += torch.randn(8)
    moved = losses(found, wanted, captioner.config.loss)
    assert float(moved.classification) != float(before.classification)
    assert float(moved.alignment) != float(before.alignment)


def means(seed=0, count=5):
    generator = torch.Generator().manual_seed(seed)
    vectors = [torch.randn(count, 8, generator=generator) for _ in range(5)]
    return PartMeans(*vectors, has_objects=torch.arange(count) % 3 != 1)


@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize("videos", [None, [0, 1, 0, 2, 1], [4, 4, 4, 4, 9]])
def test_eq_12_pulls_to_the_own_clip_and_pushes_from_other_videos_only(denominator, videos):
    parts, temperature = means(), 0.07
    own = list(range(5)) if videos is None else videos
    terms = []
    for i in range(5):
        sims = [
            math.exp(
                cosine(parts.appearance_motion[i].double().numpy(), parts.appearance[j].double().numpy()) / temperature
            )
            for j in range(5)
        ]
        negatives = sum(s for j, s in enumerate(sims) if own[j] != own[i])
        terms.append(-math.log(sims[i] / (negatives + (sims[i] if denominator == "all" else 0))))
    given = None if videos is None else torch.tensor(videos)
    found = motion_contrast(parts, given, LossConfig(nce_denominator=denominator, temperature=temperature))
    assert float(found) == pytest.approx(np.mean(terms), rel=1e-4)


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_without_a_negative_the_contrast_is_zero_with_finite_gradients(denominator):
    parts = means()
    parts.appearance_motion.requires_grad_()
    found = motion_contrast(parts, torch.zeros(5, dtype=torch.long), LossConfig(nce_denominator=denominator))
    found.backward()
    assert found.item() == 0
    assert not parts.appearance_motion.grad.any()


def test_eq_13_aligns_both_object_parts_with_the_objects():
    parts = means()
    terms = []
    for i in range(5):
        if not parts.has_objects[i]:
            continue
        objects = parts.objects[i].double().numpy()
        first = cosine(parts.appearance_object[i].double().numpy(), objects)
        terms.append((1 - first) + (1 - cosine(parts.motion_object[i].double().numpy(), objects)))
    assert float(object_alignment(parts)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_the_compared_means_are_over_real_rows():
    captioner, given, wanted = model(), clips(), targets()
    parts = output(captioner, given, wanted).auxiliary.parts
    streams = captioner.streams(batch(given))
    fused = captioner.fusion(streams)
    for b in range(len(given)):
        moments, objects = streams.mask[b], streams.objects.mask[b]
        rows = zip(
            (parts.appearance_motion, parts.appearance_object, parts.motion_object, parts.appearance),
            (*fused.parts, streams.appearance),
            strict=True,
        )
        for found, every in rows:
            torch.testing.assert_close(found[b], every[b][moments].mean(0))
        torch.testing.assert_close(parts.objects[b], streams.objects.values[b][objects].mean(0))


def test_eq_14_weighs_and_adds():
    weights = LossConfig(cross_entropy=0.9, classification=0.4, contrast=0.7, alignment=1.1)
    captioner, wanted = model(), targets()
    found = losses(output(captioner, clips(), wanted), wanted, weights)
    values = found.values()
    expected = (
        0.9 * values["cross_entropy"]
        + 0.4 * values["classification"]
        + 0.7 * values["contrast"]
        + 1.1 * values["alignment"]
    )
    assert values["total"] == pytest.approx(expected, rel=1e-6)
    assert min(values.values()) > 0


@pytest.mark.parametrize("audio_visual", [True, False])
def test_losses_of_module_b_are_off_with_it(audio_visual):
    captioner, wanted = model(fine_grained=False, audio_visual=audio_visual), targets()
    found = losses(output(captioner, clips(), wanted), wanted, captioner.config.loss)
    assert found.values()["contrast"] == 0
    assert found.values()["alignment"] == 0
    assert found.values()["classification"] > 0


def test_captions_without_any_label_leave_the_classification_zero():
    captioner = model()
    wanted = targets()
    wanted.categories[:], wanted.words[:] = False, False
    found = losses(output(captioner, clips(), wanted), wanted, captioner.config.loss)
    assert found.values()["classification"] == 0


@pytest.mark.parametrize("block", [1, 30, 1 << 20])
def test_eq_10_has_the_value_and_the_gradient_of_torch_s_own_and_works_in_the_logits_memory(block, monkeypatch):
    monkeypatch.setattr("evcap_cli.network.losses.BLOCK_LOGITS", block)
    wanted = targets()
    weights = 1 + 0.3 * wanted.emotion_tokens.float()
    logits, real = 3 * torch.randn(6, 5, 11), wanted.tokens != 0
    plain = logits[real].requires_grad_()
    whole = torch.nn.functional.cross_entropy(plain, wanted.tokens[real], weight=weights, reduction="sum") / real.sum()
    (expected,) = torch.autograd.grad(2.5 * whole, plain)
    for lengths in (None, real.sum(1).tolist()):
        scores = WordScores.of(logits, lengths)
        leaf = scores.logits.clone().requires_grad_()
        scores.logits = leaf.clone()
        found = emotional_cross_entropy(scores, wanted, 0.3)
        torch.testing.assert_close(found, whole)
        (gradient,) = torch.autograd.grad(2.5 * found, leaf, retain_graph=True)
        if lengths is None:
            assert not gradient.view(6, 5, 11)[~real].any()
            gradient = gradient.view(6, 5, 11)[real]
        torch.testing.assert_close(gradient, expected)
        with pytest.raises(AttributeError):  # the gradient was the logits' memory: there is no second one
            torch.autograd.grad(found, leaf)


@pytest.mark.slow
def test_a_step_of_real_words_alone_has_the_losses_of_the_padded_one():
    captioner, wanted = model(), targets()
    made = batch(clips())
    fed = torch.cat([torch.ones(6, 1, dtype=torch.long), wanted.tokens[:, :-1]], dim=1)
    lengths = (wanted.tokens != 0).sum(1).tolist()
    packed = losses(captioner(made, fed, wanted.clip_index, lengths), wanted, captioner.config.loss)
    whole = losses(captioner(made, fed, wanted.clip_index), wanted, captioner.config.loss)
    for name, value in whole.values().items():
        assert packed.values()[name] == pytest.approx(value, rel=1e-5)
