"""Field-coded films: two packets may be one frame, and the frames are what decodes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from evcap_cli.media.decoder import Decoder
from evcap_cli.media.field_pictures import FieldPairs
from tests.media.clips import make_clip
from tests.media.field_pictures import FIELD_TICKS, Pair, h264_frame, h264_pairs, mpeg2_pairs, write_packets
from tests.media.reading import run

FRAMES = 20


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return h264_pairs(FRAMES)


def a_stamp_a_field(pairs: list[Pair]) -> list[tuple[bytes, int]]:
    return [(field, FIELD_TICKS * number) for number, field in enumerate(field for pair in pairs for field in pair)]


def a_stamp_a_frame(pairs: list[Pair]) -> list[tuple[bytes, int]]:
    return [(top + bottom, 2 * FIELD_TICKS * number) for number, (top, bottom) in enumerate(pairs)]


def levels(frames: dict[int, np.ndarray]) -> list[int]:
    return [round(float(pixels.mean())) for _, pixels in sorted(frames.items())]


@pytest.mark.parametrize("suffix", ["ts", "mp4", "mkv"])
@pytest.mark.parametrize("stamped", [a_stamp_a_field, a_stamp_a_frame])
def test_two_fields_are_one_frame(suffix, stamped, pairs: list[Pair], tmp_path: Path, decoder: Decoder) -> None:  # type: ignore[no-untyped-def]
    raw = tmp_path / "raw.264"
    raw.write_bytes(b"".join(top + bottom for top, bottom in pairs))
    path = write_packets(tmp_path / f"film.{suffix}", raw, stamped(pairs))
    timeline = decoder.open(path)
    times = [float(timeline.seconds(number)) for number in range(len(timeline.times))]
    np.testing.assert_allclose(times, [n / 25 for n in range(FRAMES)], atol=2e-3)
    assert float(timeline.end) == pytest.approx(FRAMES / 25, abs=0.03)
    assert timeline.info.fps is not None
    assert float(timeline.info.fps) == pytest.approx(25, rel=0.03)
    heard = run(decoder)
    assert sorted(heard.frames) == list(range(FRAMES))
    assert len(set(levels(heard.frames))) == FRAMES
    assert levels(heard.frames) == sorted(levels(heard.frames))
    assert heard.report is not None
    assert heard.report.warnings == ()


def test_frames_and_pairs_of_fields_may_alternate(pairs: list[Pair], tmp_path: Path, decoder: Decoder) -> None:
    packets: list[tuple[bytes, int]] = []
    for number, (top, bottom) in enumerate(pairs):
        at = 2 * FIELD_TICKS * number
        packets += [(h264_frame(number), at)] if number % 2 else [(top, at), (bottom, at + FIELD_TICKS)]
    raw = tmp_path / "raw.264"
    raw.write_bytes(b"".join(data for data, _ in packets))
    timeline = decoder.open(write_packets(tmp_path / "film.ts", raw, packets))
    assert len(timeline.times) == FRAMES
    heard = run(decoder)
    assert len(heard.frames) == FRAMES
    assert levels(heard.frames) == sorted(set(levels(heard.frames)))


def test_a_raw_stream_of_fields_is_counted_in_frames(pairs: list[Pair], tmp_path: Path, decoder: Decoder) -> None:
    raw = tmp_path / "raw.264"
    raw.write_bytes(b"".join(top + bottom for top, bottom in pairs))
    timeline = decoder.open(raw)
    assert len(timeline.times) == FRAMES
    assert float(timeline.end) == pytest.approx(FRAMES / 25, abs=0.01)
    assert len(run(decoder).frames) == FRAMES


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mpg"])
def test_fields_of_mpeg2(suffix: str, tmp_path: Path, decoder: Decoder) -> None:
    pairs = mpeg2_pairs(FRAMES)
    raw = tmp_path / "raw.m2v"
    raw.write_bytes(b"".join(top + bottom for top, bottom in pairs))
    with av.open(str(raw)) as plain:
        assert sum(1 for _ in plain.decode(video=0)) == FRAMES
    timeline = decoder.open(write_packets(tmp_path / f"film.{suffix}", raw, a_stamp_a_field(pairs)))
    assert len(timeline.times) == FRAMES
    heard = run(decoder)
    assert len(heard.frames) == FRAMES
    assert levels(heard.frames) == sorted(set(levels(heard.frames)))


def test_frames_of_interlaced_and_progressive_films_are_never_taken_for_fields(tmp_path: Path) -> None:
    for options in ({}, {"flags": "+ildct+ilme", "x264-params": "interlaced=1"}):
        path = make_clip(tmp_path / "film.mp4", seconds=1, size=(96, 64), audio=False, options=options)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            tells = FieldPairs(stream.codec_context.name, stream.codec_context.extradata)
            assert not any(tells.is_second(packet) for packet in container.demux(stream) if packet.size)


@pytest.mark.slow
def test_damaged_heads_are_taken_for_frames() -> None:
    generator = np.random.default_rng(3)
    pair = h264_pairs(1)[0]
    for codec, with_parameters in itertools.product(("h264", "mpeg2video"), (False, True)):
        for _ in range(100):
            junk = bytearray(pair[0][: int(generator.integers(8, 200))])
            for place in generator.integers(0, len(junk), 12):
                junk[place] = int(generator.integers(256))
            fields = FieldPairs(codec, bytes(junk) if with_parameters else None)
            assert not fields.is_second(bytes(junk))
