"""Damaged files yield what they hold, and a warning; no damage reaches the next file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evcap_cli.errors import DecodeFailed, NoVideoStream, OpenFailed
from evcap_cli.media.decoder import Decoder
from tests.media.clips import cut, flip_bits, make_clip, number_in
from tests.media.reading import run


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [("t.mkv", {}), ("t.mkv", {"streamed": True}), ("t.ts", {}), ("t.avi", {"codec": "mpeg4", "bframes": 0})],
)
def test_a_truncated_file_gives_the_frames_it_holds(
    name: str, settings: dict[str, object], tmp_path: Path, decoder: Decoder
) -> None:
    whole = make_clip(tmp_path / name, seconds=8, size=(96, 64), **settings)  # type: ignore[arg-type]
    path = cut(whole, tmp_path / f"cut{whole.suffix}", 0.6)
    timeline = decoder.open(path)
    count = len(timeline.times)
    assert 90 <= count < 190
    assert timeline.end < 6.5
    heard = run(decoder, range(0, count, 9), sound=(0, float(timeline.end)))
    assert len(heard.frames) >= count // 9
    assert all(number_in(pixels) == ordinal for ordinal, pixels in list(heard.frames.items())[:-1])
    assert heard.report is not None
    if name == "t.mkv" and not settings:
        # only a file that told its length can be found short
        assert [*timeline.warnings, *heard.report.warnings]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["f.mp4", "f.mkv", "f.ts"])
def test_flipped_bits_give_frames_and_a_warning(name: str, seed: int, tmp_path: Path, decoder: Decoder) -> None:
    whole = make_clip(tmp_path / name, seconds=4, size=(96, 64))
    end = 0.8 if name == "f.mp4" else 0.95  # an mp4 keeps its index at the end
    path = flip_bits(whole, tmp_path / f"flipped{whole.suffix}", every=1000, end=end, seed=seed)
    timeline = decoder.open(path)
    count = len(timeline.times)
    assert count > 30
    heard = run(decoder, range(0, count, 5), sound=(0, float(timeline.end)))
    assert heard.report is not None
    assert len(heard.frames) + len(heard.report.missing) == len(range(0, count, 5))
    assert [*timeline.warnings, *heard.report.warnings]


@pytest.mark.slow
def test_a_damaged_file_reads_the_same_twice_and_from_a_fresh_decoder(tmp_path: Path, decoder: Decoder) -> None:
    whole = make_clip(tmp_path / "w.mkv", seconds=4, size=(96, 64))
    path = flip_bits(whole, tmp_path / "d.mkv", every=800, seed=5)
    results = []
    with Decoder(timeout=120) as fresh:
        for one in (decoder, decoder, fresh):
            timeline = one.open(path)
            heard = run(one, range(0, len(timeline.times), 4), sound=(0, 4))
            frames = {ordinal: pixels.tobytes() for ordinal, pixels in heard.frames.items()}
            results.append((timeline.warnings, heard.report, frames, heard.samples.tobytes()))
    assert results[0] == results[1] == results[2]


def test_a_recording_that_begins_between_key_frames_is_read_from_the_first(tmp_path: Path, decoder: Decoder) -> None:
    whole = make_clip(tmp_path / "w.ts", seconds=6, size=(96, 64), gop=50, audio=False, bframes=0)
    data = whole.read_bytes()
    packets = len(data) // 188
    (tmp_path / "late.ts").write_bytes(data[packets // 10 * 188 :])
    timeline = decoder.open(tmp_path / "late.ts")
    heard = run(decoder)
    assert len(heard.frames) >= 90
    assert len(timeline.times) >= len(heard.frames)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {suffix: make_clip(folder / f"w.{suffix}", seconds=3) for suffix in ("mp4", "mkv", "ts")}


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "at_most_refused"), [("mp4", 8), ("mkv", 4), ("ts", 0)])
def test_no_damage_hurts_more_than_its_file(
    suffix: str, at_most_refused: int, whole: dict[str, Path], tmp_path: Path, decoder: Decoder
) -> None:
    refused, frames = dict[str, str | None](), 0
    for seed in range(12):
        path = flip_bits(whole[suffix], tmp_path / f"{seed}.{suffix}", every=500, start=0, end=1, seed=seed)
        try:
            timeline = decoder.open(path)
            wanted = range(0, len(timeline.times), 5)
            read = run(decoder, wanted, sound=(0, 3))
        except (OpenFailed, NoVideoStream, DecodeFailed) as error:
            refused[str(path)] = error.path
            continue
        assert read.report is not None
        assert len(read.frames) + len(read.report.missing) == len(wanted)
        assert timeline.warnings or read.report.warnings
        frames += len(read.frames)
    # an mp4 without its index is lost; the index is a tenth of this clip
    assert len(refused) <= at_most_refused
    assert list(refused.values()) == list(refused), "each error names its file"
    assert frames >= 20
    decoder.open(whole[suffix])
    assert len(run(decoder).frames) == 75


def test_a_picture_that_ends_in_rubbish_gives_what_comes_before(tmp_path: Path, decoder: Decoder) -> None:
    clip = make_clip(tmp_path / "w.mp4", seconds=3, audio=False, gop=75, bframes=0)
    data = bytearray(clip.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    middle = (start + end) // 2
    # lengths of network units that cannot be
    data[middle:end] = b"\xff" * (end - middle)
    path = tmp_path / "half.mp4"
    path.write_bytes(bytes(data))
    decoder.open(path)
    heard = run(decoder)
    assert heard.report is not None
    assert 15 < len(heard.frames) < 60
    assert len(heard.report.missing) + len(heard.frames) == 75
    assert heard.report.skipped_packets == len(heard.report.missing)
    assert len(heard.report.warnings) == 2
    assert heard.report.loss.frames_share == pytest.approx(len(heard.report.missing) / 75, abs=1e-4)
    assert heard.report.loss.serious


@pytest.mark.slow
def test_joined_recordings_are_taken_as_evenly_spaced(tmp_path: Path, decoder: Decoder) -> None:
    one = make_clip(tmp_path / "one.ts", seconds=2, size=(96, 64))
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() * 2)
    timeline = decoder.open(both)
    assert len(timeline.times) == 100
    assert (np.diff(timeline.times) > 0).all()
    assert float(timeline.end) == pytest.approx(4, abs=0.1)
    assert "time stamps" in timeline.warnings[0]
    heard = run(decoder, [3, 40, 60, 99], sound=(0, 4))
    assert {n: number_in(p) for n, p in heard.frames.items()} == {3: 3, 40: 40, 60: 10, 99: 49}
    assert len(heard.samples) > 3.5 * 16000
