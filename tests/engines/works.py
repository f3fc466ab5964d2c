"""Work without models, for tests of engines: sources are only names, some of which end or stop their worker."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from evcap_cli import console
from evcap_cli.captioning.engine_captioner import CaptionerFacts, CaptionWork
from evcap_cli.engines.contract import Work, Worker
from evcap_cli.errors import CaptionerStopped, UsageError, VideoError
from evcap_cli.features.feed import Feed
from evcap_cli.inputs import Source
from evcap_cli.output.records import Caption, Emotion, Media, Record


@dataclass(frozen=True)
class Naming(Work[str]):
    """Names the videos in capital letters.

    Args:
        journal: a folder where each worker notes what it begins: a file a worker, named by its process.
        seconds: what a name takes.
        unloadable: the devices on which it cannot be loaded.
    """

    journal: Path | None = None
    seconds: float = 0.0
    unloadable: tuple[str, ...] = ()

    def open(self, device: str | None) -> Worker[str]:
        if device in self.unloadable:
            raise UsageError(f"no {device} here")
        if device == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return _Namer(self, device)

    def failed(self, source: Source, problem: VideoError, about: Any) -> str:
        return f"{problem.code}: {problem.cause}"


class _Namer(Worker[str]):
    def __init__(self, work: Naming, device: str | None) -> None:
        self.work = work
        self.appetite, self.about = 3, "a namer"
        self.identity = {"device": "strange" if device == "strange" else "usual"}

    def configure(self, wishes: Mapping[str, Any]) -> None:
        if wishes.get("loud") == "no":
            raise UsageError("cannot be quiet")
        self.identity = {**self.identity, **wishes}

    def serve(self, feed: Feed[Source]) -> Generator[str, None, None]:
        while (source := feed.take(wait=True)) is not None:
            feed.beat()
            if self.work.journal is not None:
                with (self.work.journal / str(os.getpid())).open("a") as file:
                    file.write(f"{source.given}\n")
            time.sleep(self.work.seconds)
            match source.given.partition(" ")[0]:
                case "stop":
                    raise CaptionerStopped("no more")
                case "memory":
                    raise MemoryError
                case "break":
                    raise KeyError("broken")
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "hang":
                    time.sleep(3600)
            console.warn(f"seen {source.given}")
            yield source.given.upper()


CONSTANT = CaptionerFacts(
    "constant",
    "0" * 32,
    {"checkpoint": "constant", "device": "cpu", "dtype": "torch.float32"},
    backbones={},
    lexicon=None,  # type: ignore[arg-type]
    labels_by="",
    knows_familiarity=False,
    clips_a_batch=1,
    checkpoint={"name": "constant", "digest": "0" * 32},
)
"""Of a captioner that answers a constant text."""


def constant(source: Source) -> Record:
    """Its record of any video."""
    felt = Emotion("joy", 0.7123, ("happily",), {"joy": 0.7123, "surprise": 0.1, "trust": 0.05})
    captions = (Caption(0.0, 5.0, "a dog is happily running across the meadow", -0.4123, felt),)
    media = Media(5.0, "25/1", 320, 180, 0, has_audio=True)
    kinds = {"appearance": "lite-appearance", "motion": "lite-motion", "audio": "lite-audio"}
    return Record(source.given, source.id, "0" * 32, "ok", captions, media, kinds, CONSTANT.checkpoint)


@dataclass(frozen=True)
class ConstantWork(CaptionWork):
    """Answers a constant text, one video an exchange; opens no video and loads no model."""

    def open(self, device: str | None) -> Worker[Record]:  # type: ignore[override]
        return _ConstantWorker()


class _ConstantWorker(Worker[Record]):
    appetite, about, identity = 1, CONSTANT, CONSTANT.settings

    def serve(self, feed: Feed[Source]) -> Generator[Record, None, None]:
        while (source := feed.take(wait=True)) is not None:
            feed.beat()
            yield constant(source)


def numbers_apart(text: str) -> tuple[str, list[float]]:
    """A JSONL output without its decimal numbers, and these: a clip's place in its batch can move the last digit."""
    return re.sub(r"-?\d+\.\d+", "#", text), [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def assert_same_outputs(one: Path, other: Path) -> None:
    """Two outputs have the same bytes, but for the last of the four digits of a score."""
    (words, numbers), (others, other_numbers) = (numbers_apart(file.read_text("utf-8")) for file in (one, other))
    assert words == others
    assert all(abs(a - b) < 1.5e-4 for a, b in zip(numbers, other_numbers, strict=True))


def source(name: str) -> Source:
    return Source(Path(name), name, PurePosixPath(name))
