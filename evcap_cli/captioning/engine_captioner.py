"""A captioner whose work is done by the workers of an engine; each has a captioner of the same options loaded."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from evcap_cli.captioning.captioner import Captioner, captioner_of
from evcap_cli.engines.contract import Work, Worker
from evcap_cli.engines.dispatcher import Dispatcher
from evcap_cli.engines.longest_first import Lengths, lengths_of
from evcap_cli.engines.options import crew_of
from evcap_cli.features.feature_run import LOOK_AHEAD
from evcap_cli.output.records import Record, error_fields
from evcap_cli.systems.clip_captioner import Several

if TYPE_CHECKING:
    from evcap_cli.captioning.options import CaptionOptions
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.engines.options import EngineOptions
    from evcap_cli.errors import VideoError
    from evcap_cli.features.feed import Feed
    from evcap_cli.inputs import Source


def open_captioner(options: CaptionOptions, engine: EngineOptions, *, emotions: bool = True) -> Captioner:
    """The captioner that ``options`` describe, loaded here or by the workers of ``engine``.

    Close it when no more is to be captioned.

    Raises:
        UsageError: the engine cannot be used. Other errors: as of ``captioner_of``.
    """
    if engine.distributed(options.device):
        return EngineCaptioner(options, engine, emotions=emotions)
    return captioner_of(options, emotions=emotions)


@dataclass(frozen=True)
class CaptionerFacts:
    """What the driver has to know of the captioners of its workers."""

    name: str
    digest: str
    settings: Mapping[str, Any]
    backbones: dict[str, str]
    lexicon: Lexicon
    labels_by: str
    knows_familiarity: bool
    clips_a_batch: int
    checkpoint: Mapping[str, Any]
    """As records have it."""


@dataclass(frozen=True)
class CaptionWork(Work[Record]):
    """Caption videos.

    Args:
        options: how. emotions: see ``captioner_of``.
    """

    options: CaptionOptions
    emotions: bool = True

    @override
    def open(self, device: str | None) -> CaptionWorker:
        options = self.options if device is None else replace(self.options, device=device)
        return CaptionWorker(captioner_of(options, emotions=self.emotions))

    @override
    def lengths(self) -> Lengths:
        return lengths_of(self.options.segment)

    @override
    def failed(self, source: Source, problem: VideoError, about: CaptionerFacts) -> Record:
        return Record(
            source.given,
            source.id,
            None,
            "failed",
            backbones=about.backbones,
            checkpoint=about.checkpoint,
            error=error_fields(problem),
        )


class CaptionWorker(Worker[Record]):
    """A loaded captioner in a worker."""

    def __init__(self, captioner: Captioner) -> None:
        self.captioner = captioner
        self.appetite = captioner.clips_a_batch + captioner.options.workers + LOOK_AHEAD
        self._describe()

    def _describe(self) -> None:
        captioner = self.captioner
        self.about = CaptionerFacts(
            captioner.name,
            captioner.digest,
            captioner.settings,
            captioner.backbones,
            captioner.lexicon,
            captioner.labels_by,
            captioner.knows_familiarity,
            captioner.clips_a_batch,
            captioner.record_fields,
        )
        self.identity = {"checkpoint": captioner.digest, **captioner.settings}

    @override
    def configure(self, wishes: Mapping[str, Any]) -> None:
        if "several" in wishes:
            self.captioner.write_several(wishes["several"])
        if "unfinished" in wishes:
            self.captioner.keep_unfinished(wishes["unfinished"])
        self._describe()

    @override
    def serve(self, feed: Feed[Source]) -> Generator[Record, None, None]:
        return self.captioner.serve(feed)


class EngineCaptioner(Captioner):
    """A captioner whose workers are started now; ``close`` ends them.

    Args:
        options: of the captioners. engine: where they are. emotions: see ``captioner_of``.

    Raises:
        EvcapError: what keeps the captioners from loading.
    """

    def __init__(self, options: CaptionOptions, engine: EngineOptions, *, emotions: bool = True) -> None:
        import torch

        self.options, self.several = options, Several()
        self._unfinished: Path | None = None
        work = CaptionWork(options, emotions)
        self._dispatcher = Dispatcher(
            work, crew_of(engine, work, options.device), timeout=options.timeout, wait_seconds=engine.wait_seconds
        )
        try:
            self._dispatcher.configure()
        except BaseException:
            self._dispatcher.close()
            raise
        self.backbones = self.facts.backbones
        self.device = torch.device(self.facts.settings["device"])
        self.dtype = getattr(torch, self.facts.settings["dtype"].removeprefix("torch."))

    @property
    def facts(self) -> CaptionerFacts:
        """Of the workers' captioners."""
        found: CaptionerFacts = self._dispatcher.about
        return found

    @property
    @override
    def name(self) -> str:
        return self.facts.name

    @property
    @override
    def digest(self) -> str:
        return self.facts.digest

    @property
    @override
    def lexicon(self) -> Lexicon:
        return self.facts.lexicon

    @property
    @override
    def labels_by(self) -> str:
        return self.facts.labels_by

    @property
    @override
    def knows_familiarity(self) -> bool:
        return self.facts.knows_familiarity

    @property
    @override
    def settings(self) -> dict[str, Any]:
        return dict(self.facts.settings)

    @property
    @override
    def clips_a_batch(self) -> int:
        return self.facts.clips_a_batch

    @override
    def write_several(self, several: Several) -> None:
        self._dispatcher.configure(several=several)
        self.several = several

    @override
    def keep_unfinished(self, folder: Path) -> None:
        if not self.options.cache and self.options.segment != "whole":
            self._unfinished = folder.absolute()
            self._dispatcher.configure(unfinished=self._unfinished)

    @override
    def drop_unfinished(self, record: Record) -> None:
        if self._unfinished is not None and record.digest:
            shutil.rmtree(self._unfinished / record.digest, ignore_errors=True)

    @override
    def close(self) -> None:
        self._dispatcher.close()

    @property
    @override
    def record_fields(self) -> dict[str, Any]:
        return dict(self.facts.checkpoint)

    @override
    def serve(self, feed: Feed[Source]) -> Generator[Record, None, None]:
        taken: deque[Source] = deque()  # held until their records are handed out: no other has their identity
        waiting: dict[int, Record] = {}

        def numbered() -> Iterator[Source]:
            while (source := feed.take(wait=True)) is not None:
                taken.append(replace(source))
                yield taken[-1]

        with closing(self._dispatcher.run(numbered())) as made:
            for source, record in made:
                waiting[id(source)] = record
                while taken and id(taken[0]) in waiting:
                    yield waiting.pop(id(taken.popleft()))

    @override
    def finished(
        self, sources: Sequence[Source], *, in_order: bool = False
    ) -> Generator[tuple[Source, Record], None, None]:
        if in_order:
            yield from super().finished(sources)
            return
        with closing(self._dispatcher.run_all(sources)) as made:
            for source, record in made:
                yield source, replace(record, path=source.given, id=source.id)
