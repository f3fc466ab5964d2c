"""Short-time analysis of sound: power spectra, mel bands, pitch, chroma and the envelope's own spectrum.

Notation: N sounds, S samples at ``RATE``, F analysis frames (one per ``HOP``, centred on its own time), M mel bands.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RATE = 16000
HOP = 200
"""Samples between analysis frames: 12.5 ms."""
FFT = 512
LONG_FFT = 2048
"""For pitch and chroma: 128 ms tell semitones apart from about 150 Hz up."""
MEL_BANDS = 64
LOWEST_HZ, HIGHEST_HZ = 40.0, 7600.0
PITCH_LOW_HZ, PITCH_HIGH_HZ = 60.0, 1200.0
ENVELOPE_RATE = 1000
ENVELOPE_WINDOW = 256
ROUGHNESS_EDGES_HZ = (4.0, 8.0, 15.0, 25.0, 40.0, 65.0, 100.0, 160.0, 250.0)
SEMITONES = 12


def frame_count(samples: int) -> int:
    """Analysis frames of a sound: one per started hop, at least one."""
    return max(1, -(-samples // HOP))


def windows(sound: Tensor, length: int, hop: int, count: int) -> Tensor:
    """Overlapping windows centred on ``(i + 1/2) * hop``, silence beyond the ends, (N, S) -> (N, count, length)."""
    left = (length - hop) // 2
    right = max(0, (count - 1) * hop + length - left - sound.shape[1])
    framed: Tensor = F.pad(sound, (left, right)).unfold(1, length, hop)
    return framed[:, :count]


def power_spectrum(sound: Tensor, length: int) -> Tensor:
    """Power per frequency under a Hann window, a full-scale sine peaks at about 1, (N, S) -> (N, F, bins)."""
    window = torch.hann_window(length, dtype=sound.dtype, device=sound.device)
    framed = windows(sound, length, HOP, frame_count(sound.shape[1])) * (window * (2 / window.sum()))
    spectrum = torch.fft.rfft(framed, dim=2)
    power: Tensor = spectrum.real.square() + spectrum.imag.square()
    return power


@lru_cache(maxsize=8)
def _mel_filters(length: int, bands: int) -> Tensor:
    """Triangles between points equally far apart in mel, (bins, bands): transformers' numbers, without its import."""
    lowest, highest = (2595.0 * np.log10(1.0 + hertz / 700.0) for hertz in (LOWEST_HZ, HIGHEST_HZ))
    points = 700.0 * (np.power(10.0, np.linspace(lowest, highest, bands + 2) / 2595.0) - 1.0)
    slopes = points - np.linspace(0, RATE // 2, length // 2 + 1)[:, None]
    falling, rising = -slopes[:, :-2] / np.diff(points)[:-1], slopes[:, 2:] / np.diff(points)[1:]
    return torch.from_numpy(np.maximum(0.0, np.minimum(falling, rising))).float()


def log_mel(power: Tensor, bands: int = MEL_BANDS) -> Tensor:
    """Natural logarithm of the power in mel bands, floor -80 dB, (N, F, bins) -> (N, F, bands)."""
    filters = _mel_filters(2 * (power.shape[2] - 1), bands).to(power)
    return torch.log(power @ filters + 1e-8)


@lru_cache(maxsize=2)
def _chroma_weights() -> Tensor:
    """Which pitch class a frequency of the long spectrum belongs to, (bins, 12); a Gaussian of half a semitone."""
    hertz = torch.arange(LONG_FFT // 2 + 1, dtype=torch.float64) * (RATE / LONG_FFT)
    pitch = SEMITONES * torch.log2(hertz.clamp(min=1.0) / 440.0)
    away = pitch.unsqueeze(1) - torch.arange(SEMITONES)
    away = away - SEMITONES * torch.round(away / SEMITONES)
    audible = ((hertz >= 100) & (hertz <= 2200)).unsqueeze(1)
    return (torch.exp(-0.5 * (away / 0.5).square()) * audible).float()


def chroma(power: Tensor) -> Tensor:
    """Share of each pitch class in the peaks of the long spectrum, from A, (N, F, bins) -> (N, F, 12)."""
    loud = torch.sqrt(power)
    peak = F.max_pool1d(loud.flatten(0, 1).unsqueeze(1), 5, 1, 2).view_as(loud)
    peaks = torch.where(loud >= peak, loud, torch.zeros_like(loud))
    classes = peaks @ _chroma_weights().to(power)
    return classes / (classes.sum(2, keepdim=True) + 1e-4)


def pitch_track(sound: Tensor) -> tuple[Tensor, Tensor]:
    """Fundamental frequency by normalised autocorrelation.

    Returns:
        Octaves above 110 Hz and the strength of the period 0..1, both (N, F).
    """
    window = torch.hann_window(1024, dtype=sound.dtype, device=sound.device)
    framed = windows(sound, 1024, HOP, frame_count(sound.shape[1]))
    framed = (framed - framed.mean(2, keepdim=True)) * window
    spectrum = torch.fft.rfft(framed, n=2048, dim=2)
    correlation = torch.fft.irfft(spectrum.real.square() + spectrum.imag.square(), dim=2)
    taper = torch.fft.irfft(torch.fft.rfft(window, n=2048).abs().square())
    shortest, longest = int(RATE / PITCH_HIGH_HZ), int(RATE / PITCH_LOW_HZ)
    lags = torch.arange(shortest - 1, longest + 2, device=sound.device)
    strength = correlation[..., lags] / (correlation[..., :1] + 1e-5) / (taper[lags] / taper[0])
    inner = strength[..., 1:-1]
    summit = (inner >= strength[..., :-2]) & (inner >= strength[..., 2:])
    # Multiples of the period score alike: a small price for length prefers the shortest.
    price = 0.06 * torch.log2(lags[1:-1].to(sound.dtype) / shortest)
    best = torch.where(summit, inner - price, torch.full_like(inner, -1.0)).argmax(2, keepdim=True)
    here = inner.gather(2, best).squeeze(2)
    before, after = strength.gather(2, best).squeeze(2), strength.gather(2, best + 2).squeeze(2)
    bend = (before - 2 * here + after).clamp(max=-1e-6)
    lag = best.squeeze(2) + shortest + (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
    return torch.log2(RATE / lag / 110.0), here.clamp(0, 1)


@lru_cache(maxsize=2)
def _roughness_bands() -> Tensor:
    hertz = torch.arange(ENVELOPE_WINDOW // 2 + 1) * (ENVELOPE_RATE / ENVELOPE_WINDOW)
    bands = [((hertz >= low) & (hertz < high)).float() for low, high in pairwise(ROUGHNESS_EDGES_HZ)]
    return torch.stack(bands, 1)


def roughness(sound: Tensor) -> Tensor:
    """How deeply loudness beats, per band of beating speed, relative to the loudness itself, (N, S) -> (N, F, 8).

    Tremolo shows below 15 Hz, rough and growling sound between 20 and 150 Hz.
    """
    step = RATE // ENVELOPE_RATE
    count = frame_count(sound.shape[1])
    short = (-sound.shape[1]) % step
    envelope = F.avg_pool1d(F.pad(sound, (0, short)).abs().unsqueeze(1), step).squeeze(1)
    # HOP is 12.5 envelope samples: analyse every 25 and repeat
    framed = windows(envelope, ENVELOPE_WINDOW, 25, -(-count // 2))
    window = torch.hann_window(ENVELOPE_WINDOW, dtype=sound.dtype, device=sound.device)
    level = (framed * window).sum(2, keepdim=True) / window.sum()
    spectrum = torch.fft.rfft((framed - level) * window, dim=2)
    power = (spectrum.real.square() + spectrum.imag.square()) * (2 / window.sum()) ** 2
    depth = torch.sqrt(power @ _roughness_bands().to(power) + 1e-10) / (level + 2e-3)
    return depth.repeat_interleave(2, dim=1)[:, :count]
