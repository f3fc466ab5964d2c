"""Which spans of a video get a caption of their own: the whole, equal pieces, scenes, or those of a data root."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from evcap_cli.errors import DecodeFailed, UsageError
from evcap_cli.media.listed_segments import ListedClip, ListedClips
from evcap_cli.paths import expanded

if TYPE_CHECKING:
    from evcap_cli.media.decoder import Decoder
    from evcap_cli.media.probe import Timeline

SHORTEST_SECONDS: Final = Fraction(1, 10)
"""A rest shorter than this joins the piece before it."""


@dataclass(frozen=True)
class Segment:
    """A span of a video in seconds from its start, with its number; ``id`` is that of a clip of a data root."""

    index: int
    start: Fraction
    end: Fraction
    id: str = ""


@dataclass(frozen=True)
class Segmentation:
    """``whole``, ``fixed`` (every ``seconds``), ``scenes``, or ``from`` a data root (the clips that it lists).

    Args:
        text: as it is typed.
    """

    kind: Literal["whole", "fixed", "scenes", "from"]
    text: str
    seconds: Fraction | None = None
    listed: ListedClips | None = None

    @property
    def setting(self) -> str:
        """What the captions of a run depend on: of a data root not its name but what it lists."""
        return self.text if self.listed is None else f"from:{self.listed.digest}"


def parse_segmentation(text: str) -> Segmentation:
    """``whole``, ``fixed:SECONDS``, ``scenes`` or ``from:ROOT``; what the root lists is read at once.

    Raises:
        UsageError: anything else, or a root that lists nothing. DataError: its list cannot be read.
    """
    kind, colon, value = text.partition(":")
    if kind in ("whole", "scenes") and not colon:
        return Segmentation("whole" if kind == "whole" else "scenes", text)
    if kind == "fixed":
        # by digits and not by Fraction(value) at once: "1e999999999" would be written out
        number = re.fullmatch(r"[0-9]{0,9}(\.[0-9]{0,9})?", value)
        seconds = Fraction(value) if number and any(map(str.isdigit, value)) else Fraction(0)
        if seconds >= SHORTEST_SECONDS:
            return Segmentation("fixed", text, seconds)
        raise UsageError(
            f"--segment {text!r}: seconds must be a number of at least {float(SHORTEST_SECONDS)}",
            hint="for example --segment fixed:10",
        )
    if kind == "from" and value:
        return Segmentation("from", text, listed=ListedClips.required(Path(expanded(value))))
    raise UsageError(f"unknown --segment {text!r}", hint="use whole, fixed:SECONDS, scenes or from:ROOT")


def segments_of(segmentation: str | Segmentation, timeline: Timeline, decoder: Decoder) -> list[Segment]:
    """The segments of the file that ``decoder`` has open.

    They cover it without gaps and each holds a frame; those of a data root are taken as they are, in the order of their
    starts, as far as the file goes. A file that the root does not list is one segment.

    Raises:
        UsageError: scenes without scenedetect. Errors of decoding while scenes are looked for.
        DecodeFailed: all that a root lists lies after the end.
    """
    plan = parse_segmentation(segmentation) if isinstance(segmentation, str) else segmentation
    end = timeline.end
    if plan.listed is not None and (clips := plan.listed.of(Path(decoder.path))):
        return _listed(clips, end, decoder.path)
    if plan.kind == "scenes":
        cuts = [start for start, _ in decoder.scenes()]
    elif plan.kind == "fixed" and plan.seconds is not None:
        cuts = _even_cuts(plan.seconds, end, timeline)
    else:
        cuts = []
    return _with_frames(sorted({Fraction(0), *cuts}), end, timeline)


def segment_warnings(segmentation: Segmentation, video: Path, end: Fraction) -> list[str]:
    """What a record says where a data root and a video do not go together.

    Args:
        segmentation: of the run.
        video: its path.
        end: where it ends.
    """
    if segmentation.listed is None:
        return []
    clips = segmentation.listed.of(video)
    if not clips:
        return [f"{segmentation.text.removeprefix('from:')} lists no segment of it: taken as a whole"]
    return [
        f"{clip.id}: {float(clip.start):g} s is after the end at {float(end):g} s: left out"
        for clip in clips
        if clip.start is not None and clip.start >= end
    ]


def _listed(clips: Sequence[ListedClip], end: Fraction, path: str) -> list[Segment]:
    spans = [(clip.start or Fraction(0), min(clip.end or end, end), clip.id) for clip in clips]
    inside = [span for span in spans if span[0] < span[1]]
    if not inside:
        raise DecodeFailed(
            f"ends at {float(end):g} s, before the first segment that is listed",
            path=path,
            hint="check that it is whole",
        )
    return [Segment(number, *span) for number, span in enumerate(inside)]


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
