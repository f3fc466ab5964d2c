"""Pictures: the requested frame, upright, in its true colours, whatever the file looks like inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evcap_cli.media.decode_plan import DecodedFrame, DecodePlan, FrameRequest
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.frames import Geometry
from tests.media.clips import UPRIGHT, corners_of, make_clip, number_in
from tests.media.reading import plain_pictures, run


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0"}
HIDDEN = {"auto-alt-ref": "1", "lag-in-frames": "16"}
KINDS = {
    "mp4, key frame every 12": ("a.mp4", {"gop": 12}),
    "mp4, every 48": ("a.mp4", {"gop": 48}),
    "mp4, every 250": ("a.mp4", {"gop": 250}),
    "mp4, every frame": ("a.mp4", {"gop": 1, "bframes": 0}),
    "mp4, every 3 and deep B-frames": ("a.mp4", {"gop": 3, "bframes": 2}),
    "mp4, open": ("a.mp4", {"options": OPEN_GOP}),
    "mp4, intra refresh": ("a.mp4", {"gop": 25, "bframes": 0, "options": {"intra-refresh": "1"}}),
    "mkv, every 12": ("a.mkv", {"gop": 12, "bframes": 3}),
    "mkv, open": ("a.mkv", {"options": OPEN_GOP}),
    "mkv streamed, no index": ("a.mkv", {"gop": 12, "streamed": True}),
    "mpegts, every 12": ("a.ts", {"gop": 12}),
    "mpegts, open": ("a.ts", {"options": OPEN_GOP}),
    "mpegts, every 250": ("a.ts", {"gop": 250}),
    "mpegts, mpeg2": ("a.ts", {"codec": "mpeg2video", "gop": 15}),
    "mpegts, intra refresh": ("a.ts", {"gop": 25, "bframes": 0, "options": {"intra-refresh": "1"}}),
    "avi, mpeg4": ("a.avi", {"codec": "mpeg4", "gop": 12, "audio": False}),
    "avi, h264 without time stamps": ("a.avi", {"gop": 12, "bframes": 3, "audio": False}),
    "flv": ("a.flv", {"gop": 12, "audio": False}),
    "hevc": ("a.mp4", {"codec": "libx265", "gop": 24, "bframes": 3}),
    "vp8 with hidden frames": (
        "a.webm",
        {"codec": "libvpx", "gop": 24, "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    ),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "gop": 24, "options": {"cpu-used": "8"}}),
    "raw h264": ("a.h264", {"audio": False, "format": "h264", "gop": 12}),
    "mjpeg": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "audio": False}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_frames_are_those_of_a_plain_pass(kind: str, tmp_path: Path, decoder: Decoder) -> None:
    name, settings = KINDS[kind]
    path = make_clip(tmp_path / name, seconds=5, size=(96, 64), **settings)  # type: ignore[arg-type]
    plain = plain_pictures(path)
    timeline = decoder.open(path)
    assert len(timeline.times) == len(plain) == 125
    assert (np.diff(timeline.times) > 0).all()
    last = len(plain) - 1
    for wanted in ([0, 24, 60, 61, 90, last], [37], [last], [50, 51, 52, 110], range(0, last, 11)):
        heard = run(decoder, wanted)
        assert list(heard.frames) == list(wanted)
        for ordinal, pixels in heard.frames.items():
            np.testing.assert_array_equal(pixels, plain[ordinal], err_msg=f"frame {ordinal}")
        assert heard.report is not None
        assert not heard.report.warnings
        assert not heard.report.missing


@pytest.mark.slow
def test_seeking_skips_packets_and_still_finds_frames_behind_far_key_frames(tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / "long.mp4", seconds=30, size=(96, 64), gop=48, audio=False)
    plain = plain_pictures(path)
    decoder.open(path)
    wanted = [3, 200, 203, 470, 748]
    heard = run(decoder, wanted)
    assert list(heard.frames) == wanted
    for ordinal in wanted:
        np.testing.assert_array_equal(heard.frames[ordinal], plain[ordinal])


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotated_files_come_out_upright(rotation: int, tmp_path: Path, decoder: Decoder) -> None:
    info = decoder.open(make_clip(tmp_path / "r.mp4", rotation=rotation, seconds=0.4)).info
    assert (info.width, info.height, info.rotation) == (160, 120, rotation)
    pixels = run(decoder, [5], geometry=Geometry(short_side=120, fit="keep")).frames[5]
    assert pixels.shape == (120, 160, 3)
    assert corners_of(pixels) == UPRIGHT
    assert number_in(pixels) == 5


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv444p"])
def test_white_is_white_and_grey_is_grey_in_either_range(
    full: bool, pix_fmt: str, tmp_path: Path, decoder: Decoder
) -> None:
    shades = [np.full((64, 96, 3), shade, np.uint8) for shade in (255, 128, 0)]
    path = make_clip(
        tmp_path / "w.mp4", pictures=shades, size=(96, 64), pix_fmt=pix_fmt, color_range=2 if full else 1, audio=False
    )
    decoder.open(path)
    heard = run(decoder)
    for ordinal, shade in enumerate((255, 128, 0)):
        assert np.abs(heard.frames[ordinal].astype(int) - shade).max() <= 3


def test_ten_bit_pictures_keep_their_colours(tmp_path: Path, decoder: Decoder) -> None:
    decoder.open(make_clip(tmp_path / "ten.mkv", pix_fmt="yuv420p10le", seconds=0.4))
    assert corners_of(run(decoder, [2]).frames[2]) == UPRIGHT


@pytest.mark.parametrize("size", [(97, 65), (161, 121), (33, 17), (2, 2)])
def test_odd_sizes(size: tuple[int, int], tmp_path: Path, decoder: Decoder) -> None:
    info = decoder.open(make_clip(tmp_path / "odd.mkv", size=size, pix_fmt="yuv444p", seconds=0.4)).info
    assert (info.width, info.height) == size
    pixels = run(decoder, [3], geometry=Geometry(short_side=min(size), fit="keep")).frames[3]
    assert pixels.shape == (size[1], size[0], 3)
    np.testing.assert_array_equal(pixels, plain_pictures(tmp_path / "odd.mkv")[3])


GEOMETRIES = [
    (Geometry(size=(48, 80)), (48, 80)),
    (Geometry(size=(40, 40), fit="crop"), (40, 40)),
    (Geometry(size=(60, 60), short_side=64, fit="crop", interpolation="bicubic"), (60, 60)),
    (Geometry(short_side=32, fit="keep", interpolation="area"), (32, 57)),
    (Geometry(short_side=300, max_side=320, fit="keep"), (180, 320)),
]


@pytest.mark.parametrize(("geometry", "expected"), GEOMETRIES)
@pytest.mark.parametrize("rotation", [0, 90])
def test_each_geometry_gives_its_size(
    geometry: Geometry, expected: tuple[int, int], rotation: int, tmp_path: Path, decoder: Decoder
) -> None:
    decoder.open(make_clip(tmp_path / "g.mp4", size=(192, 108), rotation=rotation, seconds=0.2))
    assert geometry.output_size(192, 108) == expected
    assert run(decoder, [0, 3], geometry=geometry).frames[3].shape == (*expected, 3)


def test_one_pass_serves_every_geometry_in_order(tmp_path: Path, decoder: Decoder) -> None:
    decoder.open(make_clip(tmp_path / "m.mp4", seconds=2))
    asked = {"small": [0, 7, 30, 31], "large": [7, 8, 31, 49], "none": []}
    geometries = {"small": Geometry(size=(60, 80)), "large": Geometry(size=(240, 320)), "none": Geometry(size=(8, 8))}
    passes = decoder.passes
    seen: list[tuple[int, str]] = []
    for item in decoder.decode(DecodePlan({key: FrameRequest(geometries[key], asked[key]) for key in asked})):
        if isinstance(item, DecodedFrame):
            assert number_in(item.pixels) == item.ordinal
            assert item.pixels.shape[:2] == geometries[item.key].size
            seen.append((item.ordinal, item.key))
    assert decoder.passes == passes + 1
    assert [ordinal for ordinal, _ in seen] == sorted(ordinal for ordinal, _ in seen)
    assert {key: [o for o, k in seen if k == key] for key in asked} == asked


@pytest.mark.slow
def test_frames_may_be_bigger_than_those_of_the_pass_before(tmp_path: Path, decoder: Decoder) -> None:
    decoder.open(make_clip(tmp_path / "b.mp4", seconds=1))
    for side in (16, 240, 48, 960):
        heard = run(decoder, range(25), geometry=Geometry(short_side=side, fit="keep"))
        assert len(heard.frames) == 25
        assert heard.frames[24].shape[0] == side
        assert side < 48 or all(number_in(pixels) == ordinal for ordinal, pixels in heard.frames.items())


@pytest.mark.slow
def test_a_stream_that_changes_its_size_keeps_the_first_ones(tmp_path: Path, decoder: Decoder) -> None:
    first = make_clip(tmp_path / "1.ts", size=(160, 120), seconds=1, audio=False)
    second = make_clip(tmp_path / "2.ts", size=(320, 240), seconds=1, audio=False, start_offset=1)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    timeline = decoder.open(both)
    heard = run(decoder, range(0, len(timeline.times), 6), geometry=Geometry(short_side=120, fit="keep"))
    assert {pixels.shape for pixels in heard.frames.values()} == {(120, 160, 3)}
    assert len(heard.frames) >= 7
