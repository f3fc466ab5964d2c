"""Sounds: each emotion is in any second or two, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from evcap_cli.demo.facts import EMOTIONS, ClipFacts
from evcap_cli.demo.render import render_clip
from evcap_cli.demo.sound import RATE, sound_of

CLIP = ClipFacts("vid51234", ("man",), "walk", "park", "joy", "left", False, False, "joy", 3.0, 7)


def decoded(facts: ClipFacts, path: Path) -> np.ndarray:
    render_clip(facts, path)
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def spectral_dynamics(window: np.ndarray) -> np.ndarray:
    """Level-free log spectrum in 24 bands: mean, spread and onsets."""
    frames = np.lib.stride_tricks.sliding_window_view(window, 512)[::256] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = np.unique(np.geomspace(1, 256, 25).astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-6)
    bands -= bands.mean()
    steps = np.diff(bands, axis=0)
    return np.concatenate([bands.mean(0), bands.std(0), steps.clip(0).mean(0), np.abs(steps).std(0)])


@pytest.mark.slow
def test_any_stretch_of_a_second_and_a_bit_tells_the_emotion() -> None:
    rng = np.random.default_rng(0)
    features: list[list[np.ndarray]] = [[], []]
    labels: list[list[int]] = [[], []]
    length = int(1.2 * RATE)
    for label, emotion in enumerate(EMOTIONS):
        for seed in range(18):
            sound = sound_of(emotion, 3 * RATE, np.random.default_rng((seed, label)))
            at = int(rng.integers(0, len(sound) - length))
            features[seed % 2].append(spectral_dynamics(sound[at : at + length]))
            labels[seed % 2].append(label)
    seen, expected = (np.asarray(rows) for rows in features)
    scale = seen.std(0) + 1e-6
    centres = np.stack([seen[np.asarray(labels[0]) == label].mean(0) for label in range(8)])
    nearest = (((expected[:, None] - centres) / scale) ** 2).sum(-1).argmin(-1)
    assert np.mean(nearest == np.asarray(labels[1])) > 0.9


@pytest.mark.slow
def test_the_sound_is_the_same_whatever_the_picture_shows(tmp_path: Path) -> None:
    first = decoded(CLIP, tmp_path / "a.mp4")
    shown = replace(CLIP, subjects=("dog", "girl"), action="hug", place="night", actor_side="right")
    assert np.array_equal(first, decoded(shown, tmp_path / "b.mp4"))
    assert np.array_equal(first, decoded(replace(CLIP, hidden=True, mood="fear"), tmp_path / "c.mp4"))
    assert not np.array_equal(first, decoded(replace(CLIP, emotion="fear"), tmp_path / "d.mp4"))


@pytest.mark.slow
@pytest.mark.parametrize("emotion", EMOTIONS)
def test_sounds_are_audible_finite_and_below_full_scale(emotion: str) -> None:
    levels = []
    for seed in range(4):
        sound = sound_of(emotion, RATE * 2, np.random.default_rng(seed))
        again = sound_of(emotion, RATE * 2, np.random.default_rng(seed))
        assert np.array_equal(sound, again)
        assert sound.dtype == np.float32
        assert len(sound) == RATE * 2
        levels.append(float(np.abs(sound).max()))
    assert all(0.1 < level < 1.0 for level in levels)
    assert len(set(levels)) == 4
