"""Features by the workers of an engine: they write a cache that all of them share, and say how each video ended."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from evcap_cli.engines.contract import Work, Worker
from evcap_cli.engines.dispatcher import Dispatcher
from evcap_cli.engines.longest_first import Lengths, lengths_of
from evcap_cli.engines.options import crew_of
from evcap_cli.errors import EvcapError, UsageError, VideoError, WriteError
from evcap_cli.features.events import VideoDone
from evcap_cli.files import cause_of, write_whole

if TYPE_CHECKING:
    from evcap_cli.devices import Dtype
    from evcap_cli.engines.options import EngineOptions
    from evcap_cli.features.cache import FeatureCache
    from evcap_cli.features.feed import Feed
    from evcap_cli.features.options import FeatureOptions
    from evcap_cli.features.pipeline import FeaturePipeline
    from evcap_cli.inputs import Source


@dataclass(frozen=True)
class FeatureWork(Work[VideoDone]):
    """Compute features into the cache.

    Args:
        options: which, with the folder of the cache.
        preset: of backbones, where ``options`` name none.
    """

    options: FeatureOptions
    preset: str | None = None

    @override
    def open(self, device: str | None) -> FeatureWorker:
        from evcap_cli.devices import choose_device, choose_dtype, name_of
        from evcap_cli.features.building import backbones_of, build_pipeline

        options = self.options if device is None else replace(self.options, device=device)
        pipeline = build_pipeline(options, backbones_of(options, self.preset))
        return FeatureWorker(pipeline, name_of(choose_dtype(options.dtype, choose_device(options.device))))

    @override
    def lengths(self) -> Lengths:
        return lengths_of(self.options.segment)

    @override
    def failed(self, source: Source, problem: VideoError, about: Any) -> VideoDone:
        return VideoDone(0, source.path, "", None, error=problem)


class FeatureWorker(Worker[VideoDone]):
    """Loaded backbones in a worker.

    Args:
        pipeline: with them. dtype: their number format, which the driver has to read features with.
    """

    def __init__(self, pipeline: FeaturePipeline, dtype: Dtype) -> None:
        from evcap_cli.features.feature_run import LOOK_AHEAD

        self.pipeline = pipeline
        self.appetite = pipeline.workers + LOOK_AHEAD
        self.about = dtype
        self.identity = {"backbones": pipeline.identities, "device": pipeline.device.type}

    @override
    def configure(self, wishes: Mapping[str, Any]) -> None:
        probe = wishes.get("probe")
        if probe is not None and not probe.exists():
            raise EvcapError(
                "the cache here is not the driver's", path=probe.parent, hint="--cache-dir on a shared file system"
            )
        if self.pipeline.cache is not None:
            self.pipeline.cache.check_writable()

    @override
    def serve(self, feed: Feed[Source]) -> Generator[VideoDone, None, None]:
        with closing(self.pipeline.serve(feed.mapped(lambda source: source.path))) as events:
            for event in events:
                if not isinstance(event, VideoDone):
                    continue
                cache = self.pipeline.cache
                if cache is not None and cache.failure is not None:
                    raise WriteError(
                        f"features cannot be kept ({cause_of(cache.failure)})",
                        path=cache.root,
                        hint="free space or choose another --cache-dir, then run the same command again",
                    )
                yield event


def shared_cache(options: FeatureOptions) -> FeatureCache:
    """The cache through which workers hand features over.

    Raises:
        UsageError: there is none. WriteError: it cannot be written.
    """
    from evcap_cli.features.cache import FeatureCache

    if not options.cache:
        raise UsageError(
            "workers hand features over through the cache, which is turned off",
            hint="leave out --no-cache (cache=False), or take one device and --engine local",
        )
    cache = FeatureCache(options.cache_dir)
    cache.check_writable()
    return cache


class CacheFilling:
    """Workers that fill ``cache``; ``close`` ends them.

    Args:
        options: of the features. cache: of this process, which the workers have to see. engine: where they are.
        preset: of backbones, where ``options`` name none.

    Raises:
        EvcapError: what keeps the backbones from loading, or the workers from the cache.
    """

    def __init__(
        self, options: FeatureOptions, cache: FeatureCache, engine: EngineOptions, preset: str | None = None
    ) -> None:
        work = FeatureWork(replace(options, cache_dir=cache.root.absolute()), preset)
        self._options, self._preset, self._cache = options, preset, cache
        self._dispatcher = Dispatcher(
            work, crew_of(engine, work, options.device), timeout=options.timeout, wait_seconds=engine.wait_seconds
        )
        self._probe = cache.root.absolute() / f".evcap-shared-{secrets.token_hex(8)}"
        try:
            write_whole(self._probe, "")
            self._dispatcher.configure(probe=self._probe)
        except BaseException:
            self.close()
            raise

    def run(self, sources: Sequence[Source]) -> Generator[tuple[Source, VideoDone], None, None]:
        """Each source with its end, in any order; several names of one file have the same."""
        with closing(self._dispatcher.run_all(sources)) as ends:
            for source, done in ends:
                if isinstance(done.error, VideoError) and done.path != source.path:
                    problem = type(done.error)(done.error.cause, path=source.path, hint=done.error.hint)
                    done = replace(done, path=source.path, error=problem)
                yield source, done

    def reader(self) -> FeaturePipeline:
        """What this process reads the features with that the workers keep: on the CPU, in their number format.

        Raises:
            UsageError: the backbones here are not theirs.
        """
        from evcap_cli.features.building import backbones_of, build_pipeline

        options = replace(self._options, device="cpu", dtype=self._dispatcher.about)
        pipeline = build_pipeline(options, backbones_of(options, self._preset), self._cache)
        theirs = (self._dispatcher.identity or {}).get("backbones", {})
        for kind, identity in pipeline.identities.items():
            if theirs.get(kind) != identity:
                raise UsageError(
                    f"the {kind} backbone here is not the workers' ({identity.address}: other weights or another"
                    " version)",
                    hint="have the same weights and versions on all machines",
                )
        return pipeline

    def close(self) -> None:
        """End the workers."""
        self._dispatcher.close()
        with suppress(OSError):
            Path(self._probe).unlink()
