"""The feature stage: videos in, the features of their segments out, in the videos' order.

Threads read (``video_reader.py``: cache or one decoding pass in a child process), the calling thread runs the models
(``runner.py``) on batches that span videos, ``stream_builders.py`` puts results together. A bad video ends with an
error of its own; nothing it does changes another's features, because batches have one constant shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli.backbones.identity import BackboneIdentity
from evcap_cli.backbones.offloader import Offloader
from evcap_cli.features.cache import FeatureCache
from evcap_cli.features.events import Idle
from evcap_cli.features.feature_plan import FeaturePlan
from evcap_cli.features.feature_run import FeatureRun
from evcap_cli.features.feed import Feed, ListFeed
from evcap_cli.features.sampling import sampler
from evcap_cli.media.decoder_memory import DEFAULT_BYTES
from evcap_cli.media.segments import parse_segmentation

if TYPE_CHECKING:
    import torch

    from evcap_cli.backbones.contract import Backbone, Kind
    from evcap_cli.features.events import Event


class FeaturePipeline:
    """Features of videos by the given backbones.

    Args:
        backbones: loaded, one a kind.
        cache: None: neither read nor written.
        segmentation: whole, fixed:SECONDS, scenes or from:ROOT.
        sampling: see ``sampling.py``.
        workers: decoding processes.
        batch_size: rows of every backbone's batches; None: as each spec says.
        device: where batches go; the backbones are there already.
        timeout: seconds without progress before a file is given up.
        decoder_memory: bytes that decoding a file may take.
        audio_track: which audio track, counted from 0.

    Raises:
        UsageError: an unknown segmentation or sampling.
    """

    def __init__(
        self,
        backbones: Mapping[Kind, Backbone],
        *,
        cache: FeatureCache | None,
        segmentation: str = "whole",
        sampling: str = "moments",
        workers: int = 2,
        batch_size: int | None = None,
        device: torch.device | str = "cpu",
        timeout: float = 120.0,
        decoder_memory: int = DEFAULT_BYTES,
        audio_track: int = 0,
    ) -> None:
        import torch

        chosen = parse_segmentation(segmentation)
        sampler(sampling)
        self.backbones, self.cache = dict(backbones), cache
        self.workers, self.batch_size, self.timeout = max(workers, 1), batch_size, timeout
        self.decoder_memory = decoder_memory
        self.device = torch.device(device)
        self.offloader = Offloader(self.backbones.values(), self.device)
        self.plan = FeaturePlan(
            specs={kind: backbone.spec for kind, backbone in self.backbones.items()},
            identities={kind: BackboneIdentity.of(backbone) for kind, backbone in self.backbones.items()},
            segmentation=segmentation,
            sampling=sampling,
            audio_track=audio_track,
            chosen=chosen,
        )
        self.unfinished: Path | None = None
        """Where, without a cache, features of videos lie that are not finished: a folder each, named by digest."""
        self.passes: Counter[Path] = Counter()
        """Decoding passes of each file, over all runs."""

    @property
    def identities(self) -> Mapping[Kind, BackboneIdentity]:
        """What the cache takes each backbone for."""
        return self.plan.identities

    def cache_of(self, digest: str) -> FeatureCache | None:
        """Where the features of a file are kept; None: nowhere."""
        if self.cache is not None or self.unfinished is None:
            return self.cache
        return FeatureCache(self.unfinished / digest)

    def run(self, paths: Sequence[Path]) -> Generator[Event, None, None]:
        """Segments and ends of ``paths`` in their order; see ``serve``."""
        with closing(self.serve(ListFeed(map(Path, paths)))) as events:
            for event in events:
                if not isinstance(event, Idle):
                    yield event

    def serve(self, feed: Feed[Path]) -> Generator[Event | Idle, None, None]:
        """Segments and ends of the videos of ``feed`` in the order in which they are taken.

        Closing the iterator, or an exception in it, leaves no thread and no child process behind.

        Raises:
            UsageError: the run cannot work for any video (an extra is missing).
        """
        run = FeatureRun(self, feed)
        try:
            yield from run.events()
        finally:
            run.threads.stop()
