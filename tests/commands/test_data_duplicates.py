"""``evcap data check`` names test videos that are training videos saved again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from evcap_cli.features.near_duplicates import NEAR
from tests.commands.small import evcap

TRAINED, TESTED = 22, 3
COPY, ORIGINAL = "vid22", "vid7"


def make_film(path: Path, seed: int, *, frames: int = 16, size: tuple[int, int] = (128, 96)) -> Path:
    """Colourful patches of its own that scroll in a direction of its own, with a brighter square that moves."""
    draw = np.random.default_rng(seed)
    width, height = size
    patches = Image.fromarray(draw.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    across, down, side = draw.integers(-6, 7), draw.integers(-6, 7), int(draw.integers(12, 40))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            picture = np.roll(np.asarray(patches), (number * down, number * across), (0, 1)).copy()
            at = number * int(draw.integers(1, 5)) % (width - side)
            picture[height // 4 : height // 4 + side, at : at + side] = draw.integers(150, 255, 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def saved_again(source: Path, target: Path, size: tuple[int, int], bit_rate: int) -> None:
    """The pictures of ``source`` in another size at another bit rate; no sound."""
    with av.open(str(source)) as read, av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=read.streams.video[0].average_rate)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *size, "yuv420p", bit_rate
        for frame in read.decode(video=0):
            container.mux(stream.encode(frame.reformat(*size, "yuv420p")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Different films; the first test video is a training video, saved again in other size and bit rate."""
    root = tmp_path_factory.mktemp("root")
    (root / "videos").mkdir()
    for number in range(TRAINED + TESTED):
        if number != TRAINED:
            make_film(root / "videos" / f"{number}.mp4", number)
    saved_again(root / "videos/7.mp4", root / "videos/22.mp4", (96, 72), 100_000)
    folder = root / "data" / "EmVidCap-L"
    folder.mkdir(parents=True)
    for split, numbers in (("trainval", range(TRAINED)), ("test", range(TRAINED, TRAINED + TESTED))):
        rows = [f"vid{number}\ta happy square number {number}" for number in numbers]
        (folder / f"EmVideo_{split}_captions.csv").write_text("\n".join(["VideoID\tEmCaptions", *rows]) + "\n")
    return root


def checked(root: Path, capfd: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capfd.readouterr()
    assert evcap("data", "check", root, "--json", *arguments) == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


@pytest.mark.slow
def test_a_video_saved_again_is_found_by_backbone_and_by_feature_files(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache = ["--cache-dir", tmp_path / "cache", "--workers", 1]
    plain = checked(root, capfd)
    assert plain["worth"]["same_bytes"] == []
    assert plain["near_duplicates"] is None
    by_backbone = checked(root, capfd, "--backbone", "lite", *cache)["near_duplicates"]
    assert by_backbone["by"] == "lite-appearance and lite-motion features"
    assert (by_backbone["train"], by_backbone["test"]) == (TRAINED, TESTED)
    ((train, test, distance),) = by_backbone["pairs"]
    assert (train, test) == (ORIGINAL, COPY)
    assert 0 < distance < NEAR
    extract = ["extract", root / "videos", "--appearance", "lite-appearance", "--motion", "lite-motion", *cache]
    assert evcap(*extract, "-o", tmp_path / "features/all.hdf5") == 0
    found = checked(root, capfd, "--features", tmp_path / "features")
    assert [pair[:2] for pair in found["near_duplicates"]["pairs"]] == [[ORIGINAL, COPY]]
    assert "1 test video seems to be a training video saved again" in json.dumps(found["advice"])
    assert evcap("data", "check", root, "--backbone", "lite", *cache) == 0
    said = capfd.readouterr().out
    assert "1 test video nearly a training video, of 3 test videos and 22 training videos by lite-appearance" in said
    assert f"{COPY} looks like {ORIGINAL}" in said


def test_without_appearance_it_is_a_wrong_call(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("data", "check", root, "--motion", "lite-motion") == 2
    assert "by appearance" in capfd.readouterr().err


def test_few_videos_are_not_compared(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos").mkdir()
    for number in (0, 1, 22):
        (tmp_path / "videos" / f"{number}.mp4").symlink_to(root / "videos" / f"{number}.mp4")
    found = checked(root, capfd, "--backbone", "lite", "--videos", tmp_path / "videos")
    assert found["near_duplicates"]["pairs"] is None
    assert evcap("data", "check", root, "--backbone", "lite", "--videos", tmp_path / "videos") == 0
    assert "too few to say which look the same: 1 test video and 2 training videos" in capfd.readouterr().out
