"""Where training gets features from: the feature pipeline with its cache, or a mapping that is already in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evcap_cli import console
from evcap_cli.checkpoints.checkpoint import backbone_record
from evcap_cli.console import counted

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.features.pipeline import FeaturePipeline
    from evcap_cli.features.streams import ClipFeatures


NAMED = 5
"""Failed videos that are named one by one."""


class FeatureSource(Protocol):
    """Features by video.

    ``backbones`` is what a checkpoint remembers of each stream (``checkpoints/checkpoint.py``); "dim" is its width.
    """

    @property
    def backbones(self) -> Mapping[Kind, Mapping[str, Any]]:
        """Kind -> record."""
        ...

    def read(self, videos: Sequence[str]) -> Iterator[tuple[str, ClipFeatures]]:
        """Features of ``videos`` in their order; one that has none is left out, with a warning."""
        ...


class MappingSource:
    """Features that are in memory already.

    Args:
        clips: video -> features.
        backbones: records; by default made up from the widths of the first clip, under the name ``memory``.
    """

    def __init__(
        self, clips: Mapping[str, ClipFeatures], backbones: Mapping[Kind, Mapping[str, Any]] | None = None
    ) -> None:
        self.clips = clips
        self.backbones: Mapping[Kind, Mapping[str, Any]] = backbones or _made_up(clips)

    def read(self, videos: Sequence[str]) -> Iterator[tuple[str, ClipFeatures]]:
        """See ``FeatureSource``."""
        for video in videos:
            if video in self.clips:
                yield video, self.clips[video]
            else:
                console.warn(f"{video}: no features, left out")


def _made_up(clips: Mapping[str, ClipFeatures]) -> dict[Kind, dict[str, Any]]:
    first = next(iter(clips.values()))
    return {
        kind: {"name": "memory", "options": {}, "version": "1", "dim": stream.values.shape[1], "weights_digest": ""}
        for kind, stream in first.streams.items()
    }


class PipelineSource:
    """Features of video files: decoded once, or read from the cache.

    Args:
        pipeline: with segmentation "whole".
        videos: video -> its file.
    """

    def __init__(self, pipeline: FeaturePipeline, videos: Mapping[str, Path]) -> None:
        self.pipeline = pipeline
        self.videos = videos
        self.backbones: Mapping[Kind, Mapping[str, Any]] = {
            kind: backbone_record(backbone) for kind, backbone in pipeline.backbones.items()
        }

    def read(self, videos: Sequence[str]) -> Iterator[tuple[str, ClipFeatures]]:
        """See ``FeatureSource``; a file that fails is named with its reason."""
        from evcap_cli.features.pipeline import SegmentReady

        there = [video for video in videos if video in self.videos]
        waiting: ClipFeatures | None = None
        failed = 0
        with console.progress(len(there), "features") as bar:
            for event in self.pipeline.run([self.videos[video] for video in there]):
                if isinstance(event, SegmentReady):
                    waiting = event.features
                    continue
                for warning in event.warnings:
                    console.detail(f"{event.path}: {warning}")
                if event.error is not None:
                    failed += 1
                    # one cause can hit every file: a warning each would bury it
                    (console.warn if failed <= NAMED else console.detail)(f"{event.error}; left out")
                elif waiting is not None:
                    yield there[event.video], waiting
                waiting = None
                bar.advance()
        if failed > NAMED:
            console.warn(f"{counted(failed, 'video')} failed, {NAMED} of them are named above; -v names all")
