"""lite-audio: how a sound is, moment by moment, and what it does in the seconds around.

Each row joins the moment itself (spectrum, loudness, roughness, pitch, pitch classes) with a context of a few
seconds (means and deviations, rhythm of the onsets, the melody's intervals, major or minor), so that a
single row already carries tempo and mode. Harmony is described without its key: transposed music sounds the same here.

Notation: N sounds, S samples, F analysis frames, R rows (one per ``STEP`` frames), context of about ``CONTEXT``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from evcap_backbones.lite import spectra

STEP = 4
"""Analysis frames per row: 50 ms."""
CONTEXT = 240
"""Analysis frames of context, 3 s; at the ends it is what there is."""
RHYTHM_WINDOW = 256
RHYTHM_BINS = 24
"""Onset frequencies up to RHYTHM_BINS / 3.2 s = 7.5 Hz."""
SHAPE_BANDS = 20
INTERVALS = ((4, 7), (3, 7), (3, 6), (4, 8), (5, 7), (2, 7), (1, 6), (1, 2), (5, 9), (3, 8))
"""Chords as semitones above their root: major, minor, diminished, augmented, suspended twice, clusters twice,
inversions of major and minor."""
MELODY_EDGES_SEMITONES = (-7.5, -4.5, -2.5, -1.5, -0.4, 0.4, 1.5, 2.5, 4.5, 7.5)
MELODY_LAGS = (8, 16, 32)
"""Analysis frames between two pitches that are compared: 0.1, 0.2 and 0.4 s."""


def describe_sound(sound: Tensor) -> Tensor:
    """Sound to rows.

    Args:
        sound: -1..1 at 16 kHz, (N, S).

    Returns:
        (N, R, 328), one row per 50 ms, at least one.
    """
    power = spectra.power_spectrum(sound, spectra.FFT)
    mel = spectra.log_mel(power)
    long_power = spectra.power_spectrum(sound, spectra.LONG_FFT)
    classes = spectra.chroma(long_power)
    octaves, voiced = spectra.pitch_track(sound)
    beating = torch.log1p(4 * spectra.roughness(sound))
    onset = _onsets(mel)
    moment = [_timbre(mel), _spectrum_shape(power), beating, classes, _pitch_moment(octaves, voiced)]
    context = [
        _spread(_pool_bands(mel, SHAPE_BANDS)),
        _spread(torch.cat([_spectrum_shape(power), beating], dim=2)),
        _rhythm(onset),
        _harmony(classes),
        _melody(octaves, voiced),
    ]
    return torch.cat([_rows(part) for part in (*moment, *context)], dim=2)


def _rows(frames: Tensor) -> Tensor:
    """Means over ``STEP`` frames, the last row over what is left, (N, F, D) -> (N, R, D)."""
    pooled = F.avg_pool1d(frames.transpose(1, 2), STEP, STEP, ceil_mode=True, count_include_pad=False)
    return pooled.transpose(1, 2)


def _around(frames: Tensor, width: int = CONTEXT) -> Tensor:
    """Running mean over ``width`` frames, fewer at the ends, (N, F, D) -> (N, F, D)."""
    count = frames.shape[1]
    # double precision: a difference of running sums must not depend on what came long before
    sums = F.pad(frames.double().cumsum(1), (0, 0, 1, 0))
    here = torch.arange(count, device=frames.device)
    first, last = (here - width // 2).clamp(min=0), (here + width // 2 + 1).clamp(max=count)
    return ((sums[:, last] - sums[:, first]) / (last - first).unsqueeze(1)).to(frames.dtype)


def _spread(frames: Tensor) -> Tensor:
    """Mean and deviation over the context."""
    mean = _around(frames)
    deviation = torch.sqrt((_around(frames.square()) - mean.square()).clamp(min=0) + 1e-6)
    return torch.cat([mean, deviation], dim=2)


def _slope(frames: Tensor, lag: int = 2) -> Tensor:
    """Symmetric difference in time, ends repeated."""
    padded = torch.cat([frames[:, :1].expand(-1, lag, -1), frames, frames[:, -1:].expand(-1, lag, -1)], dim=1)
    return (padded[:, 2 * lag :] - padded[:, : -2 * lag]) / 2


def _timbre(mel: Tensor) -> Tensor:
    """Log-mel and its change: 128 columns."""
    return torch.cat([mel / 4 + 2, _slope(mel) / 2], dim=2)


def _pool_bands(mel: Tensor, bands: int) -> Tensor:
    return F.adaptive_avg_pool1d(mel, bands) / 4 + 2


def _onsets(mel: Tensor) -> Tensor:
    """Half-wave rectified spectral flux, (N, F, M) -> (N, F, 1). The floor keeps the hiss of silence from counting."""
    audible = mel.clamp(min=-14.0)
    rise = (audible[:, 1:] - audible[:, :-1]).clamp(min=0).mean(2, keepdim=True)
    return F.pad(rise, (0, 0, 1, 0))


def _spectrum_shape(power: Tensor) -> Tensor:
    """Loudness, its slope, centre, width, flatness, brightness and flux of the spectrum: 8 columns."""
    energy = power.sum(2)
    share = power / (energy.unsqueeze(2) + 1e-9)
    octave = torch.log2(torch.arange(power.shape[2], device=power.device, dtype=power.dtype) + 1) / 4
    centre = (share * octave).sum(2)
    width = torch.sqrt(((share * octave.square()).sum(2) - centre.square()).clamp(min=0) + 1e-6)
    audible = power[:, :, 2:240] + 1e-9
    flatness = torch.log(audible).mean(2) - torch.log(audible.mean(2))
    loudness = torch.log(energy + 1e-7)
    bright = share[:, :, 64:].sum(2)
    amplitude = torch.sqrt(share + 1e-12)
    flux = F.pad((amplitude[:, 1:] - amplitude[:, :-1]).square().sum(2), (1, 0))
    columns = torch.stack([loudness / 4 + 1.5, centre, width, flatness / 4 + 1, bright, 2 * flux], dim=2)
    slope = _slope(columns[:, :, :2], 4)
    return torch.cat([columns, slope], dim=2)


def _pitch_moment(octaves: Tensor, voiced: Tensor) -> Tensor:
    """Pitch where there is one, its certainty and its glide: 4 columns."""
    sure = ((voiced - 0.4) / 0.4).clamp(0, 1)
    glide = _slope(octaves.unsqueeze(2), 1).squeeze(2).clamp(-0.15, 0.15) * 6
    return torch.stack([octaves * sure / 2, sure, glide * sure, glide.abs() * sure], dim=2)


def _rhythm(onset: Tensor) -> Tensor:
    """How often sound sets in around a moment and how regularly: spectrum of the onsets, 28 columns."""
    frames = onset.squeeze(2)
    count = frames.shape[1]
    rows = -(-count // STEP)
    left = (RHYTHM_WINDOW - STEP) // 2
    right = max(0, (rows - 1) * STEP + RHYTHM_WINDOW - left - count)
    mean = _around(onset, RHYTHM_WINDOW).squeeze(2)
    centred = F.pad(frames - mean, (left, right)).unfold(1, RHYTHM_WINDOW, STEP)[:, :rows]
    window = torch.hann_window(RHYTHM_WINDOW, dtype=onset.dtype, device=onset.device)
    size = torch.sqrt(_around(onset.square(), RHYTHM_WINDOW).squeeze(2)[:, ::STEP] + 1e-4).unsqueeze(2)
    spectrum = torch.fft.rfft(centred * window, dim=2).abs()[:, :, 1 : 4 * RHYTHM_BINS // 2 + 1]
    spectrum = F.avg_pool1d(spectrum, 2) * (8 / RHYTHM_WINDOW) / size
    strong = _around((onset > 0.35).to(onset.dtype))
    strongest = F.max_pool1d(onset.transpose(1, 2), CONTEXT + 1, 1, CONTEXT // 2).transpose(1, 2)
    spread = torch.cat([4 * _around(onset), torch.sqrt(size.new_tensor(1.0)) * strongest, 4 * strong], dim=2)
    level = torch.cat([spectrum, 2 * size], dim=2)
    return torch.cat([level.repeat_interleave(STEP, dim=1)[:, :count], spread], dim=2)


def _harmony(classes: Tensor) -> Tensor:
    """Intervals and chords of the context whatever their key: 6 + 2 x chords columns."""
    columns = []
    for width in (CONTEXT // 4, CONTEXT):
        pooled = _around(classes, width)
        pooled = pooled / (pooled.square().sum(2, keepdim=True).sqrt() + 1e-3)
        if width == CONTEXT:
            columns += [(pooled * pooled.roll(-lag, 2)).sum(2) for lag in range(1, 7)]
        columns += [3 * (pooled * pooled.roll(-third, 2) * pooled.roll(-fifth, 2)).sum(2) for third, fifth in INTERVALS]
    return torch.stack(columns, dim=2)


def _melody(octaves: Tensor, voiced: Tensor) -> Tensor:
    """Register, range and steps of the pitch over the context, weighted by certainty: 3 + 3 x (bins + 2) columns."""
    sure = ((voiced - 0.5) / 0.3).clamp(0, 1).unsqueeze(2)
    pitch = octaves.unsqueeze(2)
    weight = _around(sure) + 1e-3
    mean = _around(pitch * sure) / weight
    deviation = torch.sqrt((_around(pitch.square() * sure) / weight - mean.square()).clamp(min=0) + 1e-6)
    columns = [mean / 2, deviation, weight]
    edges = torch.tensor(MELODY_EDGES_SEMITONES, dtype=pitch.dtype, device=pitch.device)
    for lag in MELODY_LAGS:
        later = torch.cat([pitch[:, lag:], pitch[:, -1:].expand(-1, min(lag, pitch.shape[1]), -1)], dim=1)
        later_sure = torch.cat([sure[:, lag:], torch.zeros_like(sure[:, : min(lag, sure.shape[1])])], dim=1)
        step = spectra.SEMITONES * (later - pitch)
        both = sure * later_sure
        share = _around(both) + 1e-2
        bins = F.one_hot(torch.bucketize(step.squeeze(2), edges), len(edges) + 1).to(pitch.dtype)
        columns.append(_around(bins * both) / share)
        columns.append(_around(step.clamp(-7, 7) * both) / share / 2)
        columns.append(_around(step.abs().clamp(max=7) * both) / share / 2)
    return torch.cat(columns, dim=2)
