"""Segments that a data root lists: with gaps, overlapping, longer than the video; each is what it is alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evcap_cli.errors import UsageError
from evcap_cli.features.cache import FeatureCache
from evcap_cli.features.events import SegmentReady, VideoDone
from evcap_cli.features.pipeline import FeaturePipeline
from evcap_cli.features.raw_clips import RawClip, RawClips, RawRequest
from tests.features.films import make_film
from tests.features.tiny import tiny_backbones

SECONDS = 6
CLIPS: dict[str, tuple[float | None, float | None]] = {
    "all": (None, None),
    "long": (0.5, 5.0),
    "inside": (1.0, 2.0),
    "between frames": (1.01, 1.04),
    "late": (5.5, 9.0),
}
"""The second to fourth overlap with the first ones; no frame is shown first within the fourth, at 20 a second."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "talk.mp4", frames=20 * SECONDS, fps=20)


def write_root(folder: Path, clips: dict[str, tuple[float | None, float | None]], file: str = "talk.mp4") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"id": name, "file": file, "start": start, "end": end} for name, (start, end) in clips.items()]
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def features(film: Path, root: Path, cache: FeatureCache | None = None) -> tuple[dict[str, SegmentReady], VideoDone]:
    found: dict[str, SegmentReady] = {}
    pipeline = FeaturePipeline(tiny_backbones(), cache=cache, segmentation=f"from:{root}", workers=1)
    *events, done = pipeline.run([film])
    for event in events:
        assert isinstance(event, SegmentReady)
        found[event.segment.id] = event
    assert isinstance(done, VideoDone)
    assert done.error is None
    return found, done


def raw(film: Path, root: Path) -> dict[str, RawClip]:
    clips = RawClips(RawRequest(moments=4, longest_side=48, rate=8000), segmentation=f"from:{root}", workers=1)
    return {item.segment.id: item for item in clips.run([film]) if isinstance(item, RawClip)}


@pytest.mark.slow
def test_each_segment_has_the_features_that_it_has_alone(film: Path, tmp_path: Path) -> None:
    together, done = features(film, write_root(tmp_path / "all", CLIPS))
    assert done.warnings == []
    assert list(together) == list(CLIPS)
    late = together["late"].segment
    assert (late.start, float(late.end)) == (5.5, pytest.approx(SECONDS, abs=0.1))
    for name, span in CLIPS.items():
        alone = features(film, write_root(tmp_path / name, {name: span}))[0][name].features
        for kind in ("appearance", "motion", "object"):
            stream = together[name].features.streams[kind]
            assert torch.equal(stream.values, alone.streams[kind].values), (name, kind)
            assert torch.equal(stream.times, alone.streams[kind].times), (name, kind)
        sound, other = together[name].features.streams["audio"], alone.streams["audio"]
        torch.testing.assert_close(sound.values, other.values, atol=2e-3, rtol=0)
    assert len(together["between frames"].features.streams["appearance"].times) == 1


@pytest.mark.slow
def test_a_second_run_comes_from_the_cache_and_another_list_does_not(film: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    root = write_root(tmp_path / "root", {"a": (1, 2), "b": (3, 4)})
    first, cold = features(film, root, cache)
    again, warm = features(film, root, cache)
    assert (cold.from_cache, warm.from_cache) == (False, True)
    assert [event.segment for event in first.values()] == [event.segment for event in again.values()]
    # lines about other videos change nothing
    with (root / "clips.jsonl").open("a") as lines:
        lines.write('{"id": "c", "file": "other.mp4", "start": 0, "end": 1}\n')
    assert features(film, root, cache)[1].from_cache
    write_root(root, {"a": (1, 2), "b": (3, 4.5)})
    assert not features(film, root, cache)[1].from_cache


@pytest.mark.slow
def test_each_segment_has_the_frames_and_the_waveform_that_it_has_alone(film: Path, tmp_path: Path) -> None:
    together = raw(film, write_root(tmp_path / "all", CLIPS))
    assert together.keys() == CLIPS.keys()
    for name, span in CLIPS.items():
        alone = raw(film, write_root(tmp_path / name, {name: span}))[name]
        assert together[name].frames is not None
        assert np.array_equal(together[name].frames, alone.frames), name  # type: ignore[arg-type]
        assert together[name].times == alone.times
        one, other = together[name].waveform, alone.waveform
        assert one is not None
        assert np.abs(one - other).max() < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("read", ["features", "raw"])
def test_a_video_that_is_not_listed_is_taken_whole_and_what_is_after_its_end_left_out(
    film: Path, tmp_path: Path, read: str
) -> None:
    def run(root: Path) -> tuple[list[Any], VideoDone]:
        chosen = f"from:{root}"
        if read == "raw":
            *clips, done = RawClips(RawRequest(moments=1), segmentation=chosen, workers=1).run([film])
        else:
            *clips, done = FeaturePipeline(tiny_backbones(), cache=None, segmentation=chosen, workers=1).run([film])
        assert isinstance(done, VideoDone)
        return clips, done

    other = write_root(tmp_path / "other", {"a": (1, 2)}, file="walk.mp4")
    clips, done = run(other)
    assert [(clip.segment.id, clip.segment.start) for clip in clips] == [("", 0)]
    assert done.warnings == [f"{other} lists no segment of it: taken as a whole"]
    clips, done = run(write_root(tmp_path / "late", {"a": (1, 2), "b": (70, 71)}))
    assert [clip.segment.id for clip in clips] == ["a"]
    assert [warning.split(" at ")[0] for warning in done.warnings] == ["b: 70 s is after the end"]
    clips, done = run(write_root(tmp_path / "after", {"b": (70, 71)}))
    assert clips == []
    assert "before the first segment that is listed" in str(done.error)


def test_a_root_without_a_list_is_a_wrong_call(tmp_path: Path) -> None:
    for text, why in (
        (f"from:{tmp_path}", "has no clips.jsonl"),
        ("from:nowhere", "no such data root"),
        ("from:", "unknown"),
    ):
        with pytest.raises(UsageError, match=why):
            RawClips(RawRequest(), segmentation=text)
