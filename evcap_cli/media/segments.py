"""Which spans of a video get a caption of their own: the whole, equal pieces, or scenes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal

from evcap_cli.errors import UsageError

if TYPE_CHECKING:
    from evcap_cli.media.decoder import Decoder
    from evcap_cli.media.probe import Timeline

SHORTEST_SECONDS: Final = Fraction(1, 10)
"""A rest shorter than this joins the piece before it."""


@dataclass(frozen=True)
class Segment:
    """A span of a video in seconds from its start, with its number."""

    index: int
    start: Fraction
    end: Fraction


@dataclass(frozen=True)
class Segmentation:
    """``whole``, ``fixed`` (every ``seconds``) or ``scenes``."""

    kind: Literal["whole", "fixed", "scenes"]
    seconds: Fraction | None = None


def parse_segmentation(text: str) -> Segmentation:
    """``whole``, ``fixed:SECONDS`` or ``scenes``.

    Raises:
        UsageError: anything else.
    """
    kind, colon, value = text.partition(":")
    if kind in ("whole", "scenes") and not colon:
        return Segmentation("whole" if kind == "whole" else "scenes")
    if kind == "fixed":
        # by digits and not by Fraction(value) at once: "1e999999999" would be written out
        number = re.fullmatch(r"[0-9]{0,9}(\.[0-9]{0,9})?", value)
        seconds = Fraction(value) if number and any(map(str.isdigit, value)) else Fraction(0)
        if seconds >= SHORTEST_SECONDS:
            return Segmentation("fixed", seconds)
        raise UsageError(
            f"--segment {text!r}: seconds must be a number of at least {float(SHORTEST_SECONDS)}",
            hint="for example --segment fixed:10",
        )
    raise UsageError(f"unknown --segment {text!r}", hint="use whole, fixed:SECONDS or scenes")


def segments_of(segmentation: str | Segmentation, timeline: Timeline, decoder: Decoder) -> list[Segment]:
    """The segments of the file that ``decoder`` has open; they cover it without gaps and each holds a frame.

    Raises:
        UsageError: scenes without scenedetect. Errors of decoding while scenes are looked for.
    """
    plan = parse_segmentation(segmentation) if isinstance(segmentation, str) else segmentation
    end = timeline.end
    if plan.kind == "scenes":
        cuts = [start for start, _ in decoder.scenes()]
    elif plan.kind == "fixed" and plan.seconds is not None:
        cuts = _even_cuts(plan.seconds, end, timeline)
    else:
        cuts = []
    return _with_frames(sorted({Fraction(0), *cuts}), end, timeline)


def _even_cuts(seconds: Fraction, end: Fraction, timeline: Timeline) -> list[Fraction]:
    """Multiples of ``seconds`` up to ``end`` that a frame follows before the next one.

    Others could hold no segment, and there may be any number of them: the end is what the file claims.
    """
    count = max(1, math.ceil(end / seconds))
    if count > 1 and end - (count - 1) * seconds < SHORTEST_SECONDS:
        count -= 1
    cuts: list[Fraction] = []
    place = 0
    while place < len(timeline.times):
        number = min(int(timeline.seconds(place) // seconds), count - 1)
        cuts.append(number * seconds)
        if number == count - 1:
            break
        place = timeline.first_from((number + 1) * seconds)
    return cuts


def _with_frames(starts: list[Fraction], end: Fraction, timeline: Timeline) -> list[Segment]:
    """Spans between ``starts`` and ``end``; one without a frame of its own joins the one before (or after)."""
    borders = [*(timeline.first_from(start) for start in starts), len(timeline.times)]
    kept = [start for start, first, following in zip(starts, borders, borders[1:], strict=False) if first < following]
    kept = [Fraction(0), *kept[1:]]
    stops = [*kept[1:], end]
    return [Segment(number, start, stop) for number, (start, stop) in enumerate(zip(kept, stops, strict=True))]
