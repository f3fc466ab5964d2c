"""Section 1.1 against the slow reference, and the absent token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evcap_cli.network.dropout import Dropout
from evcap_cli.network.layers import AttentionLayer, MultiHeadCrossAttention, masked_mean, sinusoid_positions
from evcap_cli.systems.fusion import Fusion
from tests.network.slow_reference import Slow, positions
from tests.network.small import LEXICON, batch, clips, config, model


def standardised(slow, name, rows):
    return [
        slow.linear(f"{name}.linear", np.clip((row - slow.w[f"{name}.mean"]) * slow.w[f"{name}.scale"], -10, 10))
        for row in rows.double().numpy()
    ]


@pytest.mark.parametrize("changes", [{}, {"pre_norm": True}, {"visual_positions": False}, {"encoder_layers": 2}])
def test_appearance_and_motion_are_projected_and_encoded_over_real_moments(changes):
    captioner, given = model(**changes), clips()
    streams = captioner.streams(batch(given, **changes))
    slow = Slow(captioner.streams, pre_norm=captioner.config.pre_norm)
    for row, clip in enumerate(given):
        for kind in ("appearance", "motion"):
            rows = standardised(slow, f"{kind}.projection", clip.streams[kind].values)
            if captioner.config.visual_positions:
                rows = [r + p for r, p in zip(rows, positions(len(rows), 8), strict=True)]
            expected = slow.stack(f"{kind}.encoder", rows)
            found = getattr(streams, kind)[row, : len(rows)].detach().numpy()
            np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.slow
def test_objects_and_audio_are_projected_only_and_an_absent_stream_is_one_learned_token():
    captioner, given = model(), clips()
    streams = captioner.streams(batch(given))
    slow = Slow(captioner.streams)
    for kind, rows in (("objects", streams.objects), ("audio", streams.audio)):
        for row, clip in enumerate(given):
            values = clip.streams["object" if kind == "objects" else "audio"].values
            assert bool(rows.present[row]) == bool(len(values))
            expected = standardised(slow, f"{kind}.projection", values) or [slow.w[f"{kind}.absent"]]
            assert int(rows.mask[row].sum()) == len(expected)
            np.testing.assert_allclose(rows.values[row][rows.mask[row]].detach().numpy(), expected, atol=1e-5)


def test_statistics_of_training_clips_standardise_each_dimension():
    captioner = Fusion(config(), LEXICON)
    given = clips()
    captioner.fit_normalisation(iter(given))
    for kind, stream in (("appearance", captioner.streams.appearance), ("audio", captioner.streams.audio)):
        rows = np.concatenate([clip.streams[kind].values.double().numpy() for clip in given])
        np.testing.assert_allclose(stream.projection.mean, rows.mean(0), atol=1e-6)
        np.testing.assert_allclose(1 / stream.projection.scale, rows.std(0), rtol=1e-5)


def test_a_dimension_that_never_varied_does_not_explode_later():
    captioner, given = Fusion(config(), LEXICON).eval(), clips()
    for clip in given:
        clip.streams["audio"].values[:, 2] = 3.0
    captioner.fit_normalisation(given)
    given[0].streams["audio"].values[:, 2] = 3.5
    sound = batch(given)
    values = (sound.audio - captioner.streams.audio.projection.mean) * captioner.streams.audio.projection.scale
    assert values[0].abs().max() < 10


@pytest.mark.parametrize(("changes", "missing"), [({"audio_dim": None}, "audio"), ({"motion_dim": None}, "motion")])
def test_a_module_without_its_stream_is_refused_by_name(changes, missing):
    with pytest.raises(ValueError, match=f"needs the {missing} stream"):
        Fusion(config(**changes), LEXICON)


@pytest.mark.parametrize("shape", ["keys", "pairs"])
def test_attention_with_a_mask_equals_attention_on_the_rows_that_remain(shape):
    torch.manual_seed(1)
    attention = MultiHeadCrossAttention(8, 2).eval()
    query, memory, mask = torch.randn(3, 4, 8), torch.randn(3, 5, 8), torch.rand(3, 5) > 0.4
    mask[0, 0] = mask[1, 1] = True
    mask[2] = False
    if shape == "pairs":
        mask = mask[:, None] & (torch.rand(3, 4, 5) > 0.3)
    found, weights = attention(query, memory, mask)
    slow = Slow(attention)
    slow.w = {f"a.{name}": value for name, value in slow.w.items()}
    for b in range(3):
        for q in range(4):
            keep = (mask[b] if shape == "keys" else mask[b, q]).numpy()
            rows = memory[b].double().numpy()[keep]
            if not keep.any():
                np.testing.assert_allclose(found[b, q].detach(), attention.join.bias.detach(), atol=1e-6)
                assert not weights[b, q].any()
                continue
            expected, average = slow.mhca("a", [query[b, q].double().numpy()], rows)
            np.testing.assert_allclose(found[b, q].detach(), expected[0], atol=1e-5)
            np.testing.assert_allclose(weights[b, q].detach().numpy()[keep], average[0], atol=1e-6)
            assert not weights[b, q].detach().numpy()[~keep].any()


def test_a_row_that_may_look_at_nothing_has_finite_gradients():
    layer = AttentionLayer(8, 2, 10)
    query = torch.randn(2, 3, 8, requires_grad=True)
    layer(query, torch.randn(2, 4, 8), torch.zeros(2, 4, dtype=torch.bool)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in [query, *layer.parameters()] if p.grad is not None)


def test_one_memory_for_all_clips_equals_a_copy_for_each():
    attention = MultiHeadCrossAttention(8, 4).eval()
    query, memory = torch.randn(3, 4, 8), torch.randn(1, 5, 8)
    for one, each in zip(attention(query, memory), attention(query, memory.expand(3, -1, -1)), strict=True):
        torch.testing.assert_close(one, each)


@pytest.mark.parametrize("heads", [1, 4])
def test_few_rows_for_all_clips_equal_a_copy_for_each_behind_a_mask(heads):
    attention = MultiHeadCrossAttention(8, heads).eval()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    query, memory = torch.randn(3, 4, 8), torch.randn(5, 8)
    learned = list(attention.parameters())
    mask = torch.tensor([[True, False, True, False, False], [False] * 5, [False, True, True, True, False]])
    chosen = torch.tensor([[2, 0, 4], [0, 1, 2], [3, 2, 1]])
    few, weights = attention(query, memory, mask.gather(1, chosen), chosen)
    every, each = attention(query, memory.expand(3, -1, -1), mask)
    torch.testing.assert_close(few, every)
    torch.testing.assert_close(weights, each.gather(2, chosen[:, None].expand(-1, 4, -1)))
    for got, want in zip(*(torch.autograd.grad(o.square().sum(), learned) for o in (few, every)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    for how in ({}, {"mask": mask}, {"mask": mask[:, None].expand(-1, 4, -1)}):
        torch.testing.assert_close(attention(query, memory, **how), attention(query, memory.expand(3, -1, -1), **how))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 8 must be divisible by heads 3"):
        MultiHeadCrossAttention(8, 3)


@pytest.mark.parametrize("width", [8, 7])
def test_positions_are_the_sinusoids_of_the_transformer(width):
    np.testing.assert_allclose(sinusoid_positions(9, width), positions(9, width), atol=1e-6)


def test_masked_mean_is_the_mean_of_real_rows_and_zero_without_any():
    values, mask = torch.randn(2, 4, 3), torch.tensor([[True, False, True, False], [False] * 4])
    values[:, 1] = torch.nan
    torch.testing.assert_close(masked_mean(values, mask)[0], (values[0, 0] + values[0, 2]) / 2)
    assert not masked_mean(values, mask)[1].any()


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.05])
def test_dropout_drops_its_share_scales_the_rest_and_is_off_outside_training(rate):
    torch.manual_seed(0)
    dropout, values = Dropout(rate), torch.ones(301, 333, requires_grad=True)
    found = dropout(values)
    kept = found != 0
    assert kept.float().mean().item() == pytest.approx(1 - rate, abs=4 * (rate * (1 - rate) / kept.numel()) ** 0.5)
    assert found[kept].unique().item() == pytest.approx(1 / (1 - rate), rel=1e-4)
    found.sum().backward()
    assert torch.equal(values.grad, found)
    assert not torch.equal(dropout(values) != 0, kept)
    torch.manual_seed(0)
    assert torch.equal(dropout(values), found)
    assert dropout.eval()(values) is values


def test_dropout_decides_on_each_number_alone():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(20000, 8)) != 0).float()
    correlation = torch.corrcoef(kept.T) - torch.eye(8)
    assert correlation.abs().max() < 0.04


def test_a_dropout_rate_of_one_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(1.0)


def test_feature_noise_is_drawn_in_training_only_and_has_the_spread_it_says():
    quiet, noisy = (model(feature_noise=noise, dropout=0.0) for noise in (0.0, 0.5))
    given = torch.randn(1, 4000, 5)
    mask = torch.ones(1, 4000, dtype=torch.bool)
    plain, shaken = (made.streams.appearance.projection for made in (quiet, noisy))
    assert torch.equal(plain(given, mask), shaken(given, mask))
    noise = (shaken.train()(given, mask) - plain.train()(given, mask))[0].detach()
    weight = plain.linear.weight.detach()
    expected = 0.25 * weight @ weight.T
    torch.testing.assert_close(torch.cov(noise.T), expected, atol=0.05 * float(expected.diagonal().mean()), rtol=0.1)
    assert float(noise.mean(0).abs().max()) < 0.1


def test_object_norm_standardises_each_projected_object():
    captioner, given = model(object_norm=True), clips()
    objects = captioner.streams(batch(given, object_norm=True)).objects
    norm = captioner.streams.objects.projection.norm
    slow = Slow(captioner.streams)
    for row, clip in enumerate(given):
        for place, values in enumerate(standardised(slow, "objects.projection", clip.streams["object"].values)):
            even = (values - values.mean()) / np.sqrt(values.var() + norm.eps)
            expected = even * norm.weight.detach().numpy() + norm.bias.detach().numpy()
            np.testing.assert_allclose(objects.values[row, place].detach().numpy(), expected, atol=1e-5)
    assert not any("projection.norm" in name for name, _ in model().named_parameters())


def test_sound_dropout_makes_its_share_of_clips_silent_in_training_only():
    captioner = model(sound_dropout=0.3, dropout=0.0)
    values, mask = torch.randn(2000, 3, 4), torch.ones(2000, 3, dtype=torch.bool)
    stream = captioner.streams.audio
    assert bool(stream.eval()(values, mask).present.all())
    torch.manual_seed(0)
    rows = stream.train()(values, mask)
    assert 0.25 < float((~rows.present).float().mean()) < 0.35
    silent = rows.values[~rows.present]
    assert torch.equal(silent[:, 0], stream.absent.expand(len(silent), -1)), "as a clip without sound is encoded"
    assert bool((rows.mask[~rows.present].sum(1) == 1).all())
    assert torch.equal(rows.values[rows.present], stream.eval()(values, mask).values[rows.present])
    captioner.train()
    assert captioner.streams.objects.missing == 0
    with pytest.raises(ValueError, match="sound_dropout must lie in"):
        config(sound_dropout=1.0)


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="feature_noise: should be greater than or equal to 0"):
        config(feature_noise=-0.1)
