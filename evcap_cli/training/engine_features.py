"""Features of training videos by the workers of an engine, which fill the cache; this process reads them from there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from typing_extensions import override

from evcap_cli import console
from evcap_cli.console import counted
from evcap_cli.engines.cache_filling import CacheFilling, shared_cache
from evcap_cli.errors import UsageError
from evcap_cli.sources import Source
from evcap_cli.training.feature_sources import PipelineSource

if TYPE_CHECKING:
    from evcap_cli.engines.options import EngineOptions
    from evcap_cli.features.options import FeatureOptions
    from evcap_cli.features.streams import ClipFeatures


class EngineSource(PipelineSource):
    """A ``PipelineSource`` with workers: they start now, and make the features of all ``videos`` at the first read.

    Then they are ended: training has the devices for itself.

    Args:
        options: of the features; they name the backbones. engine: where the workers are.
        videos: video or clip -> its file; all that will be read.

    Raises:
        UsageError: there is no cache, or this is one of several processes that train.
        WriteError: the cache cannot be written.
        EvcapError: what keeps the workers from loading the backbones or from seeing the cache.
    """

    def __init__(self, options: FeatureOptions, engine: EngineOptions, videos: Mapping[str, Path]) -> None:
        if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
            raise UsageError(
                "several processes train here, and each would have workers of its own",
                hint="fill the cache with `evcap extract --engine ...` first, then train with --engine local",
            )
        self._filling: CacheFilling | None = CacheFilling(options, shared_cache(options), engine)
        try:
            super().__init__(self._filling.reader(), videos)
        except BaseException:
            self.close()
            raise

    @override
    def read(self, videos: Sequence[str]) -> Iterator[tuple[str, ClipFeatures]]:
        if self._filling is not None:
            self._fill(self._filling)
        yield from super().read(videos)

    def _fill(self, filling: CacheFilling) -> None:
        sources = [
            Source(path, path.as_posix(), PurePosixPath(path.name)) for path in dict.fromkeys(self.videos.values())
        ]
        cached = 0
        with closing(self), console.progress(len(sources), "features") as bar, closing(filling.run(sources)) as ends:
            for source, done in ends:
                if done.error is not None:
                    self.failed[source.path] = done.error
                cached += done.from_cache
                seconds = 0.0 if done.info is None else float(done.info.duration or 0)
                bar.advance(note=source.given, seconds=seconds, failed=done.error is not None)
        there = f"features of {len(sources) - len(self.failed)} of {counted(len(sources), 'video')} are in the cache"
        console.info(there + (f" ({cached} were there before)" if cached else ""))

    @override
    def close(self) -> None:
        if self._filling is not None:
            self._filling.close()
            self._filling = None
