"""Segments cover the video without gaps, and each holds a frame; scenes begin where the picture changes."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from evcap_cli.errors import UsageError
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.probe import MediaInfo, Timeline
from evcap_cli.media.segments import Segment, parse_segmentation, segments_of
from tests.media.clips import make_clip


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


def timeline(times: list[float], length: float, fps: int = 25) -> Timeline:
    info = MediaInfo(None, Fraction(fps), 160, 120, 0, has_audio=False)
    ticks = np.array([round(time * 1000) for time in times], dtype=np.int64)
    return Timeline(info, ticks, Fraction(1, 1000), length=Fraction(length).limit_denominator(1000))


def spans(segments: list[Segment]) -> list[tuple[float, float]]:
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert all(one.end == two.start for one, two in pairwise(segments))
    return [(float(segment.start), float(segment.end)) for segment in segments]


EVEN = timeline([number / 25 for number in range(250)], 10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("whole", [(0, 10)]),
        ("fixed:4", [(0, 4), (4, 8), (8, 10)]),
        ("fixed:5", [(0, 5), (5, 10)]),
        ("fixed:2.5", [(0, 2.5), (2.5, 5), (5, 7.5), (7.5, 10)]),
        ("fixed:9.95", [(0, 10)]),
        ("fixed:100", [(0, 10)]),
    ],
)
def test_fixed_segments_cover_the_video(text: str, expected: list[tuple[float, float]], decoder: Decoder) -> None:
    assert spans(segments_of(text, EVEN, decoder)) == expected


def test_a_span_without_a_frame_joins_the_one_before(decoder: Decoder) -> None:
    # one picture stands from second 1 to second 7
    sparse = timeline([0, 0.5, 1, 7, 7.5, 8], 9)
    assert spans(segments_of("fixed:2", sparse, decoder)) == [(0, 6), (6, 8), (8, 9)]


def test_a_picture_that_begins_late_has_its_first_segment_from_zero(decoder: Decoder) -> None:
    assert spans(segments_of("fixed:2", timeline([5, 5.5, 6, 6.5], 7), decoder)) == [(0, 6), (6, 7)]


def test_a_claimed_length_makes_no_segments(decoder: Decoder) -> None:
    claims = timeline([0, 1, 2, 7.5], 1e12)
    assert spans(segments_of("fixed:0.5", claims, decoder)) == [(0, 1), (1, 2), (2, 7.5), (7.5, 1e12)]
    late = timeline([0, 1, 1e9], 1e9 + 1)
    assert spans(segments_of("fixed:1", late, decoder)) == [(0, 1), (1, 1e9), (1e9, 1e9 + 1)]


def test_one_frame_is_one_segment(decoder: Decoder) -> None:
    alone = timeline([0], 0.04)
    assert spans(segments_of("whole", alone, decoder)) == [(0, 0.04)]
    assert spans(segments_of("fixed:1", alone, decoder)) == [(0, 0.04)]


def test_the_end_without_a_word_of_the_container_is_one_frame_after_the_last() -> None:
    info = MediaInfo(None, Fraction(10), 1, 1, 0, has_audio=False)
    assert Timeline(info, np.array([0, 5, 20]), Fraction(1, 10)).end == Fraction(21, 10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "half",
        "fixed",
        "fixed:",
        "fixed:0",
        "fixed:-2",
        "fixed:x",
        "fixed:1e999999999",
        "scenes:2",
        "fixed:nan",
        "fixed:0.05",
    ],
)
def test_other_segmentations_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_segmentation(text)
    assert caught.value.hint


def shots(*lengths: int, size: tuple[int, int] = (160, 120)) -> list[np.ndarray]:
    """Still shots of a colour of their own with some grain."""
    generator = np.random.default_rng(0)
    colours = [(200, 40, 40), (30, 60, 180), (60, 180, 60), (220, 220, 80)]
    pictures = []
    for length, colour in zip(lengths, colours, strict=False):
        for _ in range(length):
            grain = generator.integers(-10, 10, (size[1], size[0], 1))
            pictures.append(np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8))
    return pictures


@pytest.mark.parametrize("settings", [{}, {"start_offset": 4.0}, {"rotation": 90}])
@pytest.mark.slow
def test_scenes_begin_where_the_picture_changes(settings: dict[str, float], tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / "s.mp4", pictures=shots(50, 30, 45), audio=False, **settings)  # type: ignore[arg-type]
    line = decoder.open(path)
    passes = decoder.passes
    assert spans(segments_of("scenes", line, decoder)) == [(0, 2), (2, 3.2), (3.2, 5)]
    assert decoder.passes == passes, "looking for scenes is not the pass that serves backbones"


def test_scenes_keep_the_times_of_uneven_frames(tmp_path: Path, decoder: Decoder) -> None:
    times = [number * 0.1 for number in range(20)] + [2.5 + number * 0.2 for number in range(20)]
    path = make_clip(tmp_path / "v.mkv", pictures=shots(20, 20), vfr=times, audio=False)
    line = decoder.open(path)
    found = spans(segments_of("scenes", line, decoder))
    assert [round(start, 3) for start, _ in found] == [0, 2.5]


def test_one_shot_is_one_scene(tmp_path: Path, decoder: Decoder) -> None:
    line = decoder.open(make_clip(tmp_path / "one.mp4", pictures=shots(40), audio=False))
    assert spans(segments_of("scenes", line, decoder)) == [(0, 1.6)]
    assert decoder.scenes() == [(0, line.end)]


@pytest.mark.slow
def test_scenes_without_scenedetect_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scenedetect.py").write_text("raise ImportError('not here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Decoder(timeout=120) as fresh:
        line = fresh.open(make_clip(tmp_path / "c.mp4", seconds=0.4))
        with pytest.raises(UsageError, match=r"evcap\[scenes\]"):
            segments_of("scenes", line, fresh)
        assert len(fresh.open(tmp_path / "c.mp4").times) == 10


@pytest.mark.slow
def test_a_file_of_a_phone_says_what_it_is(tmp_path: Path, decoder: Decoder) -> None:
    path = make_clip(tmp_path / "p.mov", rotation=270, size=(90, 160), seconds=0.4)
    assert decoder.open(path).info == MediaInfo(Fraction(2, 5), Fraction(25), 90, 160, 270, has_audio=True)
