"""The run of ``evcap extract``: features of videos into the cache, into HDF5 files, or to the caller."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack

from evcap_cli.engines.options import EngineOptions
from evcap_cli.errors import EvcapError, WriteError
from evcap_cli.features.options import FeatureOptions
from evcap_cli.files import cause_of
from evcap_cli.inputs import Source, gather, nothing_found, take_shard, typed_paths
from evcap_cli.output.features_hdf5 import ExportPlan, FeatureExport, plan_export
from evcap_cli.sources import SameFiles, some_of

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.engines.cache_filling import CacheFilling
    from evcap_cli.features.events import Event, VideoDone
    from evcap_cli.features.options import FeatureKeywords
    from evcap_cli.features.pipeline import FeaturePipeline
    from evcap_cli.features.streams import ClipFeatures

DEFAULT_PRESET: Final = "lite"
"""Where neither a preset nor a single backbone is named."""


def extract_features(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    on_error: Callable[[Path, EvcapError], object] | None = None,
    engine: EngineOptions | None = None,
    **options: Unpack[FeatureKeywords],
) -> Iterator[tuple[Path, ClipFeatures]]:
    """Features of videos, by way of the cache.

    Args:
        inputs: videos, folders (recursive), patterns, "@list.txt".
        on_error: called with path and error of a video that fails, after which the others go on; None: the error is
            raised.
        engine: where the features are made, as ``EngineOptions(engine="ray")``; None: in this process, or where
            ``device`` names several ("cuda:0,cuda:1") in a process for each. Workers fill the cache with the features
            of all videos before the first are yielded.
        options: fields of ``FeatureOptions``, such as ``backbone="clip"``, ``segment="fixed:10"`` or ``cache=False``.
            Where no backbone is named, the preset "lite" is used.

    Yields:
        The path and the features of each segment, in sorted input order; a segment says where it begins (``start``) and
        how long it is (``duration``), in seconds. ``features.streams[kind].values`` is a float32 tensor on the CPU,
        (n, D): n moments (at most 30), objects (at most 16) or audio bins (at most 60), D the backbone's width.
        ``.times`` has their seconds from the start of the segment, (n,). Several names of one file (links) come
        together.

    Raises:
        UsageError: an input, an option or a backbone that cannot be used; at once. EvcapError: there is no video.
        PluginError, WeightsError: a backbone is not installed or cannot be loaded; at once.
        VideoError: a video cannot be opened or decoded, or a backbone failed on it; while iterating.
        WorkersGone: there has been no worker for ``engine.wait_seconds``; what is in the cache stays.

    Example:
        ```python
        import evcap_cli as evcap

        failed = {}
        for path, features in evcap.extract_features(["videos/"], backbone="lite", on_error=failed.__setitem__):
            appearance = features.streams["appearance"]
            print(path, appearance.values.numpy().shape, appearance.times.numpy().round(1))
        for path, problem in failed.items():
            print(path, problem.code, problem.message)
        ```
    """
    from evcap_cli.features.building import backbones_of, build_pipeline

    chosen = FeatureOptions(**options)
    typed = typed_paths(inputs)
    sources = gather(typed)
    if not sources:
        raise nothing_found(typed)
    place = engine or EngineOptions()
    if place.distributed(chosen.device):
        return _features_of_workers(sources, chosen, place, on_error)
    pipeline = build_pipeline(chosen, backbones_of(chosen, DEFAULT_PRESET))
    return _features(sources, pipeline, on_error)


def _features(
    sources: Sequence[Source], pipeline: FeaturePipeline, on_error: Callable[[Path, EvcapError], object] | None
) -> Iterator[tuple[Path, ClipFeatures]]:
    from evcap_cli.features.events import SegmentReady

    with closing(_events(sources, pipeline)) as events:
        for number, event in events:
            path = sources[number].path
            if isinstance(event, SegmentReady):
                yield path, replace(event.features, start=float(event.segment.start))
            elif event.error is not None:
                if on_error is None:
                    raise event.error
                on_error(path, event.error)


def _features_of_workers(
    sources: Sequence[Source],
    options: FeatureOptions,
    engine: EngineOptions,
    on_error: Callable[[Path, EvcapError], object] | None,
) -> Iterator[tuple[Path, ClipFeatures]]:
    """The same, of workers that are started now."""
    from evcap_cli.engines.cache_filling import CacheFilling, shared_cache

    filling = CacheFilling(options, shared_cache(options), engine, DEFAULT_PRESET)
    try:
        pipeline = filling.reader()
    except BaseException:
        filling.close()
        raise

    def features() -> Iterator[tuple[Path, ClipFeatures]]:
        failed: set[str] = set()
        with closing(filling), closing(filling.run(sources)) as ends:
            for source, done in ends:
                if done.error is not None:
                    if on_error is None:
                        raise done.error
                    failed.add(source.given)
                    on_error(source.path, done.error)
        there = array("q", (number for number, source in enumerate(sources) if source.given not in failed))
        yield from _features(some_of(sources, there), pipeline, on_error)

    return features()


def _events(sources: Sequence[Source], pipeline: FeaturePipeline) -> Generator[tuple[int, Event], None, None]:
    """What the pipeline finds, with the numbers of the sources; of links to one file, which is decoded once, each."""
    same = SameFiles(source.path for source in sources)
    with closing(pipeline.run([source.path for source in some_of(sources, same.firsts)])) as events:
        for event in events:
            first = same.firsts[event.video]
            yield from ((number, event) for number in (first, *same.others(first)))


@dataclass(frozen=True)
class ExtractionPlan:
    """What one run of ``evcap extract`` will do.

    Args:
        sources: the videos.
        addresses: kind -> backbone.
        export: the HDF5 files; None where only the cache is filled.
    """

    sources: Sequence[Source]
    addresses: dict[Kind, str]
    export: ExportPlan | None = None


def plan_extraction(
    inputs: Sequence[str],
    options: FeatureOptions,
    *,
    output: str | None = None,
    shard: str | None = None,
    limit: int | None = None,
) -> ExtractionPlan:
    """Which videos and backbones, and into which files.

    Raises:
        UsageError: something in it cannot work.
    """
    sources = take_shard(gather(inputs), shard)[:limit]
    addresses = options.addresses(DEFAULT_PRESET)
    export = None if output is None else plan_export(output, addresses, sources, options.segment)
    return ExtractionPlan(sources, addresses, export)


@dataclass
class ExtractionSummary:
    """How an extraction ended.

    Attributes:
        done: videos whose features are in the cache. cached: of those, that were there before.
        failed: videos that have none.
        damaged: extracted, but more than a tenth of the picture or of the audio was lost.
        exported: whether the HDF5 files are written.
    """

    done: int = 0
    cached: int = 0
    failed: int = 0
    damaged: int = 0
    exported: bool = False


class Extraction:
    """A run of ``evcap extract`` with its backbones loaded, here or by the workers of ``engine``.

    Raises:
        WriteError: the cache or the HDF5 files cannot be written.
        PluginError, WeightsError, UsageError: a backbone cannot be used.
    """

    def __init__(self, plan: ExtractionPlan, options: FeatureOptions, engine: EngineOptions | None = None) -> None:
        from evcap_cli.features.cache import FeatureCache

        self.plan, self.options = plan, options
        self.cache = FeatureCache(options.cache_dir)
        self.cache.check_writable()
        if plan.export is not None:
            plan.export.check_writable()
        self.filling: CacheFilling | None = None
        if engine is not None and engine.distributed(options.device):
            from evcap_cli.engines.cache_filling import CacheFilling

            self.filling = CacheFilling(options, self.cache, engine, DEFAULT_PRESET)
        else:
            from evcap_cli.features.building import backbones_of, build_pipeline

            self.pipeline = build_pipeline(options, backbones_of(options, DEFAULT_PRESET), self.cache)

    def run(
        self, *, fail_fast: bool = False, on_video: Callable[[Source, VideoDone], None] = lambda _, __: None
    ) -> ExtractionSummary:
        """Extract all videos, or with ``fail_fast`` those before the first that fails; ``on_video`` hears of each.

        Raises:
            WriteError: the HDF5 files cannot be written.
        """
        summary = ExtractionSummary()
        if self.filling is not None:
            with closing(self.filling):
                for source, done in self.filling.run(self.plan.sources):
                    self._count(summary, done)
                    on_video(source, done)
                    if fail_fast and summary.failed:
                        return summary
            if self.plan.export is None or not summary.done:
                return summary
            self.pipeline = self.filling.reader()
            return self._extract(summary, fail_fast=fail_fast, on_video=None)
        return self._extract(summary, fail_fast=fail_fast, on_video=on_video)

    def _extract(
        self,
        summary: ExtractionSummary,
        *,
        fail_fast: bool,
        on_video: Callable[[Source, VideoDone], None] | None,
    ) -> ExtractionSummary:
        """Go through the videos in this process; without ``on_video`` they were counted before."""
        from evcap_cli.features.events import SegmentReady

        features: ClipFeatures | None = None
        with ExitStack() as stack:
            export = None if self.plan.export is None else stack.enter_context(self._export(self.plan.export))
            for number, event in stack.enter_context(closing(_events(self.plan.sources, self.pipeline))):
                if isinstance(event, SegmentReady):
                    features = event.features
                    continue
                if event.error is None and export is not None and features is not None:
                    export.add(number, features)
                if on_video is not None:
                    self._count(summary, event)
                    on_video(self.plan.sources[number], event)
                if fail_fast and summary.failed:
                    break
            if export is not None and summary.done and not (fail_fast and summary.failed):
                export.commit()
                summary.exported = True
        return summary

    @staticmethod
    def _count(summary: ExtractionSummary, done: VideoDone) -> None:
        if done.error is None:
            summary.done += 1
            summary.cached += done.from_cache
            summary.damaged += done.loss.serious
        else:
            summary.failed += 1

    def check_cache(self) -> None:
        """See that all features could be kept.

        Raises:
            WriteError: they could not.
        """
        if self.cache.failure is not None:
            raise WriteError(
                f"not all features could be kept ({cause_of(self.cache.failure)})",
                path=self.cache.root,
                hint="free space or choose another --cache-dir, then run the same command again: it goes on from there",
            )

    def _export(self, plan: ExportPlan) -> FeatureExport:
        from evcap_cli.checkpoints.checkpoint import backbone_record

        records = {kind: backbone_record(backbone) for kind, backbone in self.pipeline.backbones.items()}
        return FeatureExport(plan, records, self.pipeline.plan.sampling)
