"""The length that a header states: what FFmpeg reads of it, and None of whatever is no header."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from evcap_cli.media.stated_length import stated_seconds


def film(path: Path, *, frames: int = 9, fps: int = 3, codec: str = "mpeg4", **options: str) -> Path:
    with av.open(str(path), "w", options=options) as container:
        picture = container.add_stream(codec, rate=fps)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * number, dtype=np.uint8), format="rgb24")
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("fast.mp4", {"movflags": "+faststart"}),
        ("a.mov", {}),
        ("a.mkv", {}),
        ("a.avi", {}),
        ("a.m4v", {"brand": "mp42", "f": "mp4"}),
    ],
)
def test_the_length_is_what_ffmpeg_reads(name: str, options: dict[str, str], tmp_path: Path) -> None:
    path = film(tmp_path / name, **options)
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert stated_seconds(path) == pytest.approx(container.duration / av.time_base, abs=0.35)
    assert stated_seconds(path) == pytest.approx(3.0, abs=0.35)


def test_long_boxes_and_the_second_version_of_the_header_are_read(tmp_path: Path) -> None:
    header = struct.pack(">I4sB3xQQIQ", 44, b"mvhd", 1, 0, 0, 1000, 7_200_000) + bytes(4)
    moov = struct.pack(">I4s", 8 + len(header), b"moov") + header
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.write(struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", 6 << 30))
        file.seek((6 << 30) - 16, 1)  # a hole: six gigabytes of nothing
        file.write(moov)
    assert stated_seconds(path) == 7200


def test_what_states_no_length_has_none(tmp_path: Path) -> None:
    assert stated_seconds(film(tmp_path / "a.ts")) is None
    assert stated_seconds(film(tmp_path / "pieces.mp4", movflags="frag_keyframe+empty_moov")) is None
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    for path in (tmp_path / "text.mp4", tmp_path / "empty.mp4", tmp_path / "missing.mp4", tmp_path):
        assert stated_seconds(path) is None


@pytest.mark.slow
def test_damaged_headers_have_a_length_or_none_and_come_to_an_end(tmp_path: Path) -> None:
    draw = random.Random(0)
    for name in ("a.mp4", "a.mkv", "a.avi"):
        whole = film(tmp_path / name, frames=2).read_bytes()
        for number in range(30):
            data = bytearray(whole[: draw.randrange(1, len(whole) + 1)] if number % 2 else whole)
            for _ in range(8):
                data[draw.randrange(len(data))] = draw.choice((0, 1, 255, draw.randrange(256)))
            (tmp_path / name).write_bytes(data)
            found = stated_seconds(tmp_path / name)
            assert found is None or 0 < found <= 1e7
