"""Clips kept in the cache as compressed images are what decoding gives, and damage costs time only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from evcap_cli.errors import VideoError
from evcap_cli.features.cache import FeatureCache
from evcap_cli.features.kept_clips import KeptClips
from evcap_cli.features.raw_clips import RawClip, RawClips, RawRequest
from evcap_cli.media.listed_segments import ListedClip, ListedClips
from tests.features.films import make_film

REQUEST = RawRequest(moments=3, longest_side=40, rate=8000, longest_seconds=0.5)


class Counting(RawClips):
    """Counts the files that it decodes."""

    files = 0

    def run(self, paths: Sequence[Path]) -> Iterator:
        self.files += len(paths)
        return super().run(paths)


def same(one: RawClip, other: RawClip) -> bool:
    assert one.frames is not None
    assert other.frames is not None
    sound = (one.waveform is None) == (other.waveform is None)
    if one.waveform is not None and other.waveform is not None:
        sound = np.array_equal(one.waveform, other.waveform)
    return (
        np.array_equal(one.frames, other.frames)
        and (one.times, one.duration, one.segment.id) == (other.times, other.duration, other.segment.id)
        and sound
    )


def decoded(clips: RawClips, path: Path) -> list[RawClip]:
    return [event for event in clips.run([path]) if isinstance(event, RawClip)]


@pytest.mark.slow
def test_kept_clips_are_what_decoding_gives_and_are_decoded_once(tmp_path: Path) -> None:
    videos = {"a": make_film(tmp_path / "a.mp4", frames=12), "b": make_film(tmp_path / "b.mp4", frames=9, sound=False)}
    text = tmp_path / "c.mp4"
    text.write_text("no video")
    clips, cache = Counting(REQUEST, workers=1), FeatureCache(tmp_path / "cache")
    kept = KeptClips(clips, cache, {**videos, "c": text})
    assert kept.fill(["a", "b", "c", "nowhere"]) == ["a", "b"]
    assert clips.files == 3
    for name, path in videos.items():
        assert same(kept.read(name), *decoded(RawClips(REQUEST, workers=1), path))
    assert clips.files == 3
    assert cache.info().streams == {"frames": 2}

    # a later run decodes nothing that is there, and again what is damaged or of another request
    again = KeptClips(Counting(REQUEST, workers=1), cache, videos)
    assert again.fill(["a", "b"]) == ["a", "b"]
    assert again.clips.files == 0  # type: ignore[attr-defined]
    entry = next(cache.entries())
    entry.write_bytes(entry.read_bytes()[:-9])
    for name, path in videos.items():
        assert same(again.read(name), *decoded(RawClips(REQUEST, workers=1), path))
    assert again.clips.files == 1  # type: ignore[attr-defined]
    smaller = KeptClips(Counting(RawRequest(moments=2), workers=1), cache, videos)
    smaller.fill(["a"])
    assert smaller.clips.files == 1  # type: ignore[attr-defined]
    with pytest.raises(VideoError):
        kept.read("c")


@pytest.mark.slow
def test_segments_of_a_file_are_kept_each_for_itself(tmp_path: Path) -> None:
    film = make_film(tmp_path / "long.mp4", frames=40)
    listed = ListedClips(
        [
            ListedClip("first", "long.mp4", Fraction(0), Fraction(3, 4)),
            ListedClip("second", "long.mp4", Fraction(1, 2), Fraction(3, 2)),
        ]
    )
    clips = Counting(REQUEST, workers=1)
    object.__setattr__(clips, "segmentation", type(clips.segmentation)("from", "from:root", listed=listed))
    kept = KeptClips(clips, FeatureCache(tmp_path / "cache"), dict.fromkeys(listed.clips, film), listed.clips)
    assert kept.fill(["first", "second"]) == ["first", "second"]
    assert clips.files == 1
    direct = {clip.segment.id: clip for clip in decoded(clips, film)}
    for name in ("first", "second"):
        assert same(kept.read(name), direct[name])
    assert kept.read("first").duration == 0.75
