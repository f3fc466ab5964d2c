"""The loop that fills batches of clips and closes finished videos, with clips that are only numbers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcap_cli.captioning import batching
from evcap_cli.captioning.batching import records_of
from evcap_cli.features.events import VideoDone
from evcap_cli.features.feed import Feed, ListFeed
from evcap_cli.inputs import Source
from evcap_cli.output.records import Caption, Record


@dataclass(frozen=True)
class Numbered:
    video: int
    number: int


def serving(
    clips: Sequence[int], closed: list[bool]
) -> Callable[[Feed[Path]], Generator[Numbered | VideoDone, None, None]]:
    """Gives the clips of videos that have so many, and their ends."""

    def serve(feed: Feed[Path]) -> Generator[Numbered | VideoDone, None, None]:
        try:
            for video, count in enumerate(clips):
                path = feed.take(wait=True)
                assert path is not None
                for number in range(count):
                    yield Numbered(video, number)
                yield VideoDone(video, path, "", None)
        finally:
            closed.append(True)

    return serve


def feed_of(clips: Sequence[int]) -> Feed[Source]:
    return ListFeed(Source(Path(f"{video}.mp4"), "", PurePosixPath()) for video in range(len(clips)))


def record(source: Source, done: VideoDone, captions: Sequence[str]) -> Record:
    assert source.path == done.path == Path(f"{done.video}.mp4")
    found = tuple(Caption(number, number + 1, text) for number, text in enumerate(captions))
    return Record(str(done.path), str(done.video), None, "ok", found)


@given(st.lists(st.integers(0, 7)), st.integers(1, 5), st.booleans())
def test_every_clip_is_captioned_once_in_full_batches_and_every_video_closed(
    clips: list[int], size: int, impatient: bool
) -> None:
    batches: list[int] = []
    closed: list[bool] = []

    def caption(waiting: Sequence[Numbered]) -> list[list[str]]:
        batches.append(len(waiting))
        # a clip may have several captions, or none
        return [[f"{clip.video} {clip.number}"] * (clip.number % 3) for clip in waiting]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "FLUSH_SECONDS", -1.0 if impatient else 1e9)
        found = list(records_of(feed_of(clips), serving(clips, closed), size, caption, record))
    assert [one.id for one in found] == [str(video) for video in range(len(clips))]
    assert [[caption.text for caption in one.captions] for one in found] == [
        [f"{video} {number}" for number in range(count) for _ in range(number % 3)] for video, count in enumerate(clips)
    ]
    assert sum(batches) == sum(clips)
    assert closed == [True]
    if impatient:  # at the end of a video nothing waits
        assert batches == [part for count in clips for part in [size] * (count // size) + [count % size] if part]
    else:
        assert batches == [size] * (sum(clips) // size) + [sum(clips) % size] * (sum(clips) % size > 0)


def test_closing_it_closes_the_events() -> None:
    closed: list[bool] = []
    clips = [1, 1, 1]
    made = records_of(feed_of(clips), serving(clips, closed), 1, lambda waiting: [["a"] for _ in waiting], record)
    assert next(made).id == "0"
    assert not closed
    made.close()
    assert closed == [True]
