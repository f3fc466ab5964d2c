"""The order in which workers get videos: long ones first, so that the last worker is not left alone with one."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evcap_cli.sources import Source, some_of

LOOK_SECONDS: Final = 5.0
"""How long to look for lengths before the work begins; videos that were not looked at have none."""

Lengths = Callable[[Path], float | None]
"""How long a video is, in seconds, where that is cheap to know."""


@dataclass(frozen=True)
class Order:
    """The order of a plan's videos.

    Args:
        numbers: of the sources.
        seconds: of video, in the same order; None: no length is known, and the order is that of the plan.
    """

    numbers: Sequence[int]
    seconds: Sequence[float] | None = None


def longest_first(
    sources: Sequence[Source],
    numbers: Sequence[int],
    length: Lengths,
    *,
    clock: Callable[[], float] = time.monotonic,
    look_seconds: float = LOOK_SECONDS,
) -> Order:
    """The longest first; a video of unknown length stands where one of the median length does.

    Args:
        sources: of the plan.
        numbers: of those that are to be done, rising.
        length: of a video.
        clock: seconds that rise.
        look_seconds: how long to look.
    """
    import numpy as np

    found = array("d")
    deadline = clock() + look_seconds
    for source in some_of(sources, numbers):
        if clock() >= deadline:
            break
        seconds = length(source.path)
        found.append(np.nan if seconds is None else seconds)
    lengths = np.full(len(numbers), np.nan)
    lengths[: len(found)] = found
    if np.isnan(lengths).all():
        return Order(numbers)
    lengths[np.isnan(lengths)] = np.nanmedian(lengths)
    order = np.argsort(-lengths, kind="stable")
    places = np.asarray(numbers, dtype=np.int64)[order]
    return Order(array("q", places.tobytes()), array("d", lengths[order].tobytes()))


def lengths_of(segment: str) -> Lengths:
    """The lengths of what is decoded: what a data root lists of a file, else what its header states.

    Args:
        segment: as of ``FeatureOptions``.

    Raises:
        UsageError, DataError: a data root that is named lists nothing.
    """
    from evcap_cli.media.segments import parse_segmentation
    from evcap_cli.media.stated_length import stated_seconds

    listed = parse_segmentation(segment).listed
    if listed is None:
        return stated_seconds

    def length(path: Path) -> float | None:
        spans = [(clip.start, clip.end) for clip in listed.of(path)]
        lengths = [end - start for start, end in spans if start is not None and end is not None]
        return float(sum(lengths)) if lengths else stated_seconds(path)

    return length
