"""Sound: log-mel against NumPy alone, tones, beats and chords whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from evcap_backbones.lite import LiteAudio, spectra
from evcap_backbones.lite.audio import INTERVALS, describe_sound
from torch import Tensor

from evcap_cli import AudioInput

RATE = 16000


def tone(hertz: float, seconds: float = 2.0, level: float = 0.3) -> Tensor:
    t = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    return (level * torch.sin(2 * torch.pi * hertz * t)).float()[None]


def numpy_log_mel(sound: np.ndarray) -> np.ndarray:
    """Hann window, direct Fourier sums, HTK triangles: nothing shared with the code under test."""
    length, hop, bands = 512, 200, 64
    frames = -(-len(sound) // hop)
    padded = np.concatenate([np.zeros((length - hop) // 2), sound, np.zeros(2 * length)])
    n = np.arange(length)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / length)
    bins = np.arange(length // 2 + 1)
    fourier = np.exp(-2j * np.pi * np.outer(n, bins) / length)
    hertz = bins * RATE / length
    top, bottom = (2595 * np.log10(1 + f / 700) for f in (7600.0, 40.0))
    edges = 700 * (10 ** (np.linspace(bottom, top, bands + 2) / 2595) - 1)
    rows = []
    for i in range(frames):
        power = np.abs((padded[i * hop : i * hop + length] * window * 2 / window.sum()) @ fourier) ** 2
        row = []
        for low, middle, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            rise, fall = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
            row.append(np.log((np.maximum(0, np.minimum(rise, fall)) * power).sum() + 1e-8))
        rows.append(row)
    return np.array(rows)


def test_mel_filters_are_those_of_transformers_to_the_bit() -> None:
    from transformers.audio_utils import mel_filter_bank

    edges = (spectra.LOWEST_HZ, spectra.HIGHEST_HZ, spectra.RATE)
    for length, bands in ((spectra.FFT, spectra.MEL_BANDS), (spectra.LONG_FFT, 40)):
        expected = mel_filter_bank(length // 2 + 1, bands, *edges, norm=None, mel_scale="htk")
        assert torch.equal(spectra._mel_filters(length, bands), torch.from_numpy(expected).float())


def test_log_mel_equals_an_independent_reference() -> None:
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(3000)
    found = spectra.log_mel(spectra.power_spectrum(torch.from_numpy(sound).float()[None], spectra.FFT))[0]
    np.testing.assert_allclose(found.numpy(), numpy_log_mel(sound), atol=2e-3)


@pytest.mark.parametrize("hertz", [82.4, 110.0, 196.0, 330.0, 440.0, 880.0])
def test_a_pure_tone_gives_its_pitch(hertz: float) -> None:
    octaves, strength = spectra.pitch_track(tone(hertz))
    inner = slice(8, -8)
    assert (octaves[0, inner] - np.log2(hertz / 110)).abs().max() < 0.5 / 12
    assert strength[0, inner].min() > 0.9


def test_a_tone_with_overtones_keeps_its_fundamental() -> None:
    rich = tone(150) + tone(300) * 0.8 + tone(450) * 0.6
    octaves, _ = spectra.pitch_track(rich)
    assert (octaves[0, 8:-8] - np.log2(150 / 110)).abs().max() < 0.5 / 12


def test_noise_has_less_pitch_than_a_tone() -> None:
    torch.manual_seed(0)
    assert spectra.pitch_track(0.1 * torch.randn(1, RATE))[1].mean() < 0.6


@pytest.mark.parametrize(("hertz", "band"), [(6.0, 0), (20.0, 2), (50.0, 4), (120.0, 6)])
def test_beating_shows_in_the_band_of_its_speed(hertz: float, band: int) -> None:
    t = torch.arange(2 * RATE) / RATE
    beaten = tone(1000) * (1 + 0.9 * torch.sin(2 * torch.pi * hertz * t))
    assert spectra.roughness(beaten)[0, 20:-20].mean(0).argmax() == band


def test_chroma_of_a_note_is_its_pitch_class_in_every_octave() -> None:
    for hertz in (220.0, 440.0, 880.0):
        shares = spectra.chroma(spectra.power_spectrum(tone(hertz), spectra.LONG_FFT))[0, 10:-10].mean(0)
        assert shares.argmax() == 0
    shares = spectra.chroma(spectra.power_spectrum(tone(440 * 2 ** (3 / 12)), spectra.LONG_FFT))[0, 10:-10].mean(0)
    assert shares.argmax() == 3


@pytest.mark.parametrize("root", [196.0, 233.1, 293.7])
def test_major_and_minor_are_told_apart_in_any_key(root: float) -> None:
    from evcap_backbones.lite.audio import _harmony

    chords = {}
    for name, third in (("major", 4), ("minor", 3)):
        sound = sum(tone(root * 2 ** (step / 12), 3.0, 0.1) for step in (0, third, 7))
        classes = spectra.chroma(spectra.power_spectrum(sound, spectra.LONG_FFT))
        chords[name] = _harmony(classes)[0, 120, -len(INTERVALS) :]
    major, minor = INTERVALS.index((4, 7)), INTERVALS.index((3, 7))
    assert chords["major"][major] > 2 * chords["major"][minor]
    assert chords["minor"][minor] > 2 * chords["minor"][major]


@pytest.mark.parametrize("samples", [1, 17, 200, 1600, 15999])
def test_short_sound_and_silence_give_finite_rows(samples: int) -> None:
    torch.manual_seed(0)
    for sound in (torch.zeros(1, samples), torch.rand(1, samples) - 0.5):
        rows = describe_sound(sound)
        assert rows.shape == (1, -(-samples // 800), LiteAudio.spec.dim)
        assert rows.isfinite().all()


def test_a_row_comes_every_declared_hop_at_its_own_time() -> None:
    declared = LiteAudio.spec.input
    assert isinstance(declared, AudioInput)
    sound = torch.zeros(1, 3 * RATE)
    sound[:, 2 * RATE :] = tone(440, 1.0)
    rows = describe_sound(sound)[0]
    assert len(rows) == round(3.0 / declared.hop_seconds)
    bins = rows[:, :64].amax(1)
    first_loud = int((bins > 1).float().argmax())
    assert abs((first_loud + 0.5) * declared.hop_seconds - 2.0) < 0.06
