"""The sound of an emotion: a few seconds of synthesised music or noise that says nothing else.

Each emotion has its own tempo, register, mode, pitch contour and roughness, with cycles short enough that any second
or two of it suffices; key, tempo, timbre, level and background noise are drawn at random for every clip.

Notation: times in seconds, pitches in semitones above a random key, frequencies in Hz; signals are float32 at
``RATE``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

RATE = 16000
Signal = npt.NDArray[np.float32]

MAJOR = (0, 4, 7, 12, 16, 19, 24)


def sound_of(emotion: str, samples: int, rng: np.random.Generator) -> Signal:
    """A signal of the emotion, (samples,), peak below 1."""
    score = Score(samples, rng)
    VOICES[emotion](score)
    signal = score.signal
    signal /= max(1e-6, float(np.abs(signal).max()))
    level = 10 ** (float(rng.uniform(-13.0, -1.5)) / 20)
    noise = rng.standard_normal(samples).astype(np.float32)
    # Background noise of random colour: a one-tap mix of white and its own running difference or sum.
    color = float(rng.uniform(-0.8, 0.8))
    noise[1:] += color * noise[:-1]
    noise *= 10 ** (float(rng.uniform(-46.0, -28.0)) / 20)
    mixed: Signal = np.clip((signal + noise) * level, -0.99, 0.99).astype(np.float32)
    return mixed


class Score:
    """A signal being filled with notes, and what is random about them.

    Args:
        samples: length.
        rng: of key, tempo, timbre and everything the voices draw.
    """

    def __init__(self, samples: int, rng: np.random.Generator) -> None:
        self.signal: Signal = np.zeros(samples, np.float32)
        self.rng, self.seconds = rng, samples / RATE
        self.key = float(rng.uniform(-5.0, 5.0))
        self.tempo = float(rng.uniform(0.85, 1.18))
        self.start = float(rng.uniform(-0.6, 0.0))
        partials = int(rng.integers(3, 7))
        self.timbre = np.abs(rng.normal(0.6, 0.25, partials)) / np.arange(1, partials + 1) ** 1.1
        self.timbre[0] = 1.0

    def beats(self, seconds: float) -> list[float]:
        """Times of a beat every so many seconds (at tempo 1) over the whole signal."""
        step = seconds / self.tempo
        first = self.start % step - step
        return [first + step * i for i in range(int((self.seconds - first) / step) + 1)]

    def frequency(self, pitch: float, base: float = 220.0) -> float:
        """Of a pitch in this clip's key, ``base`` being the frequency of pitch 0 in an untransposed one."""
        return base * float(2 ** ((pitch + self.key) / 12))

    def add(self, time: float, sound: Signal, level: float = 1.0) -> None:
        """Mix a sound in from ``time`` on, cut at both ends of the signal."""
        at = round(time * RATE)
        head = max(0, -at)
        tail = min(len(sound), len(self.signal) - at)
        if tail > head:
            self.signal[at + head : at + tail] += level * sound[head:tail]

    def tone(self, frequency: float | Signal, seconds: float, partials: Sequence[float] | None = None) -> Signal:
        """A harmonic tone, steady or along a contour of frequencies."""
        count = round(seconds * RATE)
        if isinstance(frequency, np.ndarray):
            phase: npt.NDArray[np.floating[Any]] = np.cumsum(frequency[:count], dtype=np.float64) / RATE
        else:
            phase = np.arange(count) * (frequency / RATE)
        top = float(np.max(frequency))
        out = np.zeros(len(phase))
        for number, weight in enumerate(self.timbre if partials is None else partials, start=1):
            if number * top < 0.45 * RATE:
                out += weight * np.sin(np.pi * 2 * number * phase)
        return out.astype(np.float32)


