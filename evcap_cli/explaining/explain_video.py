"""From a video to what the page needs: features as ``evcap caption`` gets them, the caption's trace, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli.console import counted
from evcap_cli.errors import DecodeFailed, UsageError
from evcap_cli.explaining.clip_trace import trace_clip
from evcap_cli.explaining.trace_values import ClipTrace
from evcap_cli.inputs import Source, gather
from evcap_cli.output.html_report import Picture, all_pictures_at, missing_pictures

if TYPE_CHECKING:
    from evcap_cli.captioning.checkpoint_captioner import CheckpointCaptioner
    from evcap_cli.features.events import SegmentReady

THUMBNAIL_SIDE = 96
"""Pixels of the short side: up to thirty moments and sixteen objects go into one page."""


@dataclass(frozen=True)
class ExplainedVideo:
    """One video with the trace of its caption.

    Args:
        name: the path as given. duration: seconds.
        moments, objects: pictures by number; those that do not decode are missing.
        warnings: what was odd about the file.
    """

    name: str
    duration: float
    trace: ClipTrace
    moments: Mapping[int, Picture]
    objects: Mapping[int, Picture]
    warnings: tuple[str, ...] = ()


def one_video(given: str) -> Source:
    """The video that the user named.

    Raises:
        UsageError: there is none of that name, it is a folder, or a pattern with several.
    """
    if Path(given).is_dir():
        raise UsageError("is a folder, not a video", path=given, hint="explain takes one video: name a file in it")
    sources = gather([given])
    if len(sources) != 1:
        raise UsageError(f"names {counted(len(sources), 'video')}", path=given, hint="explain takes one video")
    return sources[0]


def explain(source: Source, captioner: CheckpointCaptioner) -> ExplainedVideo:
    """Trace the captioning of one video, whole.

    Args:
        source: the video.
        captioner: the checkpoint with its backbones, for whole clips.

    Raises:
        VideoError: the video cannot be opened or decoded, or a backbone failed on it.
        CheckpointError: the checkpoint's scores are not numbers.
    """
    from evcap_cli.devices import mixed_precision
    from evcap_cli.features.events import SegmentReady

    ready: SegmentReady | None = None
    warnings: tuple[str, ...] = ()
    with closing(captioner.pipeline.run([source.path])) as events:
        for event in events:
            if isinstance(event, SegmentReady):
                ready = ready or event
            elif event.error is not None:
                raise event.error
            else:
                warnings = tuple(event.warnings)
    if ready is None:
        raise DecodeFailed("no moment of this video decodes", path=source.given)
    with mixed_precision(captioner.dtype, captioner.device):  # as the caption itself
        trace = trace_clip(captioner.checkpoint, ready.features, captioner.beam)
    moments, objects = _pictures(source.path, ready, trace)
    lost = missing_pictures(len(moments) + len(objects), len(trace.moments) + len(trace.objects or ()))
    if lost:
        warnings = (*warnings, f"the page lacks {lost}")
    return ExplainedVideo(source.given, ready.features.duration, trace, moments, objects, warnings)


def _pictures(path: Path, ready: SegmentReady, trace: ClipTrace) -> tuple[dict[int, Picture], dict[int, Picture]]:
    """Frames of the moments and of the objects' key frames; none where the file does not decode again."""
    from evcap_cli.media.decoder import Decoder

    start, count = float(ready.segment.start), len(trace.moments)
    wanted = [start + seconds for seconds in (*trace.moments, *(seen.seconds for seen in trace.objects or ()))]
    with Decoder() as decoder:  # the numbers stand without their pictures
        found = all_pictures_at(decoder, path, wanted, THUMBNAIL_SIDE)
    return (
        {place: picture for place, picture in found.items() if place < count},
        {place - count: picture for place, picture in found.items() if place >= count},
    )
