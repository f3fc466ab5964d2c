"""The loop of every captioner: clips wait until they fill a batch, though not for long; finished videos get records."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Final, Protocol, TypeVar

from evcap_cli.features.events import Idle, VideoDone
from evcap_cli.features.feed import Feed
from evcap_cli.inputs import Source
from evcap_cli.output.records import Record
from evcap_cli.profiling import timed

FLUSH_SECONDS: Final = 15.0
"""So long a clip may wait for others to share its batch: people watch, and a kill must not cost much."""


class ClipOfVideo(Protocol):
    """A clip to caption; ``video`` counts the paths of the run."""

    @property
    def video(self) -> int:
        """Which path of the run it is of."""
        ...


ClipT = TypeVar("ClipT", bound=ClipOfVideo)
FoundT = TypeVar("FoundT")


def records_of(
    feed: Feed[Source],
    serve: Callable[[Feed[Path]], Generator[ClipT | VideoDone | Idle, None, None]],
    size: int,
    caption: Callable[[Sequence[ClipT]], Sequence[Sequence[FoundT]]],
    record: Callable[[Source, VideoDone, Sequence[FoundT]], Record],
) -> Generator[Record, None, None]:
    """Records of videos, in the order in which they end.

    Args:
        feed: of the videos.
        serve: called with their paths, gives all clips of a video before its end; closed with this iterator.
        size: of a batch.
        caption: called with 1 to ``size`` clips, gives what was found of each.
        record: called with a video, its end and all that was found of its clips, in their order.
    """
    taken: dict[int, Source] = {}
    numbers = count()
    since = time.monotonic()
    waiting: list[ClipT] = []
    found: dict[int, list[FoundT]] = {}
    finished: list[VideoDone] = []

    def flush() -> Iterator[Record]:
        if waiting:
            with timed("search"):
                several = caption(waiting)
            for clip, captions in zip(waiting, several, strict=True):
                found.setdefault(clip.video, []).extend(captions)
            waiting.clear()
        for done in finished:
            yield record(taken.pop(done.video), done, found.pop(done.video, []))
        finished.clear()

    def take(source: Source) -> Path:
        taken[next(numbers)] = source
        return source.path

    with closing(serve(feed.mapped(take))) as events:
        for event in events:
            if isinstance(event, VideoDone):
                finished.append(event)
            elif not isinstance(event, Idle):
                since = since if waiting else time.monotonic()
                waiting.append(event)
            due = isinstance(event, Idle) or (finished and time.monotonic() - since > FLUSH_SECONDS)
            if len(waiting) == size or (not waiting and finished) or due:
                yield from flush()
        yield from flush()
