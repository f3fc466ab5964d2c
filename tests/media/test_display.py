"""Pictures as a player shows them: all eight orientations, pixels that are not square, HDR on an SDR screen."""

from __future__ import annotations

import base64
import io
import math
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from evcap_cli.media.decoder import Decoder
from evcap_cli.media.display import nearest_orientation, pixel_aspect
from evcap_cli.media.frames import Geometry
from evcap_cli.output.html_report import pictures_at
from tests.media.clips import corners_of, draw, make_clip, number_in
from tests.media.reading import plain_pictures, run

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Matrix = tuple[int, int, int, int]

EIGHT: list[Matrix] = [
    *((x, 0, 0, y) for x, y in product((1, -1), repeat=2)),
    *((0, x, y, 0) for x, y in product((1, -1), repeat=2)),
]
KEPT = {"keep": Geometry(short_side=96, fit="keep"), "area": Geometry(short_side=96, fit="keep", interpolation="area")}


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


def shown(stored: Pixels, matrix: Matrix) -> Pixels:
    """Each pixel carried to where the matrix sends it."""
    a, b, c, d = matrix
    height, width = stored.shape[:2]
    y, x = np.mgrid[:height, :width]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    picture = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    picture[down, across] = stored
    return picture


@pytest.mark.parametrize("matrix", EIGHT)
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_every_display_matrix_of_right_angles(name: str, matrix: Matrix, tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / name, matrix=matrix, size=(128, 96), seconds=0.2, audio=False)
    info = decoder.open(path).info
    stored = plain_pictures(path)[3]
    expected = shown(stored, matrix)
    for geometry in KEPT.values():
        pixels = run(decoder, [3], geometry=geometry).frames[3]
        np.testing.assert_array_equal(pixels, expected)
    assert (info.height, info.width) == expected.shape[:2]
    assert info.mirrored == (matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0)
    # what the fields of a record say, done by hand
    by_hand = stored[:, ::-1] if info.mirrored else stored
    np.testing.assert_array_equal(np.rot90(by_hand, -info.rotation // 90), expected)


@pytest.mark.parametrize("matrix", EIGHT)
@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(size=(40, 64)),
        Geometry(size=(40, 40), fit="crop"),
        Geometry(size=(40, 40), short_side=48, fit="crop", interpolation="bicubic"),
    ],
)
def test_a_turned_picture_is_resized_as_the_upright_one(
    geometry: Geometry, matrix: Matrix, tmp_path: Path, decoder: Decoder
) -> None:
    path = make_clip(tmp_path / "a.mp4", matrix=matrix, size=(128, 96), seconds=0.2, audio=False)
    upright = Image.fromarray(shown(plain_pictures(path)[2], matrix))
    decoder.open(path)
    height, width = geometry.scaled_size(upright.width, upright.height)
    how = Image.Resampling.BICUBIC if geometry.interpolation == "bicubic" else Image.Resampling.BILINEAR
    resized = np.asarray(upright.resize((width, height), how))
    assert geometry.size is not None
    top, left = (height - geometry.size[0]) // 2, (width - geometry.size[1]) // 2
    expected = resized[top : top + geometry.size[0], left : left + geometry.size[1]]
    np.testing.assert_array_equal(run(decoder, [2], geometry=geometry).frames[2], expected)


