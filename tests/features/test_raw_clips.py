"""Frames and waveforms of clips, from one decoding pass a video, against PyAV read directly."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest

from evcap_cli.features.events import VideoDone
from evcap_cli.features.feed import ListFeed
from evcap_cli.features.raw_clips import RawClip, RawClips, RawRequest
from tests.features.films import make_film

REQUEST = RawRequest(moments=4, longest_side=48, rate=16000, longest_seconds=30)


def read(paths: list[Path], request: RawRequest = REQUEST, **options: object) -> list[RawClip | VideoDone]:
    return list(RawClips(request, **options).run(paths))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "a.mp4", frames=80, fps=20, seed=1)


@pytest.mark.slow
def test_frames_are_those_on_screen_in_the_middles_of_equal_parts(film: Path) -> None:
    clip, done = read([film])
    assert isinstance(clip, RawClip)
    assert isinstance(done, VideoDone)
    assert done.error is None
    # 4 s of 20 frames a second: middles at 0.5, 1.5, 2.5 and 3.5 s
    assert clip.times == (0.5, 1.5, 2.5, 3.5)
    with av.open(str(film)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    assert clip.frames is not None
    assert clip.frames.shape == (4, 36, 48, 3)
    for found, ordinal in zip(clip.frames, (10, 30, 50, 70), strict=True):
        expected = np.asarray(frames[ordinal].resize((48, 36), 3))
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2


@pytest.mark.slow
def test_a_waveform_is_that_of_its_segment(film: Path) -> None:
    items = read([film], segmentation="fixed:1.5")
    clips = [item for item in items if isinstance(item, RawClip)]
    whole = read([film])[0]
    assert isinstance(whole, RawClip)
    assert whole.waveform is not None
    assert [len(clip.waveform) for clip in clips if clip.waveform is not None] == [24000, 24000, 16000]
    joined = np.concatenate([clip.waveform for clip in clips if clip.waveform is not None])
    assert np.abs(joined - whole.waveform[: len(joined)]).max() < 1e-6
    assert np.abs(whole.waveform).max() > 0.3
    # segments begin at zero on their own clock
    assert all(0 <= clip.times[0] < clip.duration / 4 + 0.06 for clip in clips)


@pytest.mark.slow
def test_a_long_waveform_is_cut_and_a_silent_video_has_none(film: Path, tmp_path: Path) -> None:
    short = read([film], RawRequest(moments=1, rate=8000, longest_seconds=0.5))[0]
    assert isinstance(short, RawClip)
    assert short.waveform is not None
    assert len(short.waveform) == 4000
    silent = read([make_film(tmp_path / "b.mp4", frames=5, sound=False)])[0]
    assert isinstance(silent, RawClip)
    assert silent.waveform is None
    no_frames = read([film], RawRequest(rate=8000))[0]
    assert isinstance(no_frames, RawClip)
    assert no_frames.frames is None


@pytest.mark.slow
def test_fewer_frames_than_requested_come_once_each(tmp_path: Path) -> None:
    clip = read([make_film(tmp_path / "b.mp4", frames=2, sound=False)], RawRequest(moments=8))[0]
    assert isinstance(clip, RawClip)
    assert clip.times == (0.0, 0.05)
    # small frames are not enlarged
    assert clip.frames is not None
    assert clip.frames.shape == (2, 48, 64, 3)


@pytest.mark.slow
def test_videos_come_in_order_and_do_not_depend_on_workers_or_neighbours(film: Path, tmp_path: Path) -> None:
    bad = tmp_path / "c.mp4"
    bad.write_text("no video")
    paths = [film, bad, make_film(tmp_path / "d.mp4", frames=30, seed=2), tmp_path / "gone.mp4", film]
    items = read(paths, segmentation="fixed:1", workers=3)
    assert [item.video for item in items] == sorted(item.video for item in items)
    ends = [item for item in items if isinstance(item, VideoDone)]
    assert [None if end.error is None else end.error.code for end in ends] == [None, "open", None, "open", None]
    alone = read([film], segmentation="fixed:1", workers=1)
    for first, one, last in zip(alone[:-1], items, items[-len(alone) :], strict=False):
        assert isinstance(first, RawClip)
        for other in (one, last):
            assert isinstance(other, RawClip)
            assert first.times == other.times
            assert np.array_equal(first.frames, other.frames)  # type: ignore[arg-type]
            assert np.array_equal(first.waveform, other.waveform)  # type: ignore[arg-type]


class Counted(ListFeed[Path]):
    taken = 0

    def take(self, *, wait: bool) -> Path | None:
        self.taken += 1
        return super().take(wait=wait)


@pytest.mark.slow
def test_so_many_videos_are_decoded_while_one_is_in_use_and_no_more(tmp_path: Path) -> None:
    feed = Counted([make_film(tmp_path / "a.mp4", frames=2, sound=False)] * 9)
    ended, deadline = 0, time.monotonic() + 60
    with closing(RawClips(RawRequest(moments=1), workers=1, ahead=3).serve(feed)) as items:
        for item in items:
            ended += isinstance(item, VideoDone)
            while isinstance(item, RawClip) and feed.taken < min(ended + 4, 9) and time.monotonic() < deadline:
                time.sleep(0.005)
            assert feed.taken <= ended + 4
            if isinstance(item, RawClip):
                assert feed.taken >= min(ended + 4, 9)


@pytest.mark.slow
def test_a_run_that_is_left_early_leaves_no_thread(film: Path) -> None:
    before = threading.active_count()
    with closing(RawClips(REQUEST, segmentation="fixed:0.5").run([film] * 4)) as items:
        assert isinstance(next(items), RawClip)
    assert threading.active_count() == before
