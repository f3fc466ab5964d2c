"""Times: each frame at the moment a player shows it, counted from the start of the file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from evcap_cli.media.decoder import Decoder
from tests.media.clips import make_clip, number_in
from tests.media.reading import run


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


def times_of(decoder: Decoder, path: Path) -> np.ndarray:
    timeline = decoder.open(path)
    return np.array([float(timeline.seconds(number)) for number in range(len(timeline.times))])


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.mov", "v.ts"])
def test_variable_frame_rate(name: str, tmp_path: Path, decoder: Decoder) -> None:
    shown = [0, 0.04, 0.3, 0.35, 1.0, 1.01, 1.5, 1.9, 3.0]
    times = times_of(decoder, make_clip(tmp_path / name, vfr=shown, audio=False))
    np.testing.assert_allclose(times, shown, atol=1e-3)
    assert {number: number_in(pixels) for number, pixels in run(decoder).frames.items()} == {n: n for n in range(9)}


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.ts", "o.flv"])
def test_a_late_start_of_everything_is_subtracted(name: str, tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / name, start_offset=5, seconds=1)
    times = times_of(decoder, path)
    # an encoder's priming may move the sound's start ahead of the picture's by up to a packet or two
    assert 0 <= times[0] <= 0.13
    np.testing.assert_allclose(np.diff(times), 0.04, atol=2e-3)
    assert decoder.timeline is not None
    assert 1.0 <= float(decoder.timeline.end) <= 1.3 or name == "o.mp4"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_sound_that_starts_before_the_picture_sets_the_zero(name: str, tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / name, start_offset=3, audio_offset=2, seconds=2)
    times = times_of(decoder, path)
    assert times[0] == pytest.approx(1, abs=0.13)
    heard = run(decoder, [0], sound=(0, 10))
    assert heard.sound_start == pytest.approx(0, abs=0.13)


@pytest.mark.parametrize("name", ["p.mp4", "p.mkv", "p.ts"])
def test_picture_that_starts_before_the_sound(name: str, tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / name, start_offset=1, audio_offset=2, seconds=2)
    times = times_of(decoder, path)
    assert times[0] == pytest.approx(0, abs=1e-3)
    first = run(decoder, [0], sound=(0, 10)).sound_start
    assert 0.8 < first < 1.1


def test_a_single_frame(tmp_path: Path, decoder: Decoder) -> None:
    timeline = decoder.open(make_clip(tmp_path / "one.mp4", seconds=0.04, audio=False))
    assert len(timeline.times) == 1
    assert timeline.seconds(0) == 0
    assert timeline.end == Fraction(1, 25)
    assert timeline.warnings == ("the picture is a single frame: nothing moves in it",)
    assert number_in(run(decoder, [0]).frames[0]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("s.mkv", None), ("s.webm", None), ("s.h264", "h264")])
def test_unknown_duration_is_the_last_frame_and_one_more(
    name: str, kind: str | None, tmp_path: Path, decoder: Decoder
) -> None:
    codec = "libvpx" if name.endswith("webm") else "libx264"
    fast = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx" else None
    path = make_clip(
        tmp_path / name,
        seconds=2,
        size=(64, 48),
        audio=False,
        streamed=kind is None,
        format=kind,
        codec=codec,
        bframes=0,
        options=fast,
    )
    timeline = decoder.open(path)
    assert timeline.info.duration is None
    assert len(timeline.times) == 50
    assert float(timeline.end) == pytest.approx(2, abs=0.002)


def test_audio_track_is_chosen_by_number(tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / "t.mp4", seconds=0.4)
    assert decoder.open(path, 0).info.has_audio
    timeline = decoder.open(path, 3)
    assert not timeline.info.has_audio
    assert "audio tracks" in timeline.warnings[0]


@pytest.mark.slow
def test_a_file_without_sound_says_so(tmp_path: Path, decoder: Decoder) -> None:
    assert not decoder.open(make_clip(tmp_path / "m.mp4", seconds=0.4, audio=False)).info.has_audio
    heard = run(decoder, [0], sound=(0, 1))
    assert heard.chunks == []
    assert heard.report is not None
    assert heard.report.warnings == ()
