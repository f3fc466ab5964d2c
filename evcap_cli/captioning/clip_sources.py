"""Where the clips of a ready-made captioner come from: decoded frames and audio, or features of backbones.

Frames and a waveform are read in the one decoding pass over a video and never kept; features come from the same stage
and the same cache as those of trained checkpoints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from evcap_cli.features.events import Idle, VideoDone
from evcap_cli.systems.decoded_clips import clip_of, raw_request

if TYPE_CHECKING:
    from evcap_cli.captioning.options import CaptionOptions
    from evcap_cli.features.feed import Feed
    from evcap_cli.features.streams import ClipFeatures
    from evcap_cli.media.segments import Segment
    from evcap_cli.systems.clip_captioner import Clip, Reads

MOST_AHEAD: Final = 8
"""Videos: a clip of sixteen large frames takes 28 MB."""


@dataclass(frozen=True)
class SegmentClip:
    """What a captioner reads of one segment; ``video`` counts the paths of the run."""

    video: int
    segment: Segment
    clip: Clip


class ClipSource(ABC):
    """What a captioner reads of videos, segment by segment.

    Attributes:
        backbones: kind -> address of those whose features are read.
    """

    backbones: dict[str, str]

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What clips depend on besides the videos."""

    @property
    def record_fields(self) -> dict[str, Any]:
        """What the ``checkpoint`` of a record says of weights, besides the captioner's own."""
        return {}

    @abstractmethod
    def serve(self, feed: Feed[Path]) -> Generator[SegmentClip | VideoDone | Idle, None, None]:
        """Clips and ends of the videos of ``feed``, in the order in which they are taken.

        Closing it leaves no thread and no child process.
        """


def clip_source(reads: Reads, options: CaptionOptions, clips_a_batch: int) -> ClipSource:
    """The source of what ``reads`` declares.

    Args:
        reads: of the captioner.
        options: how to caption.
        clips_a_batch: so many videos may be decoded while a batch is captioned, up to ``MOST_AHEAD``.

    Raises:
        UsageError: an unknown segmentation. PluginError, WeightsError: a backbone cannot be had.
    """
    return FeatureClips(reads, options) if reads.backbones else DecodedClips(reads, options, clips_a_batch)


class DecodedClips(ClipSource):
    """Frames and audio of segments."""

    def __init__(self, reads: Reads, options: CaptionOptions, clips_a_batch: int) -> None:
        from evcap_cli.features.raw_clips import RawClips

        self.backbones = {}
        self.clips = RawClips(
            raw_request(reads, drop_audio=options.drop_audio),
            segmentation=options.segment,
            workers=options.workers,
            timeout=options.timeout,
            decoder_memory=options.decoder_memory,
            audio_track=options.audio_track,
            ahead=min(clips_a_batch, MOST_AHEAD),
        )

    @property
    @override
    def settings(self) -> dict[str, Any]:
        return {"segment": self.clips.segmentation.setting}

    @override
    def serve(self, feed: Feed[Path]) -> Generator[SegmentClip | VideoDone | Idle, None, None]:
        with closing(self.clips.serve(feed)) as events:
            for event in events:
                if isinstance(event, VideoDone | Idle):
                    yield event
                else:
                    yield SegmentClip(event.video, event.segment, clip_of(event))


class FeatureClips(ClipSource):
    """Features of segments, of the backbones that the captioner names."""

    def __init__(self, reads: Reads, options: CaptionOptions) -> None:
        from evcap_cli.checkpoints.checkpoint import backbone_record
        from evcap_cli.features.building import backbones_of, build_pipeline

        # a batch is one of clips here, backbones take as many rows as they like
        chosen = replace(
            options, backbones={str(kind): name for kind, name in reads.backbones.items()}, batch_size=None
        )
        loaded = backbones_of(chosen)
        self.records = {kind: backbone_record(backbone) for kind, backbone in loaded.items()}
        self.backbones = {kind: str(record["name"]) for kind, record in self.records.items()}
        self.silent = options.drop_audio and loaded.pop("audio", None) is not None
        self.pipeline = build_pipeline(chosen, loaded)

    @property
    @override
    def settings(self) -> dict[str, Any]:
        plan = self.pipeline.plan
        return {"segment": plan.chosen.setting, "sampling": plan.sampling, "backbones": self.records}

    @property
    @override
    def record_fields(self) -> dict[str, Any]:
        from evcap_cli.backbones.weights import RANDOM

        digests = {kind: str(record["weights_digest"]) for kind, record in self.records.items()}
        known = {kind: digest for kind, digest in digests.items() if digest}
        untrained = any(digest.startswith(RANDOM) for digest in known.values())
        return {**({"untrained": True} if untrained else {}), **({"weights": known} if known else {})}

    @override
    def serve(self, feed: Feed[Path]) -> Generator[SegmentClip | VideoDone | Idle, None, None]:
        from evcap_cli.systems.clip_captioner import Clip

        with closing(self.pipeline.serve(feed)) as events:
            for event in events:
                if isinstance(event, VideoDone | Idle):
                    yield event
                else:
                    features = self._silenced(event.features)
                    yield SegmentClip(event.video, event.segment, Clip(features.duration, features=features))

    def _silenced(self, features: ClipFeatures) -> ClipFeatures:
        """``features``, with no rows of audio where the run drops it."""
        import torch

        from evcap_cli.features.streams import StreamFeatures

        if not self.silent:
            return features
        silence = StreamFeatures(torch.zeros(0, int(self.records["audio"]["dim"])), torch.zeros(0))
        return replace(features, streams={**features.streams, "audio": silence})