def with_orientation(picture: Pixels, number: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = number
    data = io.BytesIO()
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "jpeg" else {"lossless": True}
    Image.fromarray(picture).save(data, kind, exif=exif, **(options if kind != "png" else {}))
    return data.getvalue()


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_every_orientation_of_exif(number: int, kind: str, tmp_path: Path, decoder: Decoder) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(with_orientation(draw(3, (128, 96)), number, kind))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    decoder.open(path)
    pixels = run(decoder, [0], geometry=KEPT["keep"]).frames[0]
    assert pixels.shape == expected.shape
    assert corners_of(pixels) == corners_of(expected)
    assert number_in(np.asarray(pixels)) == number_in(expected)
    assert np.abs(pixels.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("number", [1, 2, 5, 7])
def test_exif_inside_a_film_of_jpegs(number: int, tmp_path: Path, decoder: Decoder) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj444p"
        stream.codec_context.open()
        for place in range(4):
            packet = av.Packet(with_orientation(draw(place, (128, 96)), number, "jpeg"))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, place, place, Fraction(1, 25)
            packet.is_keyframe = True
            container.mux(packet)
    decoder.open(path)
    picture = Image.open(io.BytesIO(with_orientation(draw(2, (128, 96)), number, "jpeg")))
    expected = np.asarray(ImageOps.exif_transpose(picture))
    assert corners_of(run(decoder, [2], geometry=KEPT["keep"]).frames[2]) == corners_of(expected)


@pytest.mark.parametrize("degrees", [-170, -93, -44, 3, 30, 60, 100, 179])
@pytest.mark.parametrize("mirror", [1, -1])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.001, 900.0)])
def test_other_angles_count_as_the_nearest_orientation(degrees: int, mirror: int, scale: tuple[float, float]) -> None:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    a, b, c, d = mirror * cosine, mirror * sine, -sine, cosine
    found = nearest_orientation((a * scale[0], b * scale[1], c * scale[0], d * scale[1]))
    assert found == (round(degrees / 90) % 4 * 90, mirror < 0)


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1)])
def test_a_matrix_that_shows_nothing_is_ignored(matrix: Matrix) -> None:
    assert nearest_orientation(matrix) == (0, False)


SHAPES = [Fraction(64, 45), Fraction(8, 9), Fraction(2), Fraction(32, 11), Fraction(1, 2)]


@pytest.mark.parametrize("aspect", SHAPES)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_pixels_that_are_not_square(aspect: Fraction, name: str, tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / name, aspect=aspect, size=(160, 128), seconds=0.2, audio=False)
    info = decoder.open(path).info
    assert (info.width, info.height) == (round(160 * aspect), 128)
    assert info.pixel_aspect == aspect
    plain = Image.fromarray(plain_pictures(path)[1])
    wide = run(decoder, [1], geometry=Geometry(short_side=64, fit="keep")).frames[1]
    width, height = (int(side * Fraction(64, min(info.width, info.height))) for side in (info.width, info.height))
    np.testing.assert_array_equal(wide, plain.resize((width, height), Image.Resampling.BILINEAR))
    # the middle of the picture as it is shown, not of what is stored
    cropped = run(decoder, [1], geometry=Geometry(size=(64, 64), fit="crop")).frames[1]
    top, left = round((height - 64) / 2), round((width - 64) / 2)
    np.testing.assert_array_equal(cropped, wide[top : top + 64, left : left + 64])
    stretched = run(decoder, [1], geometry=Geometry(size=(64, 64))).frames[1]
    np.testing.assert_array_equal(stretched, plain.resize((64, 64), Image.Resampling.BILINEAR))


def test_pictures_of_a_report_are_shown_likewise(tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / "a.mp4", aspect=Fraction(2), matrix=(0, 1, 1, 0), size=(128, 96), seconds=0.4)
    ((_, picture),) = pictures_at(decoder, path, [0.1], 48)
    assert (picture.width, picture.height) == (36, 96)  # of 96 x 256
    shrunk = Image.open(io.BytesIO(base64.b64decode(picture.source.split(",")[1])))
    assert corners_of(np.asarray(shrunk)) == corners_of(shown(plain_pictures(path)[2], (0, 1, 1, 0)))


@pytest.mark.parametrize("interpolation", ["bilinear", "area"])
def test_a_circle_stays_round_when_turned(
    interpolation: Literal["bilinear", "area"], tmp_path: Path, decoder: Decoder
) -> None:
    y, x = np.mgrid[:120, :160]
    # stored squeezed by two: pixels twice as wide as high
    disc = np.where(((x - 80) * 2) ** 2 + (y - 60) ** 2 < 50**2, 255, 0).astype(np.uint8)
    path = make_clip(
        tmp_path / "a.mp4",
        pictures=[np.repeat(disc[..., None], 3, 2)] * 3,
        size=(160, 120),
        aspect=Fraction(2),
        matrix=(0, 1, 1, 0),
        audio=False,
    )
    info = decoder.open(path).info
    assert (info.width, info.height) == (120, 320)
    pixels = run(decoder, [1], geometry=Geometry(short_side=120, fit="keep", interpolation=interpolation)).frames[1]
    assert pixels.shape == (320, 120, 3)
    bright = pixels[..., 0] > 127
    assert bright.any(1).sum() == pytest.approx(100, abs=3)
    assert bright.any(0).sum() == pytest.approx(100, abs=3)


