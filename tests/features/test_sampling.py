"""Sampling against a search through all frames, on regular, irregular, short and odd lists of time stamps; ``epan``
against the published scripts as the text describes them."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from evcap_cli.errors import UsageError
from evcap_cli.features.sampling import MOMENTS, epan, frames_between, moments, row_times, sampler, spread

TIME_BASE = Fraction(1, 90000)


def regular(count: int, fps: Fraction = Fraction(25)) -> np.ndarray:
    return np.array([int(i / fps / TIME_BASE) for i in range(count)], dtype=np.int64)


def irregular(count: int, seed: int) -> np.ndarray:
    gaps = np.random.default_rng(seed).choice([1, 900, 3000, 3600, 90000, 400000], size=count)
    return np.cumsum(gaps).astype(np.int64)


def end_of(ticks: np.ndarray) -> Fraction:
    return (int(ticks[-1]) + 3600) * TIME_BASE


def shown_at_the_moments(ticks: np.ndarray, start: Fraction, end: Fraction) -> list[int]:
    """What is on screen in the middle of each thirtieth of the time from the first frame to a frame after the last."""
    inside = [i for i, tick in enumerate(ticks) if start <= int(tick) * TIME_BASE < end]
    if not inside:
        before = [i for i, tick in enumerate(ticks) if int(tick) * TIME_BASE <= start]
        return [before[-1] if before else 0]
    times = {i: int(ticks[i]) * TIME_BASE for i in inside}
    gaps = sorted(times[b] - times[a] for a, b in pairwise(inside))
    middle = len(gaps) // 2
    typical = 0 if not gaps else gaps[middle] if len(gaps) % 2 else (gaps[middle - 1] + gaps[middle]) / 2
    typical = int(typical / TIME_BASE) * TIME_BASE
    ceiling = -(-end // TIME_BASE) * TIME_BASE
    begin, finish = times[inside[0]], min(times[inside[-1]] + typical, max(ceiling, times[inside[-1]]))
    found = []
    for number in range(30):
        moment = begin + (finish - begin) * Fraction(2 * number + 1, 60)
        found.append(max(i for i in inside if times[i] <= moment))
    return sorted(set(found))


@pytest.mark.parametrize(
    "ticks",
    [
        regular(1),
        regular(2),
        regular(7),
        regular(29),
        regular(30),
        regular(31),
        regular(125),
        regular(1000, Fraction(30000, 1001)),
    ]
    + [irregular(count, seed) for seed, count in enumerate((2, 5, 29, 30, 31, 200, 400))],
    ids=lambda ticks: f"{len(ticks)} frames",
)
def test_moments_equal_a_search_through_all_frames(ticks):
    end = end_of(ticks)
    for start, stop in ((Fraction(0), end), (end / 3, end / 2), (end * Fraction(9, 10), end), (Fraction(0), end / 7)):
        sample = moments(ticks, TIME_BASE, start, stop)
        assert sample.frames.tolist() == shown_at_the_moments(ticks, start, stop)
        assert 1 <= len(sample.frames) <= MOMENTS


def test_a_regular_video_gives_thirty_evenly_spread_rows():
    sample = moments(regular(300), TIME_BASE, Fraction(0), Fraction(12))
    assert sample.frames.tolist() == list(range(5, 300, 10))


def test_fewer_frames_than_moments_give_each_frame_once():
    assert moments(regular(7), TIME_BASE, Fraction(0), Fraction(7, 25)).frames.tolist() == list(range(7))


def test_a_long_sound_track_does_not_stretch_the_last_picture():
    ticks = regular(125)
    alone, with_sound = (moments(ticks, TIME_BASE, Fraction(0), Fraction(end)) for end in (5, 60))
    assert alone.frames.tolist() == with_sound.frames.tolist()


def test_a_segment_without_a_frame_of_its_own_shows_the_one_before():
    ticks = np.array([0, 90000, 900000], dtype=np.int64)
    assert frames_between(ticks, TIME_BASE, Fraction(3), Fraction(4)) == (1, 2)
    assert frames_between(ticks, TIME_BASE, Fraction(20), Fraction(21)) == (2, 3)
    late = ticks + 90000
    assert frames_between(late, TIME_BASE, Fraction(0), Fraction(1, 2)) == (0, 1)


def test_segments_share_no_frame_and_leave_none_out():
    ticks = irregular(400, 9)
    cuts = [end_of(ticks) * Fraction(i, 7) for i in range(8)]
    parts = [range(*frames_between(ticks, TIME_BASE, a, b)) for a, b in pairwise(cuts)]
    own = [i for part in parts for i in part if any(a <= int(ticks[i]) * TIME_BASE < b for a, b in pairwise(cuts))]
    assert sorted(set(own)) == list(range(400))


def test_windows_are_consecutive_frames_with_repeated_edges():
    sample = moments(regular(60), TIME_BASE, Fraction(0), Fraction(60, 25))
    windows = sample.windows(sample.centres, 16, 1)
    for row, centre in zip(windows.tolist(), sample.centres.tolist(), strict=True):
        assert row == [min(max(centre + offset, 0), 59) for offset in range(-8, 8)]
    strided = sample.windows(sample.centres, 3, 4).tolist()
    assert strided[10] == [sample.centres[10] - 4, sample.centres[10], sample.centres[10] + 4]


def test_windows_never_leave_their_segment():
    sample = moments(regular(100), TIME_BASE, Fraction(1), Fraction(2))
    windows = sample.windows(sample.centres, 16, 2)
    assert windows.min() == 25
    assert windows.max() == 49


def test_key_frames_are_every_third_moment_with_both_neighbours():
    sample = moments(regular(300), TIME_BASE, Fraction(0), Fraction(12))
    assert sample.key_frames.tolist() == sample.frames[1::3].tolist()
    assert sample.snippets()[0].tolist() == [14, 15, 16]
    single = moments(regular(1), TIME_BASE, Fraction(0), Fraction(1, 25))
    assert [snippet.tolist() for snippet in single.snippets()] == [[0]]


def test_times_of_rows_count_from_the_segment_and_are_never_negative():
    ticks = regular(100)
    sample = moments(ticks, TIME_BASE, Fraction(2), Fraction(3))
    times = row_times(ticks, TIME_BASE, sample.frames, Fraction(2))
    assert times.tolist() == pytest.approx([float(int(ticks[i]) * TIME_BASE) - 2 for i in sample.frames], abs=1e-6)
    assert row_times(ticks, TIME_BASE, np.array([0]), Fraction(2)).tolist() == [0.0]


def test_huge_time_stamps_stay_exact():
    ticks = regular(300) + 2**52
    shifted = moments(ticks, TIME_BASE, 2**52 * TIME_BASE, 2**52 * TIME_BASE + 12)
    assert shifted.frames.tolist() == moments(regular(300), TIME_BASE, Fraction(0), Fraction(12)).frames.tolist()


def test_an_unknown_sampling_names_those_that_exist():
    with pytest.raises(UsageError, match="moments"):
        sampler("random")


def thirty_of(things: list) -> list:
    """Thirty by linspace, in the double arithmetic of the loader, cut to whole numbers; the last one always last."""
    step = (len(things) - 1) / 29
    return [things[int(i * step)] for i in range(29)] + [things[-1]]


def published(count: int) -> tuple[list[int], list[list[int]]]:
    """2-D frames and 3-D windows of a video of ``count`` frames, thirty rows each, as the scripts make them."""
    frames = [number for number in range(count) if number >= 8 and number < count - 7 and (number - 8) % 5 == 0]
    windows, begin = [], 0
    while begin + 16 < count:  # a window that ends with the last frame is dropped
        windows.append([begin + offset for offset in range(16)])
        begin += 16
    return thirty_of(frames), thirty_of(windows)


def rows_of(sample) -> tuple[list[int], list[list[int]]]:
    frames = sample.frames[spread(len(sample.frames), sample.rows)]
    windows = sample.windows(sample.centres, 16, 1)[spread(len(sample.centres), sample.rows)]
    return frames.tolist(), windows.tolist()


@pytest.mark.slow
def test_epan_frames_and_windows_are_those_of_the_published_scripts():
    for count in [*range(17, 700), 1000, 4999, 20000]:
        ticks = np.arange(count, dtype=np.int64) * 3600
        assert rows_of(epan(ticks, TIME_BASE, Fraction(0), end_of(ticks))) == published(count), count


def test_epan_counts_frames_whatever_their_times_and_within_its_segment():
    ticks = irregular(400, 3)
    whole = epan(ticks, TIME_BASE, Fraction(0), end_of(ticks))
    assert rows_of(whole) == published(400)
    start, end = end_of(ticks) / 4, end_of(ticks) * Fraction(3, 4)
    part = epan(ticks, TIME_BASE, start, end)
    frames, windows = published(part.last - part.first)
    assert rows_of(part) == (
        [part.first + number for number in frames],
        [[part.first + number for number in window] for window in windows],
    )


@pytest.mark.parametrize("count", range(1, 17))
def test_epan_fills_in_what_the_published_scripts_fail_on(count):
    ticks = regular(count)
    frames, windows = rows_of(epan(ticks, TIME_BASE, Fraction(0), end_of(ticks)))
    every_fifth = [8] if count == 16 else list(range(0, count, 5))
    assert frames == thirty_of(every_fifth)
    assert windows == [[min(max(count // 2 + offset, 0), count - 1) for offset in range(-8, 8)]] * 30


def test_epan_names_each_frame_once_however_many_rows_show_it():
    for count in (3, 40, 90, 2000):
        ticks = regular(count)
        sample = epan(ticks, TIME_BASE, Fraction(0), end_of(ticks))
        for several in (sample.frames, sample.centres):
            assert several.tolist() == sorted(set(several.tolist()))
            assert len(several) <= MOMENTS
        assert sample.key_frames.tolist() == sample.frames[min(1, len(sample.frames) - 1) :: 3].tolist()
