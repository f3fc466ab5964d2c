"""Sound: the same samples as PyAV resamples from the whole track, at the right time, in small chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evcap_cli.media.decoder import Decoder
from tests.media.clips import make_clip
from tests.media.reading import RATE, plain_sound, run


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=30) as one:
        yield one


TRACKS = {
    "aac 44.1 kHz stereo, mp4": ("a.mp4", {"rate": 44100, "channels": "stereo"}),
    "aac 16 kHz mono, mkv": ("a.mkv", {}),
    "aac 48 kHz 5.1, mkv": ("a.mkv", {"rate": 48000, "channels": "5.1"}),
    "opus, webm": ("a.webm", {"codec": "libvpx", "bframes": 0}),
    "mp3, mkv": ("a.mkv", {"audio_codec": "libmp3lame", "rate": 44100}),
    "ac3, ts": ("a.ts", {"audio_codec": "ac3", "rate": 48000}),
}


@pytest.mark.parametrize("track", TRACKS)
def test_whole_track_equals_a_plain_resample(track: str, tmp_path: Path, decoder: Decoder) -> None:
    name, settings = TRACKS[track]
    path = make_clip(tmp_path / name, seconds=4, size=(64, 48), **settings)  # type: ignore[arg-type]
    _, plain = plain_sound(path)
    timeline = decoder.open(path)
    heard = run(decoder, [0], sound=(0, float(timeline.end) + 1))
    samples = heard.samples
    # what lies before time 0 is the encoder's priming, which is dropped
    dropped = len(plain) - len(samples)
    assert 0 <= dropped <= 0.1 * RATE
    np.testing.assert_allclose(samples, plain[dropped:], atol=1e-6)
    assert heard.report is not None
    assert heard.report.warnings == ()


def test_chunks_are_about_a_second_and_leave_no_gap(tmp_path: Path, decoder: Decoder) -> None:
    decoder.open(make_clip(tmp_path / "c.mp4", seconds=6, size=(64, 48), rate=44100))
    chunks = run(decoder, [0], sound=(0, 6)).chunks
    assert max(len(samples) for _, samples in chunks) <= 1.2 * RATE
    position = round(chunks[0][0] * RATE)
    for start, samples in chunks:
        assert start * RATE == pytest.approx(position, abs=1e-6)
        assert samples.dtype == np.float32
        position += len(samples)
    assert position == 6 * RATE


@pytest.fixture(scope="module", params=["s.mp4", "s.mkv", "s.ts"])
def half_minute(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / request.param
    return make_clip(path, seconds=30, fps=2, size=(32, 32), bframes=0)


@pytest.mark.parametrize("span", [(1.5, 3.25), (20.0, 22.0), (28.5, 60.0)])
def test_a_span_is_that_span_of_the_whole(half_minute: Path, span: tuple[float, float], decoder: Decoder) -> None:
    decoder.open(half_minute)
    whole = run(decoder, [0], sound=(0, 60))
    part = run(decoder, [0], sound=span)
    first = round((span[0] - whole.sound_start) * RATE)
    expected = whole.samples[max(first, 0) :][: round((span[1] - max(span[0], whole.sound_start)) * RATE)]
    assert part.sound_start == pytest.approx(max(span[0], whole.sound_start), abs=1e-6)
    assert len(part.samples) == len(expected)
    # the clock of a seek may round to a neighbouring sample of the source
    inner = part.samples[2:-2]
    shifted = [expected[2 + shift : 2 + shift + len(inner)] for shift in range(-2, 3)]
    assert min(np.abs(inner - other).max() for other in shifted) < 0.02


def test_a_track_that_changes_its_rate_on_the_way_goes_on(tmp_path: Path, decoder: Decoder) -> None:
    first = make_clip(tmp_path / "1.ts", seconds=2, size=(64, 48), rate=44100, channels="stereo")
    second = make_clip(tmp_path / "2.ts", seconds=2, size=(64, 48), rate=48000, start_offset=2)
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + second.read_bytes())
    timeline = decoder.open(tmp_path / "both.ts")
    samples = run(decoder, [0], sound=(0, float(timeline.end))).samples
    assert len(samples) > 3.7 * RATE
    assert np.sqrt((samples[-RATE:] ** 2).mean()) > 0.2
