"""Chunks and bins against the whole sound at once."""

from __future__ import annotations

import numpy as np
import pytest

from evcap_cli.backbones.contract import AudioInput
from evcap_cli.features.audio_chunks import BINS, AudioBins, AudioCutter

RATE = 1000


def cut(total, wanted, *, block=170, start=0.0, end=1e9, first=0):
    """Chunks of a sound whose k-th sample is k."""
    sound = np.arange(first, first + total, dtype=np.float32)
    cutter = AudioCutter(wanted, start, end)
    chunks = []
    for at in range(0, total, block):
        chunks += cutter.add((first + at) / RATE, sound[at : at + block])
    return chunks + cutter.finish(), cutter


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("total", [999, 1000, 1001, 1500, 2000, 2300, 5000, 5001])
def test_full_chunks_cover_the_sound_and_the_last_ends_with_it(total, overlap):
    wanted = AudioInput(rate=RATE, chunk_seconds=1.0, overlap_seconds=overlap, hop_seconds=0.01)
    chunks, _ = cut(total, wanted)
    length = min(total, 1000)
    assert all(len(chunk.samples) == length for chunk in chunks)
    for chunk in chunks:
        first = round(chunk.start * RATE)
        assert chunk.samples.tolist() == list(range(first, first + length))
    assert round(chunks[-1].start * RATE) + length == total
    if total > 1000:
        steps = round((1 - overlap) * RATE)
        assert [round(chunk.start * RATE) for chunk in chunks[:-1]] == [i * steps for i in range(len(chunks) - 1)]


