"""Sound: the same samples as FFmpeg's filters make of the whole track, at the right time, in small chunks.

What all channels hold keeps its level, however many they are and however they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler

from evcap_cli.media import audio
from evcap_cli.media.audio import _Resampler
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.packets import Skipped
from evcap_cli.media.scan import open_video
from tests.media.clips import make_clip
from tests.media.reading import RATE, plain_sound, run


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


TRACKS = {
    "aac 44.1 kHz stereo, mp4": ("a.mp4", {"rate": 44100, "channels": "stereo"}),
    "aac 16 kHz mono, mkv": ("a.mkv", {}),
    "aac 48 kHz 5.1, mkv": ("a.mkv", {"rate": 48000, "channels": "5.1"}),
    "opus, webm": ("a.webm", {"codec": "libvpx", "bframes": 0}),
    "mp3, mkv": ("a.mkv", {"audio_codec": "libmp3lame", "rate": 44100}),
    "ac3, ts": ("a.ts", {"audio_codec": "ac3", "rate": 48000}),
}


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_track_that_changes_its_rate_on_the_way_goes_on(tmp_path: Path, decoder: Decoder) -> None:
    first = make_clip(tmp_path / "1.ts", seconds=2, size=(64, 48), rate=44100, channels="stereo")
    second = make_clip(tmp_path / "2.ts", seconds=2, size=(64, 48), rate=48000, start_offset=2)
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + second.read_bytes())
    timeline = decoder.open(tmp_path / "both.ts")
    samples = run(decoder, [0], sound=(0, float(timeline.end))).samples
    assert len(samples) > 3.7 * RATE
    assert np.sqrt((samples[-RATE:] ** 2).mean()) > 0.2


PLAIN_TONE = (0.5 * np.sin(np.arange(2 * RATE) / 10)).astype(np.float32)


def film_with_sound(path: Path, channels: np.ndarray[Any, Any], layout: str, codec: str, rate: int = RATE) -> Path:
    """Two seconds of black with ``channels``, (channels, samples), as its sound."""
    with av.open(str(path), "w") as container:
        film: Any = container.add_stream("libx264", rate=2)
        track: Any = container.add_stream(codec, rate=rate, layout=layout)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        for number in range(4):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 2)
            container.mux(film.encode(picture))
        container.mux(film.encode())
        packed = np.ascontiguousarray(channels.T, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        form = track.codec_context.format
        for piece in [frame] if form.name == "flt" else AudioResampler(format=form).resample(frame):
            container.mux(track.encode(piece))
        container.mux(track.encode())
    return path


LAYOUTS = ["mono", "stereo", "2.1", "3.0", "quad", "5.0", "5.1", "7.1", "hexadecagonal", "22.2"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le", "wavpack"])
def test_equal_content_has_equal_level(layout: str, codec: str, tmp_path: Path, decoder: Decoder) -> None:
    channels = np.repeat(PLAIN_TONE[None], AudioLayout(layout).nb_channels, 0)
    decoder.open(film_with_sound(tmp_path / "a.mkv", channels, layout, codec))
    samples = run(decoder, [0], sound=(0, 2)).samples
    np.testing.assert_allclose(samples, PLAIN_TONE, atol=5e-3 if codec == "wavpack" else 1e-4)  # it stores eight bits


def test_channels_count_alike_but_for_low_frequency_effects(tmp_path: Path, decoder: Decoder) -> None:
    for place, level in enumerate((0.2, 0.2, 0.2, 0, 0.2, 0.2)):
        channels = np.zeros((6, len(PLAIN_TONE)), np.float32)
        channels[place] = PLAIN_TONE
        decoder.open(film_with_sound(tmp_path / f"{place}.mkv", channels, "5.1", "flac"))
        np.testing.assert_allclose(run(decoder, [0], sound=(0, 2)).samples, PLAIN_TONE * level, atol=1e-4)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1(side)", "7.1", "hexadecagonal", "3 channels", "9 channels"])
@pytest.mark.parametrize("kind", ["u8", "s16", "s32", "s64", "flt", "dbl"])
@pytest.mark.parametrize("planar", ["", "p"])
def test_every_form_of_samples_has_the_same_level(layout: str, kind: str, planar: str) -> None:
    channels = AudioLayout(layout).nb_channels
    frame = av.AudioFrame.from_ndarray(PLAIN_TONE.repeat(channels)[None], format="flt", layout=layout)
    frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
    resampler = _Resampler(RATE)
    stored = AudioResampler(format=kind + planar).resample(frame)
    samples = np.concatenate([*(resampler.resample(each) for each in stored), resampler.rest()])
    np.testing.assert_allclose(samples, PLAIN_TONE, atol=1e-2 if kind == "u8" else 1e-4)


def test_a_track_that_changes_its_form_loses_no_sample() -> None:
    resampler = _Resampler(RATE)
    heard = []
    forms = [("flt", "mono", RATE), ("fltp", "5.1", RATE), ("s16", "stereo", 2 * RATE), ("flt", "3 channels", RATE)]
    for kind, layout, rate in forms:
        tone = np.sin(np.arange(rate // 2) * 2 * np.pi * 100 / rate).astype(np.float32) / 2
        channels = AudioLayout(layout).nb_channels
        frame = av.AudioFrame.from_ndarray(tone.repeat(channels)[None], format="flt", layout=layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        heard += [resampler.resample(each) for each in AudioResampler(format=kind).resample(frame)]
    samples = np.concatenate([*heard, resampler.rest()])
    assert abs(len(samples) - 4 * RATE // 2) <= 8
    expected = np.sin(np.arange(RATE // 2) * 2 * np.pi * 100 / RATE) / 2
    for part in range(4):
        middle = samples[part * RATE // 2 :][100 : RATE // 2 - 100]
        assert np.abs(middle).max() == pytest.approx(0.5, abs=0.01)
        assert np.abs(middle - expected[100:-100]).max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_sound_beyond_full_scale_and_broken_floats_stay_within_it(rate: int) -> None:
    wild = np.tile(np.array([3.0, -3.0, np.nan, np.inf, -np.inf, 1e38, 1.0, -1.0], np.float32), 500)
    frame = av.AudioFrame.from_ndarray(wild[None], format="flt", layout="mono")
    frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
    resampler = _Resampler(RATE)
    samples = np.concatenate([resampler.resample(frame), resampler.rest()])
    assert len(samples) > 1000
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1


@pytest.mark.parametrize(
    ("rate", "layout", "form"), [(1, "mono", "a rate of 1 Hz"), (RATE, "65 channels", "65 channels")]
)
def test_sound_of_a_form_that_cannot_be_used_is_left_out(
    rate: int, layout: str, form: str, tmp_path: Path, decoder: Decoder
) -> None:
    channels = np.zeros((AudioLayout(layout).nb_channels, 2000))
    timeline = decoder.open(film_with_sound(tmp_path / "a.mkv", channels, layout, "pcm_f32le", rate))
    assert not timeline.info.has_audio
    assert timeline.warnings[0] == f"its sound has {form}, which cannot be used: captioned without sound"


def test_a_part_of_a_track_that_cannot_be_mixed_is_lost_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_video(film_with_sound(tmp_path / "a.mkv", PLAIN_TONE[None], "mono", "pcm_s16le"))
    monkeypatch.setattr(audio, "LEAST_SOUND_RATE", RATE + 1)  # as a track that changes its form on the way
    try:
        skipped = Skipped()
        assert list(audio.sound(opened, RATE, Fraction(0), Fraction(2), skipped, lambda: None)) == []
    finally:
        opened.file.close()
    assert float(skipped.lost) == pytest.approx(2, abs=0.01)
