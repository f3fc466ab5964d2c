"""Which consecutive segments of a file are decoded in one go.

A long video is decoded in stretches, each by a pass that starts afresh at a key frame: what a pass finds depends on its
own stretch only, so that a run that was interrupted goes on with the first stretch that is missing and still gives
what an undisturbed run gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from evcap_cli.media.decoder import Decoder
    from evcap_cli.media.probe import Timeline
    from evcap_cli.media.segments import Segment

STRETCH_SECONDS: Final = 300
"""A stretch is at least so long: what a kill costs at most, where key frames are not far apart."""
DETOUR_SECONDS: Final = 30
"""A stretch begins only where decoding can start at most so long before it: that much is decoded twice."""


def stretches_of(segments: Sequence[Segment], timeline: Timeline, decoder: Decoder) -> list[range]:
    """The numbers of the segments of each stretch of the file that ``decoder`` has open, in order."""
    starts = [segment.start for segment in segments]
    if starts[-1] - starts[0] < STRETCH_SECONDS:
        return [range(len(segments))]
    last = len(timeline.times) - 1
    restarts = decoder.restarts([min(timeline.first_from(start), last) for start in starts])
    cuts = [0]
    for number, start in enumerate(starts):
        if restarts is None or start - starts[cuts[-1]] < STRETCH_SECONDS:
            continue
        if start - timeline.seconds(restarts[number]) <= DETOUR_SECONDS:
            cuts.append(number)
    return [range(one, other) for one, other in zip(cuts, [*cuts[1:], len(segments)], strict=True)]