@pytest.mark.parametrize("overlap", [0.0, 0.4])
@pytest.mark.parametrize("total", [700, 1000, 2750, 9990])
def test_every_step_of_the_sound_is_counted_once(total, overlap):
    wanted = AudioInput(rate=RATE, chunk_seconds=1.0, overlap_seconds=overlap, hop_seconds=0.01)
    chunks, _ = cut(total, wanted)
    counted = []
    for chunk in chunks:
        times = chunk.start + (np.arange(len(chunk.samples) // 10) + 0.5) * 0.01
        kept = times[(times >= chunk.keep_from) & (times < chunk.keep_until)]
        counted += kept.tolist()
        if chunk is not chunks[0] and chunk is not chunks[-1]:
            assert kept.min() - chunk.start >= overlap / 2 - 0.011  # the outer halves of overlaps go to the neighbours
    np.testing.assert_allclose(np.diff(counted), 0.01, atol=1e-9)
    assert len(counted) == total // 10


def test_blocks_of_any_size_give_the_same_chunks():
    wanted = AudioInput(rate=RATE, chunk_seconds=1.0, overlap_seconds=0.25)
    one = cut(4321, wanted, block=7)[0]
    other = cut(4321, wanted, block=4321)[0]
    assert [(c.start, c.keep_from, c.keep_until, c.samples.tolist()) for c in one] == [
        (c.start, c.keep_from, c.keep_until, c.samples.tolist()) for c in other
    ]


def test_memory_does_not_grow_with_the_length_of_the_sound():
    wanted = AudioInput(rate=RATE, chunk_seconds=1.0, overlap_seconds=0.25)
    cutter = AudioCutter(wanted, 0.0, 1e9)
    held = 0
    for at in range(0, 300_000, 100):
        cutter.add(at / RATE, np.zeros(100, dtype=np.float32))
        held = max(held, len(cutter.pending))
    assert held <= 3 * 1000


def test_a_segment_takes_its_own_part_on_its_own_clock():
    wanted = AudioInput(rate=RATE, chunk_seconds=10.0)
    chunks, _ = cut(5000, wanted, start=1.5, end=2.25)
    assert len(chunks) == 1
    assert chunks[0].samples.tolist() == list(range(1500, 2250))
    assert chunks[0].start == 0.0


def test_a_sound_that_starts_late_keeps_its_time():
    chunks, _ = cut(800, AudioInput(rate=RATE, chunk_seconds=10.0), first=400)
    assert chunks[0].start == pytest.approx(0.4)


def test_gaps_become_silence_and_repeats_are_dropped():
    cutter = AudioCutter(AudioInput(rate=RATE, chunk_seconds=10.0), 0.0, 100.0)
    cutter.add(0.0, np.ones(300, dtype=np.float32))
    cutter.add(0.2, np.full(200, 2, dtype=np.float32))
    cutter.add(0.5, np.full(100, 3, dtype=np.float32))
    (chunk,) = cutter.finish()
    assert chunk.samples.tolist() == [1.0] * 300 + [2.0] * 100 + [0.0] * 100 + [3.0] * 100


def test_a_very_long_gap_does_not_become_silence():
    wanted = AudioInput(rate=RATE, chunk_seconds=1.0, overlap_seconds=0.25)
    cutter = AudioCutter(wanted, 0.0, 1e9)
    chunks = cutter.add(0.0, np.ones(1500, dtype=np.float32))
    chunks += cutter.add(1e8, np.full(1300, 2, dtype=np.float32))
    chunks += cutter.finish()
    assert [(chunk.start, set(chunk.samples.tolist())) for chunk in chunks] == [
        (0.0, {1.0}),
        (0.5, {1.0}),
        (1e8, {2.0}),
        (1e8 + 0.3, {2.0}),
    ]
    assert all(len(chunk.samples) == 1000 for chunk in chunks)
    # the steps of both sounds are counted once each
    assert [chunk.keep_until == np.inf for chunk in chunks] == [False, True, False, True]
    assert chunks[2].keep_from == -np.inf


def test_a_click_is_no_sound():
    assert cut(50, AudioInput(rate=RATE, chunk_seconds=1.0))[0] == []
    assert AudioCutter(AudioInput(), 0.0, 5.0).finish() == []


@pytest.mark.parametrize("seconds", [0.5, 3.0, 61.0])
def test_bins_are_means_over_equal_parts_of_the_segment(seconds):
    hop, dim = 0.02, 4
    wanted = AudioInput(rate=RATE, chunk_seconds=10.0, hop_seconds=hop)
    chunks, _ = cut(int(seconds * RATE), wanted)
    bins = AudioBins(dim, seconds, hop)
    generator = np.random.default_rng(0)
    everything = []
    for chunk in chunks:
        steps = generator.normal(size=(int(len(chunk.samples) / RATE / hop), dim)).astype(np.float32)
        bins.add(chunk, steps)
        for number, step in enumerate(steps):
            time = chunk.start + (number + 0.5) * hop
            if chunk.keep_from <= time < chunk.keep_until:
                everything.append((time, step))
    values, times = bins.rows()
    expected = {}
    for time, step in everything:
        expected.setdefault(min(int(time / (seconds / BINS)), BINS - 1), []).append((time, step))
    assert len(values) == len(expected) <= BINS
    for row, (_, members) in enumerate(sorted(expected.items())):
        np.testing.assert_allclose(values[row], np.mean([step for _, step in members], axis=0), atol=1e-5)
        assert times[row] == pytest.approx(np.mean([time for time, _ in members]), abs=1e-4)


def cut_windows(total: int, overlap: float = 0.38):
    """Chunks of 33 steps, of 50 samples every 30, as a network without padding makes them."""
    wanted = AudioInput(rate=RATE, chunk_seconds=1.01, overlap_seconds=overlap, hop_seconds=0.03, window_seconds=0.05)
    return wanted, cut(total, wanted)[0]


@pytest.mark.parametrize("overlap", [0.02, 0.38, 0.41])
@pytest.mark.parametrize("total", [1010, 1011, 1039, 1040, 1619, 1620, 2345, 5000, 7777])
def test_where_steps_are_windows_chunks_have_exactly_the_steps_of_the_whole_sound(total, overlap):
    _, chunks = cut_windows(total, overlap)
    whole = [range(30 * k, 30 * k + 50) for k in range((total - 50) // 30 + 1)]
    kept = []
    for chunk in chunks:
        first = round(chunk.start * RATE)
        assert len(chunk.samples) == 1010
        assert first % 30 == 0
        assert chunk.samples.tolist() == list(range(first, first + 1010))
        starts = [30 * step for step in range(33)]
        own = [at for at in starts if chunk.keep_from <= chunk.start + (at + 25) / RATE < chunk.keep_until]
        kept += [range(first + at, first + at + 50) for at in own]
    assert kept == whole


def test_the_time_of_a_step_is_the_middle_of_its_window():
    wanted, chunks = cut_windows(1500)
    bins = AudioBins(1, 1.5, wanted.hop_seconds, wanted.window_seconds)
    for chunk in chunks:
        at = np.arange(33) * 0.03 + 0.025 + chunk.start
        bins.add(chunk, at[:, None].astype(np.float32))
    values, times = bins.rows()
    np.testing.assert_allclose(values[:, 0], times, atol=1e-6)
    assert len(times) == (1500 - 50) // 30 + 1  # at most one a bin


def test_chunks_that_are_no_whole_hops_apart_are_refused():
    with pytest.raises(ValueError, match="chunk less overlap must be whole hops: 620 samples, hops of 30"):
        AudioInput(rate=RATE, chunk_seconds=1.03, overlap_seconds=0.41, hop_seconds=0.03, window_seconds=0.05)