@pytest.mark.parametrize("claimed", [(1, 20), (40, 1), (1, 1000), (0, 1), (1, 0), (0x7FFFFFFF, 1), (0xFFFFFFFF, 2)])
def test_of_absurd_shapes_the_codec_knows_better(claimed: tuple[int, int], tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / "a.mp4", aspect=Fraction(2), size=(64, 48), seconds=0.2, audio=False, codec="mpeg4")
    data = bytearray(path.read_bytes())
    struct.pack_into(">II", data, data.index(b"pasp") + 4, *claimed)
    path.write_bytes(data)
    timeline = decoder.open(path)
    assert (timeline.info.width, timeline.info.height) == (128, 48)
    assert len(run(decoder).frames) == 5


@pytest.mark.parametrize("claimed", [Fraction(1, 20), Fraction(40)])
def test_where_nothing_better_is_said_pixels_are_square(claimed: Fraction) -> None:
    codec = SimpleNamespace(sample_aspect_ratio=None)
    warnings: list[str] = []
    stream: Any = SimpleNamespace(sample_aspect_ratio=claimed, codec_context=codec)
    assert pixel_aspect(stream, warnings) == 1
    assert "square" in warnings[0]


def test_a_crop_keeps_shapes_where_a_stream_changes_its_size(tmp_path: Path, decoder: Decoder) -> None:
    first = make_clip(tmp_path / "1.ts", size=(160, 120), seconds=1, audio=False, bframes=0)
    wide = draw(5, (320, 120))
    second = make_clip(tmp_path / "2.ts", pictures=[wide] * 25, size=(320, 120), audio=False, start_offset=1, bframes=0)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    decoder.open(both)
    pixels = run(decoder, [40], geometry=Geometry(size=(60, 60), fit="crop")).frames[40]
    expected = np.asarray(Image.fromarray(wide).resize((160, 60), Image.Resampling.BILINEAR))[:, 50:110]
    assert np.abs(pixels.astype(int) - expected).mean() < 4


