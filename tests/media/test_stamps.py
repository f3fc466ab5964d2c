"""Time stamps: reordering across a picture that stands still is sound, a stamp that is out of its place is damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from evcap_cli.media import stamps
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.scan import open_video
from tests.media.clips import make_clip, number_in
from tests.media.reading import run

HOURS = 2 * 3600


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


def held(before: int, still: float, after: int) -> list[float]:
    """Times of frames at 25 a second with a picture that stands still between."""
    first = [n / 25 for n in range(before)]
    return first + [first[-1] + still + n / 25 for n in range(after)]


def rewritten(source: Path, target: Path, change: Callable[[int, Any], None], kind: str = "video") -> Path:
    """A copy whose packets of one kind ``change`` was shown, with their number."""
    count = 0
    with av.open(str(source)) as plain, av.open(str(target), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in plain.streams}
        for packet in plain.demux():
            if not packet.size:
                continue
            if packet.stream.type == kind:
                change(count, packet)
                count += 1
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
@pytest.mark.parametrize("after", [50, 2])
def test_a_picture_that_stands_still_long_in_a_film_with_reordered_frames(
    codec: str, suffix: str, after: int, tmp_path: Path, decoder: Decoder
) -> None:
    shown = held(50, 12, after)
    path = make_clip(tmp_path / f"still.{suffix}", vfr=shown, codec=codec, size=(96, 64), bframes=3, audio=False)
    timeline = decoder.open(path)
    assert timeline.warnings == ()
    times = [float(timeline.seconds(number)) for number in range(len(timeline.times))]
    np.testing.assert_allclose(times, shown, atol=2e-3)
    assert float(timeline.end) == pytest.approx(shown[-1] + 0.04, abs=0.1)
    last = len(shown) - 1
    assert {n: number_in(p) for n, p in run(decoder, [10, 49, 50, last]).frames.items()} == {
        n: n for n in (10, 49, 50, last)
    }


@pytest.mark.slow
def test_sound_goes_on_while_a_picture_stands_still(tmp_path: Path, decoder: Decoder) -> None:
    shown = held(25, 15, 25)
    path = make_clip(tmp_path / "still.mkv", vfr=shown, size=(96, 64))
    timeline = decoder.open(path)
    heard = run(decoder, [0], sound=(0, float(timeline.end)))
    assert len(heard.samples) / 16_000 == pytest.approx(shown[-1], abs=0.2)


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
@pytest.mark.parametrize("number", [40, 72, 73])
def test_a_frame_whose_stamp_is_damaged_is_left_out(suffix: str, number: int, tmp_path: Path, decoder: Decoder) -> None:
    whole = make_clip(tmp_path / f"w.{suffix}", seconds=3, size=(96, 64), audio=False)

    def damage(at: int, packet: Any) -> None:
        if at == number:
            packet.pts += int(HOURS / packet.time_base)

    timeline = decoder.open(rewritten(whole, tmp_path / f"d.{suffix}", damage))
    assert len(timeline.times) == 74
    assert float(timeline.seconds(73)) == pytest.approx(2.96, abs=0.05)
    assert timeline.warnings == ("1 damaged time stamp: frames that have it are left out",)
    if suffix == "ts":
        # an mp4's declared length is made from all stamps, also by the writer of this test
        assert float(timeline.end) == pytest.approx(3, abs=0.1)
    frames = run(decoder, [0, 20, 73]).frames
    assert {n: number_in(p) for n, p in frames.items()} == {0: 0, 20: 20, 73: 74}


@pytest.mark.slow
def test_sound_whose_stamp_is_damaged_costs_nothing(tmp_path: Path, decoder: Decoder) -> None:
    whole = make_clip(tmp_path / "w.mkv", seconds=8, size=(96, 64))
    path = rewritten(whole, tmp_path / "d.mkv", damage_of_sound, "audio")
    timeline = decoder.open(path)
    heard = run(decoder, [0], sound=(0, float(timeline.end)))
    assert float(timeline.end) == pytest.approx(8, abs=0.1)
    assert len(heard.samples) / 16_000 == pytest.approx(8, abs=0.15)


def damage_of_sound(number: int, packet: Any) -> None:
    if number in (40, 41):
        packet.pts += round(4 / packet.time_base)


def test_a_decoding_time_that_runs_back_alone_is_no_damage(tmp_path: Path) -> None:
    """Several frames of a quiet picture share a packet of a program stream: FFmpeg guesses when they are decoded."""
    pictures = []
    for number in range(400):
        picture = np.full((96, 128, 3), 90, np.uint8)
        picture[:8, number % 120 : number % 120 + 8] = 200
        pictures.append(picture)
    path = make_clip(
        tmp_path / "quiet.mpg", codec="mpeg2video", size=(128, 96), pictures=pictures, audio=False, bframes=2
    )
    with av.open(str(path)) as plain:
        decoding = [packet.dts for packet in plain.demux(video=0) if packet.size]
    opened = open_video(path)
    try:
        assert opened.timeline.warnings == ()
        assert opened.timeline.info.duration is not None
        assert float(opened.timeline.end) == pytest.approx(16, abs=0.1)
        assert opened.stamps is not None
    finally:
        opened.file.close()
    assert len(decoding) == 400


def test_a_clock_that_wraps_in_the_middle(tmp_path: Path, decoder: Decoder) -> None:
    wrap = 2**33 / 90_000
    path = make_clip(tmp_path / "w.ts", seconds=4, size=(96, 64), start_offset=wrap - 2)
    timeline = decoder.open(path)
    times = [float(timeline.seconds(number)) for number in range(len(timeline.times))]
    np.testing.assert_allclose(np.diff(times), 0.04, atol=2e-3)
    assert timeline.warnings == ()
    assert float(timeline.end) == pytest.approx(4, abs=0.3)
    heard = run(decoder, [5, 95], sound=(0, 5))
    assert {n: number_in(p) for n, p in heard.frames.items()} == {5: 5, 95: 95}
    assert len(heard.samples) / 16_000 == pytest.approx(4, abs=0.3)


def reordered(times: list[int], distance: int) -> np.ndarray:
    """Decoding order in which every ``distance``-th frame comes before those that it is shown after."""
    order: list[int] = []
    for first in range(0, len(times), distance):
        group = list(range(first, min(first + distance, len(times))))
        order += [group[-1], *group[:-1]]
    return np.array([times[place] for place in order], dtype=np.int64)


@pytest.mark.parametrize("distance", [1, 4, 16])
def test_any_reordering_that_codecs_allow_is_sound_across_any_gap(distance: int) -> None:
    generator = np.random.default_rng(distance)
    for _ in range(20):
        times = np.cumsum(np.where(generator.random(300) < 0.02, generator.integers(1, 10**7, 300), 40)).tolist()
        assert not stamps.out_of_place(reordered(times, distance)).any()


def test_single_stamps_out_of_place_are_found_and_no_others() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        good = reordered(list(range(0, 300 * 40, 40)), 4)
        place = int(generator.integers(40, 260))
        bad = good.copy()
        bad[place] += int(generator.choice([-(10**7), 10**7]))
        found = stamps.out_of_place(bad)
        assert found.nonzero()[0].tolist() == [place]


@pytest.mark.slow
def test_pieces_whose_clocks_overlap_are_not_believed() -> None:
    piece = reordered(list(range(0, 50 * 40, 40)), 3)
    assert stamps.believable(np.concatenate([piece, piece])) is None
    assert stamps.believable(np.concatenate([piece[:30], piece[:30] + 13])) is None
    assert stamps.believable(np.concatenate([piece, piece + 100_000])) is not None
