"""The feature stage on real files: the same features whatever the batch, the neighbours, the workers or the cache."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
import pytest
import torch

from evcap_cli.backbones.identity import file_digest
from evcap_cli.errors import BackboneError, DecodeFailed, EvcapError, OpenFailed, UsageError
from evcap_cli.features import reading_threads, video_reader
from evcap_cli.features.backpressure import ByteQueue
from evcap_cli.features.cache import FeatureCache
from evcap_cli.features.events import SegmentReady, VideoDone
from evcap_cli.features.feature_run import FeatureRun
from evcap_cli.features.pipeline import FeaturePipeline
from evcap_cli.features.reader_messages import Waiting
from evcap_cli.features.video_reader import VideoReader
from evcap_cli.media.decode_plan import DecodedFrame
from evcap_cli.media.decoder import Decoder
from tests.features.films import make_film
from tests.features.tiny import TINY, changed, tiny_backbones

FILMS = {
    "a": {"frames": 40},
    "b": {"frames": 13, "sound": False},
    "c": {"frames": 75},
    "d": {"frames": 1, "sound": False},
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return [make_film(folder / f"{name}.mp4", seed=seed, **how) for seed, (name, how) in enumerate(FILMS.items())]


def run(paths, cache=None, *, backbones=None, **options):
    """Results by path: the features of its segments and how it ended; and the pipeline."""
    pipeline = FeaturePipeline(backbones or tiny_backbones(), cache=cache, **options)
    segments: dict[Path, list] = {}
    ends: dict[Path, VideoDone] = {}
    order = []
    for event in pipeline.run(paths):
        order.append((event.video, isinstance(event, VideoDone)))
        if isinstance(event, SegmentReady):
            segments.setdefault(event.path, []).append(event.features)
        else:
            ends[event.path] = event
    assert order == sorted(order), "events come in the order of the videos, the end last"
    return segments, ends, pipeline


def assert_same(one, other, *, tolerance=0.0):
    assert one.keys() == other.keys()
    for path in one:
        assert len(one[path]) == len(other[path])
        for first, second in zip(one[path], other[path], strict=True):
            assert first.duration == second.duration
            assert first.streams.keys() == second.streams.keys()
            for kind, stream in first.streams.items():
                torch.testing.assert_close(stream.values, second.streams[kind].values, atol=tolerance, rtol=0)
                assert torch.equal(stream.times, second.streams[kind].times)


@pytest.fixture(scope="module")
def cold(films):
    return run(films)[0]


@pytest.mark.slow
def test_every_stream_has_its_rows_and_times(films, cold):
    for path, how in zip(films, FILMS.values(), strict=True):
        (clip,) = cold[path]
        rows = min(how["frames"], 30)
        assert tuple(clip.streams) == tuple(TINY)
        assert clip.streams["appearance"].values.shape == (rows, 12)
        assert clip.streams["motion"].values.shape == (rows, 48)
        assert torch.equal(clip.streams["appearance"].times, clip.streams["motion"].times)
        assert 1 <= len(clip.streams["object"].values) <= 16
        sound = clip.streams["audio"].values
        assert len(sound) == 0 if how.get("sound") is False else 30 < len(sound) <= 60
        for stream in clip.streams.values():
            assert stream.values.dtype == stream.times.dtype == torch.float32
            assert len(stream.values) == len(stream.times)
            assert (stream.times.diff() >= 0).all()
            assert ((stream.times >= 0) & (stream.times <= clip.duration)).all()
            assert not stream.values.is_inference()  # training will want gradients through what follows


def test_features_equal_a_plain_loop_over_all_frames(films, cold):
    backbones = tiny_backbones()
    path = films[0]
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    (clip,) = cold[path]
    taken = [round(time * 20) for time in clip.streams["appearance"].times.tolist()]
    assert taken == sorted({int((i + 0.5) * 40 / 30) for i in range(30)})

    def pixels(number, height, width):
        frame = frames[min(max(number, 0), len(frames) - 1)].reformat(width, height, format="rgb24")
        return torch.from_numpy(frame.to_ndarray()).permute(2, 0, 1).float() / 255

    appearance = torch.stack([backbones["appearance"].extract(pixels(i, 8, 8)[None])[0] for i in taken])
    torch.testing.assert_close(clip.streams["appearance"].values, appearance, atol=0.02, rtol=0)
    motion = torch.stack(
        [
            backbones["motion"].extract(torch.stack([pixels(j, 4, 6) for j in range(i - 8, i + 8)], 1)[None])[0]
            for i in taken
        ]
    )
    torch.testing.assert_close(clip.streams["motion"].values, motion, atol=0.02, rtol=0)
    # the fixed box is found in every frame: one of the two tracks a snippet is the mean over key frame and neighbours
    key = taken[1]
    windows = [torch.stack([pixels(j, 12, 16) for j in range(i - 1, i + 2)], 1) for i in (key - 1, key, key + 1)]
    mean = torch.stack([window.mean((2, 3)).flatten() for window in windows]).mean(0)
    found = clip.streams["object"].values[clip.streams["object"].times == clip.streams["appearance"].times[1]]
    assert min((row - mean).abs().max() for row in found) < 0.02
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", 16000)
        samples = np.concatenate([f.to_ndarray()[0] for s in container.decode(audio=0) for f in resampler.resample(s)])
    loudness = [float(np.mean(samples[i : i + 320] ** 2)) for i in range(0, len(samples) - 319, 320)]
    assert clip.streams["audio"].values[:, 0].mean() == pytest.approx(np.mean(loudness), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 16}, {"workers": 1}, {"workers": 3}])
def test_batch_size_and_workers_change_nothing(films, cold, options):
    tolerance = 1e-6 if "batch_size" in options else 0.0
    assert_same(cold, run(films, **options)[0], tolerance=tolerance)


@pytest.mark.slow
def test_order_and_neighbours_change_nothing(films, cold):
    assert_same(cold, run(films[::-1], workers=1)[0])
    for path in films:
        assert_same({path: cold[path]}, run([path], workers=1)[0])


@pytest.mark.slow
def test_a_warm_cache_gives_the_same_bits_without_decoding(films, cold, tmp_path):
    cache = FeatureCache(tmp_path)
    first, ends, pipeline = run(films, cache)
    assert pipeline.passes == Counter(films), "one pass a file"
    assert_same(cold, first)
    again, warm_ends, pipeline = run(films, cache)
    assert not pipeline.passes
    assert_same(cold, again)
    for path in films:
        assert warm_ends[path].from_cache
        assert not ends[path].from_cache
        for name in ("digest", "info", "warnings", "skipped_packets", "error"):
            assert getattr(warm_ends[path], name) == getattr(ends[path], name)


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
@pytest.mark.slow
def test_damaged_entries_are_computed_again(films, cold, tmp_path, damage):
    cache = FeatureCache(tmp_path)
    run(films[:2], cache)
    for number, path in enumerate(sorted(cache.entries())):
        data = bytearray(path.read_bytes())
        if damage == "delete" and number % 2:
            path.unlink()
        elif damage == "truncate":
            path.write_bytes(data[: len(data) // 2])
        else:
            data[len(data) * 3 // 4] ^= 8
            path.write_bytes(data)
    assert_same({path: cold[path] for path in films[:2]}, run(films[:2], cache)[0])
    assert cache.verify().removed == 0
    assert not run(films[:2], cache)[2].passes


@pytest.mark.slow
def test_only_missing_streams_are_computed_and_equal_those_of_a_full_run(films, cold, tmp_path):
    cache = FeatureCache(tmp_path)
    run(films, cache, backbones=tiny_backbones("appearance"))
    backbones = tiny_backbones()
    backbones["appearance"].extract = lambda batch: pytest.fail("was cached")
    assert_same(cold, run(films, cache, backbones=backbones)[0])


@pytest.mark.slow
def test_another_version_of_a_backbone_takes_nothing_of_the_old_one(films, tmp_path):
    cache = FeatureCache(tmp_path)
    run(films[:1], cache)
    newer = tiny_backbones() | {"motion": changed("motion", version="2")}
    newer["motion"].extract = lambda batch: torch.full((len(batch), 48), 7.0)
    (clip,) = run(films[:1], cache, backbones=newer)[0][films[0]]
    assert (clip.streams["motion"].values == 7).all()


@pytest.mark.slow
def test_a_renamed_copy_of_a_file_is_known(films, cold, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    run(films[:1], cache)
    copy = tmp_path / "other name.mkv"
    copy.write_bytes(films[0].read_bytes())
    found, _, pipeline = run([copy], cache)
    assert not pipeline.passes
    assert_same({copy: cold[films[0]]}, found)


@pytest.mark.slow
def test_entries_with_other_values_and_a_valid_checksum_are_computed_again(films, cold, tmp_path):
    cache = FeatureCache(tmp_path)
    run(films[:1], cache)
    for path in cache.entries():
        about, arrays = cache.read(path.stem)
        if arrays:
            cache.write(path.stem, about, {name: array[: len(array) // 2] for name, array in arrays.items()})
        else:
            cache.write(path.stem, {**about, "segments": [[0, "0", "1e999999999"]]}, {})
    assert_same({films[0]: cold[films[0]]}, run(films[:1], cache)[0])
    assert not run(films[:1], cache)[2].passes


@pytest.mark.slow
def test_a_large_file_that_is_no_video_is_refused_before_its_digest_is_taken(films, tmp_path, monkeypatch):
    monkeypatch.setattr(video_reader, "DIGEST_FIRST_BYTES", 1000)
    text = tmp_path / "text.mp4"
    with text.open("wb") as file:
        file.write(b"not a video\n" * 100)
        file.truncate(20 << 30)  # nobody could read it through in the time of a test
    digested = []
    monkeypatch.setattr(video_reader, "file_digest", lambda path: digested.append(path) or file_digest(path))
    found, ends, _ = run([text, films[0]], FeatureCache(tmp_path / "cache"))
    assert isinstance(ends[text].error, OpenFailed)
    assert ends[text].digest == ""
    assert digested == [films[0]]
    assert films[0] in found


@pytest.mark.slow
def test_a_large_video_is_not_opened_again_by_a_warm_run(films, cold, tmp_path, monkeypatch):
    monkeypatch.setattr(video_reader, "DIGEST_FIRST_BYTES", 1000)
    film = tmp_path / "a.mp4"
    film.write_bytes(films[0].read_bytes())
    cache = FeatureCache(tmp_path / "cache")
    assert_same({film: cold[films[0]]}, run([film], cache)[0])
    with monkeypatch.context() as patched:
        patched.setattr(Decoder, "open", lambda *_: pytest.fail("opened"))
        assert_same({film: cold[films[0]]}, run([film], cache)[0])
    copy = film.with_name("b.mp4")
    copy.write_bytes(film.read_bytes())
    found, ends, pipeline = run([copy], cache)
    assert_same({copy: cold[films[0]]}, found)
    assert ends[copy].from_cache
    assert not pipeline.passes
    film.write_text("no video any more" * 100)
    assert isinstance(run([film], cache)[1][film].error, OpenFailed)


@pytest.mark.slow
def test_a_pipe_in_place_of_a_video_is_not_waited_for(films, tmp_path, monkeypatch):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for bound in (video_reader.DIGEST_FIRST_BYTES, -1):
        monkeypatch.setattr(video_reader, "DIGEST_FIRST_BYTES", bound)
        found, ends, _ = run([pipe, films[0]])
        assert "is a pipe" in str(ends[pipe].error)
        assert films[0] in found


@pytest.mark.slow
def test_bad_files_have_typed_errors_and_leave_the_others_alone(films, cold, tmp_path):
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("not a video")
    empty.touch()
    paths = [text, films[0], tmp_path / "missing.mp4", films[1], empty, films[2], films[3]]
    found, ends, _ = run(paths)
    assert_same(cold, found)
    for path in (text, empty, tmp_path / "missing.mp4"):
        assert isinstance(ends[path].error, OpenFailed)
        assert str(path) in str(ends[path].error)
    assert all(ends[path].error is None for path in films)
    assert ends[text].digest
    assert ends[films[0]].info.has_audio


@pytest.mark.slow
def test_a_backbone_that_fails_on_one_video_fails_that_video_only(films, cold):
    backbones = tiny_backbones()
    plain = backbones["motion"].extract
    victim = cold[films[2]][0].streams["motion"].values[0]

    def picky(batch):
        values = plain(batch)
        if (values - victim).abs().amax(1).min() < 1e-6:
            raise RuntimeError("does not like this one")
        return values

    backbones["motion"].extract = picky
    found, ends, _ = run(films, backbones=backbones)
    found.pop(films[2], None)
    assert isinstance(ends[films[2]].error, BackboneError)
    assert ends[films[2]].error.path == str(films[2])
    assert_same({path: cold[path] for path in films if path != films[2]}, found)


@pytest.mark.slow
def test_a_failure_is_not_cached(films, tmp_path):
    cache = FeatureCache(tmp_path)
    backbones = tiny_backbones()
    backbones["object"].extract = lambda batch: 1 // 0
    assert run(films[:1], cache, backbones=backbones)[1][films[0]].error is not None
    assert run(films[:1], cache)[1][films[0]].error is None


@pytest.mark.slow
def test_segments_are_clips_of_their_own(films, tmp_path):
    cache = FeatureCache(tmp_path)
    found, _, pipeline = run(films[2:3], cache, segmentation="fixed:1.5")
    clips = found[films[2]]
    assert [clip.duration for clip in clips][:2] == [1.5, 1.5]
    assert pipeline.passes[films[2]] == 1
    assert all(clip.streams["audio"].times.max() < clip.duration for clip in clips[:2])
    assert all(len(clip.streams["appearance"].values) >= 1 for clip in clips)
    assert_same(found, run(films[2:3], cache, segmentation="fixed:1.5")[0])


@pytest.mark.slow
def test_a_long_video_waits_after_a_few_segments_until_it_is_next(films, monkeypatch):
    expected = run(films[:3], segmentation="fixed:0.25", workers=1)[0]
    monkeypatch.setattr(video_reader, "WAITING_SEGMENTS", 2)
    handle, read = FeatureRun._handle, VideoReader.read
    somebody_waits = threading.Event()
    early, waiting = Counter(), []

    def read_late(reader, video, path):
        # the first video does not come before another one waits for it
        assert video or somebody_waits.wait(120)
        read(reader, video, path)

    def watch(feature_run, message):
        handle(feature_run, message)
        if isinstance(message, Waiting):
            waiting.append(message.video)
            somebody_waits.set()
        for video, state in feature_run.states.items():
            if video != feature_run.head:
                early[video] = max(early[video], len(state.segments))

    monkeypatch.setattr(VideoReader, "read", read_late)
    monkeypatch.setattr(FeatureRun, "_handle", watch)
    assert_same(expected, run(films[:3], segmentation="fixed:0.25", workers=2)[0])
    assert waiting[0] == 1
    assert max(early.values()) == 2, "segments in memory of a video that is not next"


@pytest.mark.slow
def test_a_full_queue_slows_the_readers_down_and_changes_nothing(films, cold, monkeypatch):
    most = []

    class Watched(ByteQueue):
        def put(self, message, size=0):
            super().put(message, size)
            with self._changed:
                most.append(sum(1 for _, each in self._messages if each))

    monkeypatch.setattr(reading_threads, "ByteQueue", lambda: Watched(limit=1))
    assert_same(cold, run(films)[0])
    assert max(most) == 1, "messages with pixels or samples in the queue at once"


def test_a_put_beyond_the_limit_waits_for_a_get():
    queue = ByteQueue(limit=10)
    queue.put("pixels", 10)
    queue.put("a word", 0)  # takes no room, so it never waits
    thread = threading.Thread(target=queue.put, args=("more pixels", 1))
    thread.start()
    while not queue._changed._waiters:  # until it waits
        pass
    assert [queue.get(), queue.get()] == ["pixels", "a word"]
    thread.join()
    assert queue.get() == "more pixels"
    assert queue.empty()


class Lossy(Decoder):
    """A decoder that loses some frames, as damaged files do."""

    lost: ClassVar[set[int]] = set()

    def decode(self, plan):
        for item in super().decode(plan):
            if not (isinstance(item, DecodedFrame) and item.ordinal in self.lost):
                yield item


@pytest.mark.slow
def test_moments_whose_frame_is_lost_are_left_out_of_appearance_and_motion(films, cold, monkeypatch):
    (whole,) = cold[films[0]]
    taken = [round(time * 20) for time in whole.streams["appearance"].times.tolist()]
    monkeypatch.setattr(Lossy, "lost", {taken[3], taken[4], taken[20] + 1})
    monkeypatch.setattr(reading_threads, "Decoder", Lossy)
    (clip,) = run(films[:1])[0][films[0]]
    kept = [i for i, number in enumerate(taken) if number not in Lossy.lost]
    for kind in ("appearance", "motion"):
        assert torch.equal(clip.streams[kind].times, whole.streams[kind].times[kept])
    assert torch.equal(clip.streams["appearance"].values, whole.streams["appearance"].values[kept])


@pytest.mark.slow
def test_epan_rows_repeat_what_they_show_and_lost_frames_are_filled_by_neighbours(films, monkeypatch):
    (clip,) = run(films[2:3], sampling="epan")[0][films[2]]
    shown = [8 + 5 * int(i * 11 / 29) for i in range(29)] + [63]  # 75 frames: 8, 13, ... 63; four windows
    assert [round(time * 20) for time in clip.streams["appearance"].times.tolist()] == shown
    begins = [16 * int(i * 3 / 29) for i in range(29)] + [48]
    assert [round(time * 20) - 8 for time in clip.streams["motion"].times.tolist()] == begins
    frame = {number: clip.streams["appearance"].values[row] for row, number in enumerate(shown)}
    assert len({tuple(values.tolist()) for values in frame.values()}) == 12
    monkeypatch.setattr(Lossy, "lost", {13, 18})
    monkeypatch.setattr(reading_threads, "Decoder", Lossy)
    (lossy,) = run(films[2:3], sampling="epan")[0][films[2]]
    expected = [frame[{13: 8, 18: 23}.get(number, number)] for number in shown]
    assert torch.equal(lossy.streams["appearance"].values, torch.stack(expected))
    assert len(lossy.streams["motion"].values) == 30


@pytest.mark.slow
def test_epan_and_moments_do_not_share_cache_entries(films, tmp_path):
    cache = FeatureCache(tmp_path)
    run(films[:1], cache)
    (cached,) = run(films[:1], cache, sampling="epan")[0][films[0]]
    (fresh,) = run(films[:1], sampling="epan")[0][films[0]]
    assert torch.equal(cached.streams["appearance"].values, fresh.streams["appearance"].values)
    again, _, pipeline = run(films[:1], cache, sampling="epan")
    assert not pipeline.passes
    assert torch.equal(again[films[0]][0].streams["motion"].values, fresh.streams["motion"].values)


@pytest.mark.slow
def test_short_videos_have_epan_rows_too(films):
    found, ends, _ = run([films[1], films[3]], sampling="epan")
    assert all(end.error is None for end in ends.values())
    assert all(
        len(clips[0].streams[kind].values) == 30 for clips in found.values() for kind in ("appearance", "motion")
    )


@pytest.mark.slow
def test_a_segment_without_a_picture_is_left_out_and_a_video_without_any_fails(films, monkeypatch):
    monkeypatch.setattr(reading_threads, "Decoder", Lossy)
    monkeypatch.setattr(Lossy, "lost", set(range(20)))
    found, ends, _ = run(films[:1], segmentation="fixed:1")
    assert len(found[films[0]]) == len(run(films[:1], segmentation="fixed:1")[0][films[0]]) >= 1
    assert any("0.00 s to 1.00 s" in text for text in ends[films[0]].warnings)
    monkeypatch.setattr(Lossy, "lost", set(range(1000)))
    found, ends, _ = run(films[:1])
    assert not found
    assert isinstance(ends[films[0]].error, DecodeFailed)


@pytest.mark.slow
def test_a_mistake_in_a_reader_ends_the_run_instead_of_hanging_it(films, monkeypatch):
    monkeypatch.setattr(video_reader, "segments_of", lambda *given: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run(films)


@pytest.mark.slow
def test_leaving_early_leaves_nothing_running(films):
    before = threading.active_count()
    events = FeaturePipeline(tiny_backbones(), cache=None).run(films * 4)
    next(events)
    events.close()
    assert threading.active_count() == before
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_without_a_writable_cache_the_run_goes_on(films, cold, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert_same(cold, run(films, FeatureCache(tmp_path / "file"))[0])
    assert capsys.readouterr().err.count("cannot be cached") == 1


@pytest.mark.slow
def test_two_runs_at_once_share_a_cache(films, cold, tmp_path):
    cache = FeatureCache(tmp_path)
    results = []
    threads = [threading.Thread(target=lambda: results.append(run(films, cache)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    for result in results:
        assert_same(cold, result)
    assert cache.verify().removed == 0


def test_no_videos_give_no_events():
    assert run([])[0] == {}


def test_unknown_ways_to_cut_and_sample_are_found_at_once():
    for options in ({"segmentation": "halves"}, {"segmentation": "fixed:0"}, {"sampling": "dice"}):
        with pytest.raises(UsageError):
            FeaturePipeline(tiny_backbones(), cache=None, **options)


@pytest.mark.slow
def test_fractions_of_the_media_info_survive_the_cache(films, tmp_path):
    cache = FeatureCache(tmp_path)
    run(films[:1], cache)
    info = run(films[:1], cache)[1][films[0]].info
    assert isinstance(info.duration, Fraction)
    assert info.fps == 20


def test_errors_are_evcaps_own(films, tmp_path):
    ends = run([tmp_path])[1]
    assert isinstance(ends[tmp_path].error, EvcapError)
