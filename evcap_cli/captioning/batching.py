"""The loop of every captioner: clips wait until they fill a batch, though not for long; finished videos get records."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Final, Protocol, TypeVar

from evcap_cli.features.events import VideoDone
from evcap_cli.output.records import Record

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
    events: Generator[ClipT | VideoDone, None, None],
    size: int,
    caption: Callable[[Sequence[ClipT]], Sequence[Sequence[FoundT]]],
    record: Callable[[VideoDone, Sequence[FoundT]], Record],
) -> Generator[Record, None, None]:
    """Records of videos, in the order in which they end.

    Args:
        events: all clips of a video before its end; closed with this iterator.
        size: of a batch.
        caption: called with 1 to ``size`` clips, gives what was found of each.
        record: called with the end of a video and all that was found of its clips, in their order.
    """
    since = time.monotonic()
    waiting: list[ClipT] = []
    found: dict[int, list[FoundT]] = {}
    finished: list[VideoDone] = []

    def flush() -> Iterator[Record]:
        if waiting:
            for clip, captions in zip(waiting, caption(waiting), strict=True):
                found.setdefault(clip.video, []).extend(captions)
            waiting.clear()
        for done in finished:
            yield record(done, found.pop(done.video, []))
        finished.clear()

    with closing(events):
        for event in events:
            if isinstance(event, VideoDone):
                finished.append(event)
            else:
                since = since if waiting else time.monotonic()
                waiting.append(event)
            late = finished and time.monotonic() - since > FLUSH_SECONDS
            if len(waiting) == size or (not waiting and finished) or late:
                yield from flush()
        yield from flush()