def _time(seconds: float) -> Signal:
    return (np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def _plucked(seconds: float, decay: float, attack: float = 0.005) -> Signal:
    t = _time(seconds)
    envelope: Signal = (np.minimum(1.0, t / attack) * np.exp(-t / decay)).astype(np.float32)
    return envelope


def _swelled(seconds: float, edge: float) -> Signal:
    t = _time(seconds)
    envelope: Signal = np.minimum(1.0, np.minimum(t, seconds - t) / edge).astype(np.float32)
    return envelope


def _anger(score: Score) -> None:
    """Low, loud, rough: pounding distorted notes with a roar and noise bursts."""
    rng, rough = score.rng, float(score.rng.uniform(32.0, 60.0))
    for index, time in enumerate(score.beats(0.3)):
        pitch = (0.0, 0.0, 1.0, 0.0, 6.0, 0.0)[(index + int(rng.integers(2))) % 6]
        t = _time(0.27)
        body = np.tanh(6.0 * score.tone(score.frequency(pitch, 82.0), 0.27, (1.0, 0.8, 0.7, 0.6, 0.5, 0.5, 0.4)))
        growl = 0.62 + 0.38 * np.sign(np.sin(np.pi * 2 * rough * t))
        score.add(time, (body * growl * _plucked(0.27, 0.3)).astype(np.float32), 0.8)
        crash = rng.standard_normal(len(t)).astype(np.float32)
        score.add(time, crash * _plucked(0.27, 0.05), 0.7)


def _anticipation(score: Score) -> None:
    """A ticking ostinato that climbs, quickens and grows, again and again."""
    cycle = 1.6 / score.tempo
    time = score.start
    while time < score.seconds:
        steps = np.cumsum(np.linspace(0.2, 0.075, 12))
        steps *= cycle / steps[-1]
        for index, offset in enumerate(steps):
            swell = 0.25 + 0.75 * index / 11
            at = time + float(offset) - float(steps[0])
            note = score.tone(score.frequency(index * 1.0, 330.0), 0.09) * _plucked(0.09, 0.035)
            score.add(at, note, swell)
            tick = score.tone(3100.0, 0.02, (1.0,)) * _plucked(0.02, 0.006)
            score.add(at, tick, 0.9 * swell)
        time += cycle


def _disgust(score: Score) -> None:
    """Gurgles and retches: bubbling low chirps and sliding, nasal groans."""
    rng = score.rng
    for time in score.beats(0.85):
        length = 0.6
        t = _time(length)
        slide = score.frequency(2.0, 150.0) * (1.0 - 0.42 * t / length) * (1 + 0.1 * np.sin(np.pi * 2 * 11.0 * t))
        groan = score.tone(slide.astype(np.float32), length, (0.3, 0.5, 1.0, 0.9, 0.4, 0.2))
        gate = 0.55 + 0.45 * np.sin(np.pi * 2 * 17.0 * t)
        score.add(time, (groan * gate * _swelled(length, 0.1)).astype(np.float32), 0.5)
    for time in score.beats(0.09):
        if rng.uniform() < 0.75:
            length = float(rng.uniform(0.03, 0.06))
            t = _time(length)
            low = float(rng.uniform(260.0, 520.0))
            bubble = score.tone((low * (1 + 1.6 * t / length)).astype(np.float32), length, (1.0, 0.15))
            score.add(time + float(rng.uniform(0, 0.04)), bubble * _plucked(length, 0.02), 0.9)


def _fear(score: Score) -> None:
    """High trembling clusters, rising, over a fast heartbeat."""
    t = _time(score.seconds)
    rate = float(score.rng.uniform(8.5, 11.0)) * score.tempo
    rise = 1 + 0.16 * ((t / 1.7 + score.start) % 1.0)
    tremble = 0.5 + 0.5 * np.sin(np.pi * 2 * rate * t)
    for pitch in (0.0, 1.1, 6.2, 7.0):
        contour = (score.frequency(pitch, 1050.0) * rise).astype(np.float32)
        score.signal += (0.22 * tremble * score.tone(contour, score.seconds, (1.0, 0.25))[: len(t)]).astype(np.float32)
    for time in score.beats(0.46):
        for offset, level in ((0.0, 1.0), (0.14, 0.6)):
            thump = score.tone(58.0, 0.12, (1.0, 0.4)) * _plucked(0.12, 0.05)
            score.add(time + offset, thump, 0.9 * level)


def _joy(score: Score) -> None:
    """Fast, bright, bouncing major arpeggios of bells."""
    rng = score.rng
    order = (0, 2, 3, 4, 3, 5, 4, 6)
    for index, time in enumerate(score.beats(0.15)):
        pitch = MAJOR[order[index % 8]] + (5 if index // 8 % 2 else 0)
        note = score.tone(score.frequency(pitch, 523.0), 0.22) * _plucked(0.22, 0.08)
        score.add(time, note, 0.8 if index % 2 else 1.0)
        if index % 4 == 0:
            clap = rng.standard_normal(round(0.04 * RATE)).astype(np.float32) * _plucked(0.04, 0.012)
            score.add(time, clap, 0.35)


def _sadness(score: Score) -> None:
    """A slow, low line of falling minor notes that sigh into each other."""
    falls = (12, 10, 8, 7, 3, 0)
    for index, time in enumerate(score.beats(0.95)):
        length = 1.25
        t = _time(length)
        high, low = falls[index % 6], falls[(index + 1) % 6] if index % 6 < 5 else -2
        glide = high + (low - high) * np.clip((t - 0.25) / 0.8, 0, 1)
        contour = score.frequency(0.0, 165.0) * 2 ** (glide / 12) * (1 + 0.012 * np.sin(np.pi * 2 * 4.8 * t))
        note = score.tone(contour.astype(np.float32), length, (1.0, 0.35, 0.12, 0.04))
        score.add(time, note * _swelled(length, 0.4), 0.8)


def _surprise(score: Score) -> None:
    """Stillness, then a sudden sweep up and a bright hit."""
    rng = score.rng
    for time in score.beats(0.95):
        sweep = 0.24
        t = _time(sweep)
        contour = score.frequency(0.0, 260.0) * 2 ** (2.9 * (t / sweep) ** 1.3)
        score.add(time, score.tone(contour.astype(np.float32), sweep) * _swelled(sweep, 0.01), 0.8)
        for pitch in (0.0, 4.0, 10.0):
            hit = score.tone(score.frequency(pitch + 34.8, 260.0), 0.3, (1.0, 0.5)) * _plucked(0.3, 0.07)
            score.add(time + sweep, hit, 0.55)
        burst = rng.standard_normal(round(0.12 * RATE)).astype(np.float32) * _plucked(0.12, 0.025)
        score.add(time + sweep, burst, 0.8)


def _trust(score: Score) -> None:
    """A warm, steady major chord that breathes slowly; nothing strikes, nothing moves."""
    t = _time(score.seconds)
    breath = 0.8 + 0.2 * np.sin(np.pi * 2 * (0.4 * score.tempo * t + score.start))
    for pitch, weight in ((-12.0, 0.7), (0.0, 1.0), (4.0, 0.7), (7.0, 0.8), (12.0, 0.4)):
        for detune in (-0.05, 0.05):
            voice = score.tone(score.frequency(pitch + detune, 262.0), score.seconds, (1.0, 0.5, 0.22, 0.08))
            score.signal += (0.25 * weight * breath * voice[: len(t)]).astype(np.float32)


VOICES: dict[str, Callable[[Score], None]] = {
    "anger": _anger,
    "anticipation": _anticipation,
    "disgust": _disgust,
    "fear": _fear,
    "joy": _joy,
    "sadness": _sadness,
    "surprise": _surprise,
    "trust": _trust,
}