Film = Callable[[Path, "np.ndarray[Any, Any]", int], Path]
BT709_TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def pq(light: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """SMPTE ST 2084; light in cd/m²."""
    power = (light / 10_000) ** 0.1593017578125
    return np.asarray(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def hlg(light: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """BT.2100's HLG for a display of 1000 cd/m²."""
    display = np.maximum(light / 1000, 1e-12)
    scene = display * (display @ [0.2627, 0.6780, 0.0593])[..., None] ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-12)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def wide_film(path: Path, coded: np.ndarray[Any, Any], curve: int, codec: str = "ffv1", stated: int = 9) -> Path:
    """R'G'B' of 0 to 1 in BT.2020, ten bits; ``stated`` are its primaries and matrix by the file."""
    frame = av.VideoFrame.from_ndarray(np.rint(np.clip(coded, 0, 1) * 65535).astype(np.uint16), format="rgb48le")
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv444p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = curve, stated, stated, 1
        for place in range(3):
            stored = frame.reformat(format="yuv444p10le", dst_colorspace=9, dst_color_range=1)
            stored.color_trc, stored.color_primaries, stored.colorspace, stored.color_range = curve, stated, stated, 1
            stored.pts, stored.time_base = place, Fraction(1, 25)
            container.mux(stream.encode(stored))
        container.mux(stream.encode())
    return path


def wide_film_by_its_container(path: Path, coded: np.ndarray[Any, Any], curve: int) -> Path:
    """The same in ProRes, whose frames say nothing of colours; only the container does."""
    silent = wide_film(path.with_name("silent.mkv"), coded, 2, "prores_ks", 2)
    with av.open(str(silent)) as read, av.open(str(path), "w") as container:
        stream: Any = container.add_stream_from_template(read.streams.video[0])
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = curve, 9, 9, 1
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return path


def patches(colours: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return colours.repeat(8, 0).repeat(8, 1)


@pytest.mark.parametrize("curve", [16, 18, 1, 14])
@pytest.mark.parametrize("interpolation", ["bilinear", "area"])
@pytest.mark.parametrize("film", [wide_film, wide_film_by_its_container])
def test_hdr_and_wide_colours_come_out_as_the_sdr_master(
    curve: int, film: Film, interpolation: Literal["bilinear", "area"], tmp_path: Path, decoder: Decoder
) -> None:
    colours = np.random.default_rng(0).integers(30, 190, (12, 16, 3))
    light = (colours / 255) ** 2.4 @ BT709_TO_BT2020.T
    coded = {16: pq(light * 203), 18: hlg(light * 203)}.get(curve, light ** (1 / 2.4))
    decoder.open(film(tmp_path / "a.mkv", patches(coded), curve))
    geometry = Geometry(short_side=96, fit="keep", interpolation=interpolation)
    pixels = run(decoder, [1], geometry=geometry).frames[1][4::8, 4::8].astype(int)
    off = np.abs(pixels - colours)
    # eight bits of PQ are coarse where the weakest primary of a colour is dark
    assert off.max() <= 16
    assert off.mean() < 2


@pytest.mark.parametrize("curve", [16, 18])
def test_highlights_of_hdr_stay_apart_and_grey_stays_grey(curve: int, tmp_path: Path, decoder: Decoder) -> None:
    nits = np.array([0, 1, 5, 20, 60, 120, 203, 300, 450, 700, 1000])
    light = np.repeat(nits[None, :, None], 3, 2).astype(float)
    coded = pq(light) if curve == 16 else hlg(light)
    decoder.open(wide_film(tmp_path / "a.mkv", patches(coded), curve))
    row = run(decoder, [1], geometry=Geometry(short_side=8, fit="keep")).frames[1][4, 4::8].astype(int)
    assert np.ptp(row, axis=1).max() <= 2
    grey = row.mean(1)
    assert (np.diff(grey) >= 0).all()
    assert (np.diff(grey)[:-1] > 0.5).all()
    assert grey[0] <= 1
    assert 225 <= grey[6] <= 250
    assert grey[-1] >= 253


@pytest.mark.slow
@pytest.mark.parametrize(("space", "coefficients"), [(1, (0.2126, 0.0722)), (5, (0.299, 0.114)), (6, (0.299, 0.114))])
@pytest.mark.parametrize("full", [False, True])
def test_the_matrix_and_the_range_that_a_file_names_are_used(
    space: int, coefficients: tuple[float, float], full: bool, tmp_path: Path, decoder: Decoder
) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (6, 8, 3))
    red, blue = coefficients
    scaled = colours / 255
    luma = scaled @ [red, 1 - red - blue, blue]
    chroma = [(scaled[..., 2] - luma) / (2 - 2 * blue), (scaled[..., 0] - luma) / (2 - 2 * red)]
    planes = [luma * 255, *(part * 255 + 128 for part in chroma)]
    if not full:
        planes = [luma * 219 + 16, *(part * 224 + 128 for part in chroma)]
    stored = np.stack([np.clip(np.rint(plane), 0, 255).astype(np.uint8).repeat(8, 0).repeat(8, 1) for plane in planes])
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = space, 2 if full else 1
        frame = av.VideoFrame.from_ndarray(stored, format="yuv444p", channel_last=False)
        frame.colorspace, frame.color_range = space, 2 if full else 1
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    decoder.open(path)
    pixels = run(decoder, [0], geometry=Geometry(short_side=48, fit="keep")).frames[0][4::8, 4::8]
    assert np.abs(pixels.astype(int) - colours).max() <= 3


X264_MATRICES = {"bt2020c": None, "chroma-derived-nc": None, "YCgCo": "matrix 8", "ICtCp": "matrix 14"}


@pytest.mark.parametrize(("matrix", "warning"), X264_MATRICES.items())
def test_a_film_whose_matrix_is_not_converted_is_seen_as_by_the_one_next_to_it_or_with_a_warning(
    matrix: str, warning: str | None, tmp_path: Path, decoder: Decoder
) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.options = {"x264-params": f"qp=0:log=0:colormatrix={matrix}:colorprim=bt709"}
        grey = np.full((48, 64, 3), 100, np.uint8)
        stored = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv444p")
        stored.pts, stored.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(stored))
        container.mux(stream.encode())
    timeline = decoder.open(path)
    pixels = run(decoder, [0], geometry=Geometry(short_side=48, fit="keep")).frames[0]
    assert np.abs(pixels.astype(int) - 100).max() <= 2
    foreign = [text for text in timeline.warnings if "cannot be converted" in text]
    assert len(foreign) == (warning is not None)
    assert all(warning in text for text in foreign if warning)
