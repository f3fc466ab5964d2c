"""Runs that are fed video by video, by somebody else, give what runs over a list give."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evcap_cli.features.cache import FeatureCache
from evcap_cli.features.events import Idle, SegmentReady, VideoDone
from evcap_cli.features.feed import ListFeed, QueueFeed
from evcap_cli.features.pipeline import FeaturePipeline
from evcap_cli.features.raw_clips import RawClips, RawRequest
from tests.features.films import make_film
from tests.features.tiny import tiny_backbones


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    good = [make_film(folder / f"{number}.mp4", frames=9 + number, seed=number) for number in range(4)]
    bad = folder / "text.mp4"
    bad.write_text("not a video")
    return [*good[:2], bad, *good[2:]]


def test_a_queue_gives_what_is_put_in_it_in_order_and_ends_when_it_is_closed() -> None:
    feed: QueueFeed[int] = QueueFeed()
    assert feed.take(wait=False) is None
    assert not feed.ended
    feed.put([1, 2])
    feed.close()
    assert not feed.ended
    assert [feed.take(wait=True), feed.take(wait=False), feed.take(wait=True)] == [1, 2, None]
    assert feed.ended


def test_a_waiting_taker_wakes_when_something_comes_and_when_nothing_will() -> None:
    feed: QueueFeed[int] = QueueFeed()
    timers = [threading.Timer(0.05, feed.put, [[7]]), threading.Timer(0.15, feed.close)]
    for timer in timers:
        timer.start()
    assert [feed.take(wait=True), feed.take(wait=True)] == [7, None]


def test_a_mapped_feed_changes_each_item_once() -> None:
    seen: list[int] = []
    feed = ListFeed([1, 2]).mapped(lambda item: seen.append(item) or str(item))  # type: ignore[func-returns-value]
    assert feed.most == 2
    assert [feed.take(wait=True), feed.take(wait=True), feed.take(wait=True)] == ["1", "2", None]
    assert (seen, feed.ended) == ([1, 2], True)


def pixels(event: Any) -> Any:
    """What one event says, comparable."""
    if isinstance(event, SegmentReady):
        return {kind: stream.values.tolist() for kind, stream in event.features.streams.items()}
    if isinstance(event, VideoDone):
        return event.path, event.digest, None if event.error is None else str(event.error)
    return event.frames.tolist(), np.asarray(event.waveform).tolist()


def fed_slowly(serve: Any, films: list[Path]) -> tuple[list[Any], int, QueueFeed[Path]]:
    """Every event of a run that gets more videos when it has nothing else left, and how often that was."""
    feed: QueueFeed[Path] = QueueFeed()
    feed.put(films[:2])
    found, idle = [], 0
    events: Generator[Any, None, None] = serve(feed)
    with closing(events):
        for event in events:
            if not isinstance(event, Idle):
                found.append(pixels(event))
                continue
            idle += 1
            if idle == 1:
                threading.Timer(0.05, feed.put, [films[2:]]).start()
            else:
                feed.close()
    return found, idle, feed


@pytest.mark.slow
def test_features_of_a_queue_are_those_of_a_list(films: list[Path], tmp_path: Path) -> None:
    pipeline = FeaturePipeline(tiny_backbones(), cache=FeatureCache(tmp_path))
    expected = [pixels(event) for event in FeaturePipeline(tiny_backbones(), cache=None).run(films)]
    for _ in range(2):  # computed, and from the cache
        found, idle, feed = fed_slowly(pipeline.serve, films)
        assert found == expected
        assert idle == 2
        assert feed.progress > len(films)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("evcap-reader")]


@pytest.mark.slow
def test_clips_of_a_queue_are_those_of_a_list(films: list[Path]) -> None:
    clips = RawClips(RawRequest(moments=3, longest_side=32, rate=8000))
    expected = [pixels(event) for event in clips.run(films)]
    found, idle, feed = fed_slowly(clips.serve, films)
    assert found == expected
    assert idle == 2
    assert feed.progress > len(films)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("evcap-clips")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["features", "clips"])
def test_closing_a_run_that_waits_for_videos_leaves_no_thread(kind: str, films: list[Path]) -> None:
    serve = (
        FeaturePipeline(tiny_backbones(), cache=None).serve
        if kind == "features"
        else RawClips(RawRequest(moments=1)).serve
    )
    feed: QueueFeed[Path] = QueueFeed()
    feed.put(films[:1])
    events = serve(feed)
    assert any(isinstance(event, Idle) for event in events)
    before = time.monotonic()
    events.close()
    assert time.monotonic() - before < 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("evcap-reader", "evcap-clips"))]
