"""Features by the workers of an engine: they write a cache that all of them share, and say how each video ended."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from evcap_cli.captioning.extracting import DEFAULT_PRESET
from evcap_cli.engines.contract import Work, Worker
from evcap_cli.engines.dispatcher import Dispatcher
from evcap_cli.engines.options import crew_of
from evcap_cli.errors import EvcapError, WriteError
from evcap_cli.features.events import VideoDone
from evcap_cli.files import cause_of, write_whole

if TYPE_CHECKING:
    from evcap_cli.engines.options import EngineOptions
    from evcap_cli.errors import VideoError
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
    """

    options: FeatureOptions

    @override
    def open(self, device: str | None) -> FeatureWorker:
        from evcap_cli.features.building import backbones_of, build_pipeline

        options = self.options if device is None else replace(self.options, device=device)
        return FeatureWorker(build_pipeline(options, backbones_of(options, DEFAULT_PRESET)))

    @override
    def failed(self, source: Source, problem: VideoError, about: Any) -> VideoDone:
        return VideoDone(0, source.path, "", None, error=problem)


class FeatureWorker(Worker[VideoDone]):
    """Loaded backbones in a worker."""

    def __init__(self, pipeline: FeaturePipeline) -> None:
        from evcap_cli.features.feature_run import LOOK_AHEAD

        self.pipeline = pipeline
        self.appetite = pipeline.workers + LOOK_AHEAD
        self.about = None
        self.identity = {"backbones": pipeline.identities, "device": pipeline.device.type}

    @override
    def configure(self, wishes: Mapping[str, Any]) -> None:
        probe = wishes.get("probe")
        if probe is not None and not probe.exists():
            raise EvcapError(
                "the cache here is not the driver's", path=probe.parent, hint="--cache-dir on a shared file system"
            )

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


class CacheFilling:
    """Workers that fill ``cache``; ``close`` ends them.

    Args:
        options: of the features. cache: of this process, which the workers have to see. engine: where they are.

    Raises:
        EvcapError: what keeps the backbones from loading, or the workers from the cache.
    """

    def __init__(self, options: FeatureOptions, cache: FeatureCache, engine: EngineOptions) -> None:
        work = FeatureWork(replace(options, cache_dir=cache.root.absolute()))
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
        return self._dispatcher.run_all(sources)

    def close(self) -> None:
        """End the workers."""
        self._dispatcher.close()
        with suppress(OSError):
            Path(self._probe).unlink()
