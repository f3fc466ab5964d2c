"""Long videos segment by segment: picture and sound in step, little in memory, only what is missing again."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from evcap_cli.features import reading_threads
from evcap_cli.features.cache import FeatureCache
from evcap_cli.features.events import SegmentReady, VideoDone
from evcap_cli.features.feature_run import FeatureRun
from evcap_cli.features.pipeline import FeaturePipeline
from evcap_cli.media import stretch_limits
from evcap_cli.media.decode_plan import AudioChunk, AudioRequest, DecodedFrame, DecodePlan, FrameRequest
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.frames import Geometry
from tests.features.films import make_film
from tests.features.tiny import tiny_backbones
from tests.media.clips import flip_bits


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Twelve seconds at 20 frames a second, a key frame every half a second."""
    return make_film(tmp_path_factory.mktemp("film") / "long.mkv", frames=240)


@pytest.fixture
def short_stretches(monkeypatch):
    monkeypatch.setattr(stretch_limits, "STRETCH_SECONDS", 3)


class Recording(Decoder):
    """A decoder that keeps the plans of its passes."""

    plans: list[DecodePlan]

    def decode(self, plan):
        self.plans.append(plan)
        return super().decode(plan)


@pytest.fixture
def plans(monkeypatch):
    found: list[DecodePlan] = []
    monkeypatch.setattr(Recording, "plans", found, raising=False)
    monkeypatch.setattr(reading_threads, "Decoder", Recording)
    return found


def run(path, cache=None, *, stop_after=None, segmentation="fixed:1"):
    """Features of the segments and how the video ended; ``stop_after`` so many segments the run is left."""
    pipeline = FeaturePipeline(tiny_backbones(), cache=cache, segmentation=segmentation, workers=1)
    found, end = [], None
    events = pipeline.run([path])
    for event in events:
        if isinstance(event, VideoDone):
            end = event
        else:
            found.append(event)
            if len(found) == stop_after:
                break
    events.close()
    return found, end


def assert_same(one, other):
    assert [event.segment for event in one] == [event.segment for event in other]
    for first, second in zip(one, other, strict=True):
        for kind, stream in first.features.streams.items():
            assert torch.equal(stream.values, second.features.streams[kind].values), kind
            assert torch.equal(stream.times, second.features.streams[kind].times)


@pytest.mark.slow
def test_picture_and_sound_come_in_step_and_are_the_same_as_one_after_the_other(film):
    def read(*, in_step):
        frames, sound, order = {}, [], []
        with Decoder(timeout=120) as decoder:
            timeline = decoder.open(film)
            request = FrameRequest(Geometry(size=(48, 64)), range(0, 240, 3))
            plan = DecodePlan({"g": request}, AudioRequest(16000, Fraction(0), timeline.end), in_step=in_step)
            for item in decoder.decode(plan):
                if isinstance(item, DecodedFrame):
                    frames[item.ordinal] = item.pixels.copy()
                    order.append(("picture", float(timeline.seconds(item.ordinal))))
                elif isinstance(item, AudioChunk):
                    sound.append(item)
                    order.append(("sound", item.until))
                else:
                    return frames, sound, order, item
        raise AssertionError

    frames, sound, order, report = read(in_step=True)
    plain_frames, plain_sound, plain_order, plain_report = read(in_step=False)
    assert report == plain_report
    assert report.decoded_sound
    assert frames.keys() == plain_frames.keys()
    assert all(np.array_equal(frames[n], plain_frames[n]) for n in frames)
    joined, plain = (np.concatenate([chunk.samples for chunk in chunks]) for chunks in (sound, plain_sound))
    assert np.array_equal(joined, plain)
    assert [name for name, _ in plain_order] == sorted(name for name, _ in plain_order)
    heard_until = 0.0
    for name, seconds in order:
        if name == "sound":
            heard_until = seconds
        else:
            assert seconds < heard_until <= seconds + 2.5 or heard_until == float("inf")


@pytest.mark.slow
@pytest.mark.parametrize("segmentation", ["fixed:1", "whole"])
def test_stretches_give_the_features_of_one_pass(film, monkeypatch, plans, segmentation):
    whole, _ = run(film, segmentation=segmentation)
    assert len(plans) == 1
    monkeypatch.setattr(stretch_limits, "STRETCH_SECONDS", 3)
    parts, end = run(film, segmentation=segmentation)
    assert end.error is None
    assert len(plans) == (1 + 4 if segmentation == "fixed:1" else 2)
    for one, other in zip(whole, parts, strict=True):
        for kind in ("appearance", "motion", "object"):
            assert torch.equal(one.features.streams[kind].values, other.features.streams[kind].values)
        # the resampler begins at another sample
        sound, again = one.features.streams["audio"], other.features.streams["audio"]
        torch.testing.assert_close(sound.values, again.values, atol=2e-3, rtol=0)
        torch.testing.assert_close(sound.times, again.times, atol=1e-3, rtol=0)


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.usefixtures("short_stretches")
@pytest.mark.slow
def test_an_interrupted_video_goes_on_with_the_first_stretch_that_is_missing(film, tmp_path, plans, damaged):
    path = flip_bits(film, tmp_path / "damaged.mkv", every=2500, start=0.2) if damaged else film
    expected, undisturbed = run(path)
    assert bool(undisturbed.warnings) is damaged
    cache = FeatureCache(tmp_path / "cache")
    run(path, cache, stop_after=8)
    plans.clear()
    found, end = run(path, cache)
    assert_same(expected, found)
    assert (end.warnings, end.skipped_packets) == (undisturbed.warnings, undisturbed.skipped_packets)
    assert 1 <= len(plans) <= 2
    assert all(min(request.ordinals) >= 6 * 20 for plan in plans for request in plan.frames.values())
    plans.clear()
    warm, end = run(path, cache)
    assert_same(expected, warm)
    assert not plans
    assert end.from_cache
    assert end.warnings == undisturbed.warnings


@pytest.mark.slow
@pytest.mark.usefixtures("short_stretches")
def test_a_lost_entry_in_a_finished_video_costs_its_stretch_only(film, tmp_path, plans):
    cache = FeatureCache(tmp_path)
    expected, first = run(film, cache)
    pipeline = FeaturePipeline(tiny_backbones(), cache=cache, segmentation="fixed:1")
    cache.path_of(pipeline.plan.stream_key(first.digest, expected[7].segment, "motion")).unlink()
    plans.clear()
    found, end = run(film, cache)
    assert_same(expected, found)
    assert end.warnings == first.warnings
    assert len(plans) == 1
    for request in plans[0].frames.values():
        assert 6 * 20 <= min(request.ordinals) < max(request.ordinals) < 9 * 20


@pytest.mark.slow
def test_few_segments_are_under_way_at_once(film, monkeypatch):
    most = 0
    plain = FeatureRun._handle

    def handle(run, message):
        nonlocal most
        plain(run, message)
        most = max(most, *(len(state.segments) for state in run.states.values()))

    monkeypatch.setattr(FeatureRun, "_handle", handle)
    found, _ = run(film, segmentation="fixed:0.25")
    assert len(found) == 48
    assert all(len(event.features.streams["audio"].values) for event in found if isinstance(event, SegmentReady))
    # three chunks of sound are a batch
    assert most < 10
