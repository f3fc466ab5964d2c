"""The assembled captioner: independence of padding and neighbours, switches, gradients, strict weights, determinism."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.collate import collate
from evcap_cli.network.config import FusionConfig, LossConfig
from evcap_cli.network.losses import FusionOutput, losses
from evcap_cli.systems.fusion import Fusion
from tests.network.small import LEXICON, batch, clip, clips, config, model
from tests.network.test_losses import output, targets

SWITCHES = [
    {"fine_grained": fine, "audio_visual": audio, "motion_dim": motion}
    for fine in (True, False)
    for audio in (True, False)
    for motion in (6, None)
    if motion or not fine
]
ENCODED = ("visual", "emotion", "categories", "audio", "objects")
OWN = {"decoder_audio": True, "decoder_objects": True}


@pytest.mark.slow
@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_clip_is_encoded_alike_alone_and_among_others(pre_norm):
    captioner, given = model(**OWN, pre_norm=pre_norm), clips()
    together = captioner.encode(batch(given))
    for order in ([3, 1, 0, 2], [0], [1], [2], [3], [2, 2, 2]):
        again = captioner.encode(batch([given[i] for i in order]))
        for name in ENCODED:
            torch.testing.assert_close(getattr(again, name), getattr(together, name)[order], atol=1e-5, rtol=1e-5)


def test_more_padding_changes_nothing_and_what_stands_in_it_neither():
    captioner, given = model(**OWN), clips()
    wider = {"moments": 9, "objects": 6, "audio_steps": 12}
    roomy = model(**OWN, **wider)
    roomy.load_state_dict(captioner.state_dict())
    made = batch(given, **wider)
    for values, mask in (
        (made.appearance, made.visual_mask),
        (made.motion, made.visual_mask),
        (made.objects, made.object_mask),
        (made.audio, made.audio_mask),
    ):
        values[~mask] = torch.nan
    made.audio_times[~made.audio_mask] = 2.0
    tight, loose = captioner.encode(batch(given)), roomy.encode(made)
    for name in ENCODED:
        expected, found = getattr(tight, name), getattr(loose, name)
        if name == "objects":
            assert not loose.object_mask[:, expected.shape[1] :].any()
            found = found[:, : expected.shape[1]]
            expected, found = expected[tight.object_mask], found[tight.object_mask]
        elif name != "categories":
            assert not found[:, 6:].any()
            found = found[:, :6]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_padded_moments_reach_the_decoder_as_zeros():
    encoded = model(decoder_audio=True).encode(batch(clips()))
    for name in ("visual", "emotion", "audio"):
        assert not getattr(encoded, name)[~encoded.mask].any()
    torch.testing.assert_close(encoded.categories.sum(1), torch.ones(4))


def test_a_batch_in_which_every_clip_is_silent_and_empty_still_works():
    captioner = model()
    encoded = captioner.encode(batch([clip(2, 0, 0), clip(1, 0, 0)]))
    assert all(torch.isfinite(getattr(encoded, name)).all() for name in ENCODED[:3])


@pytest.mark.parametrize("changes", SWITCHES)
def test_each_switch_of_modules_trains_every_parameter_it_has(changes):
    captioner, wanted = model(**changes).train(), targets()
    captioner.emotion.words_of.fill_(True)  # one word alone leaves attention nothing to choose, hence no gradient
    found = losses(output(captioner, clips(), wanted), wanted, captioner.config.loss)
    found.total.backward()
    assert torch.isfinite(found.total)
    unreached = [
        name
        for name, p in captioner.named_parameters()
        if p.grad is None or not (p.grad.abs() > 0).any() or not torch.isfinite(p.grad).all()
    ]
    assert unreached == []


def test_a_batch_without_absent_streams_still_uses_every_parameter():
    captioner, wanted = model(), targets()
    found = losses(output(captioner, [clip(4, 3, 5, seed=s) for s in range(4)], wanted), wanted, captioner.config.loss)
    found.total.backward()
    assert all(p.grad is not None for p in captioner.parameters())  # as data parallel training asks


@pytest.mark.slow
@pytest.mark.parametrize("changes", SWITCHES)
def test_modules_that_are_off_leave_no_weights_and_need_no_stream(changes):
    captioner = model(**changes)
    names = " ".join(captioner.state_dict())
    assert ("fusion.gate" in names) == changes["fine_grained"]
    assert ("streams.objects" in names) == changes["fine_grained"]
    assert ("emotion.parts" in names) == changes["fine_grained"]
    for prefix in ("audio_visual.", "streams.audio", "emotion.audio"):
        assert (prefix in names) == changes["audio_visual"]
    wanted = captioner.config.streams
    only = [ClipFeatures({k: v for k, v in c.streams.items() if k in wanted}, 4.0) for c in clips()]
    encoded = captioner.encode(collate(only, captioner.config))
    assert encoded.visual.shape == encoded.emotion.shape == (4, 6, 8)


def test_without_module_a_sound_makes_no_difference():
    captioner = model(audio_visual=False)
    loud, silent = clips(), clips()
    for features in silent:
        features.streams["audio"].values.zero_()
    first, second = (captioner.encode(batch(given, audio_visual=False)) for given in (loud, silent))
    assert torch.equal(first.visual, second.visual)
    assert torch.equal(first.emotion, second.emotion)


def test_encoding_for_training_and_for_use_agree():
    captioner, made = model(), batch(clips())
    use = captioner.encode(made)
    training, auxiliary = captioner.encode_with_aux(made)
    assert torch.equal(use.visual, training.visual)
    assert torch.equal(use.emotion, training.emotion)
    assert auxiliary.parts is not None


def test_decoder_audio_hands_on_sound_and_needs_module_a():
    assert model().encode(batch(clips())).audio is None
    assert model(decoder_audio=True).encode(batch(clips())).audio.shape == (4, 6, 8)
    with pytest.raises(ValueError, match="decoder_audio needs module A"):
        model(decoder_audio=True, audio_visual=False)


def test_decoder_objects_joins_each_object_with_the_motion_it_looks_at_and_needs_module_b():
    captioner, given = model(decoder_objects=True), batch(clips())
    encoded, streams = captioner.encode(given), captioner.streams(given)
    seen, _ = captioner.fusion.objects_look_at_motion(streams.objects.values, streams.motion, streams.mask)
    bind, objects = captioner.fusion.bind, streams.objects.values
    hidden = torch.relu(bind.mlp.inner(torch.cat([objects, seen], dim=-1)))
    torch.testing.assert_close(encoded.objects, bind.norm(objects + bind.mlp.outer(hidden)))
    assert torch.equal(encoded.object_mask, streams.objects.mask)
    assert model().encode(given).objects is None
    with pytest.raises(ValueError, match="decoder_objects needs module B"):
        model(decoder_objects=True, fine_grained=False)


def test_logits_cover_every_step_of_every_caption():
    captioner, wanted = model(), targets()
    assert output(captioner, clips(), wanted).padded().shape == (6, 5, 11)


def test_the_configuration_survives_a_round_trip():
    original = config(fine_grained=False, loss=LossConfig(contrast=0.1, nce_denominator="negatives"))
    assert FusionConfig.from_dict(original.to_dict()) == original
    with pytest.raises(ValueError, match="unknown field 'hats'"):
        FusionConfig.from_dict(original.to_dict() | {"hats": 3})


def test_weights_load_strictly_and_give_the_same_encoding():
    captioner, given = model(seed=1), batch(clips())
    other = Fusion(captioner.config, torch.zeros_like(LEXICON)).eval()
    other.load_state_dict(captioner.state_dict(), strict=True)
    assert torch.equal(
        other.encode(given).emotion, captioner.encode(given).emotion
    )  # lexicon and statistics came along
    smaller = Fusion(dataclasses.replace(captioner.config, fine_grained=False), LEXICON)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        smaller.load_state_dict(captioner.state_dict(), strict=True)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_training_step_bit_for_bit():
    def step():
        captioner, wanted = model(seed=5, normalise_streams=True).train(), targets()
        torch.manual_seed(7)
        losses(output(captioner, clips(), wanted), wanted, captioner.config.loss).total.backward()
        return [p.grad for p in captioner.parameters()]

    assert all(torch.equal(first, second) for first, second in zip(step(), step(), strict=True))


def test_given_word_vectors_are_taken_and_unknown_words_keep_their_start():
    captioner = model()
    start = captioner.emotion.vectors.words.detach().clone()
    vectors = torch.randn(7, 6)
    vectors[2] = torch.nan
    captioner.load_word_vectors(vocabulary=torch.ones(11, 6), words=vectors)
    assert torch.equal(captioner.decoder.embedding.weight, torch.ones(11, 6))
    assert torch.equal(captioner.emotion.vectors.words[2], start[2])
    assert torch.equal(captioner.emotion.vectors.words[3], vectors[3])
    with pytest.raises(ValueError, match=r"categories must be \(4, 6\)"):
        captioner.load_word_vectors(categories=torch.zeros(4, 5))


def test_the_lexicon_must_fit_the_configuration():
    with pytest.raises(ValueError, match=r"must be \(4, 7\)"):
        Fusion(config(), LEXICON.T)


def test_mixed_precision_stays_finite_and_close():
    captioner, wanted = model(), targets()
    exact = losses(output(captioner, clips(), wanted), wanted, captioner.config.loss)
    with torch.autocast("cpu", torch.bfloat16):
        found = output(captioner, clips(), wanted)
        rough = losses(found, wanted, captioner.config.loss)
    assert rough.values()["total"] == pytest.approx(exact.values()["total"], rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("changes", SWITCHES)
def test_encoder_and_losses_stay_on_the_device_of_the_model(changes):
    captioner, wanted = model(**changes), targets(videos=torch.tensor([0, 1, 1, 2]))
    device = torch.device("meta")  # mixing it with the CPU is an error, so it stands in for a GPU
    made = batch(clips(), **changes).to(device)
    there = wanted.to(device)
    _, auxiliary = captioner.to(device).encode_with_aux(made)
    found = FusionOutput(torch.zeros(30, 11, device=device), [5] * 6, auxiliary)
    assert losses(found, there, captioner.config.loss).total.device == device
