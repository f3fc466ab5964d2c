"""What an engine runs, and what it runs on: work that is sent to workers, and the messages between them and the driver.

The driver is the process that the user started. It hands sources out one by one, few at a time, and is the only one
that writes a journal or an output; workers give results back in any order. ``dispatcher.py`` is the driver's side of
all engines, ``worker_host.py`` the worker's; ``local_crew.py`` and ``ray_crew.py`` say where workers are processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from evcap_cli.engines.longest_first import Lengths
from evcap_cli.errors import EvcapError, VideoError
from evcap_cli.features.feed import Feed
from evcap_cli.inputs import Source

Result = TypeVar("Result")


class Worker(ABC, Generic[Result]):
    """Models, loaded and ready to work on sources.

    Attributes:
        appetite: how many sources it can make use of at a time.
        identity: what its results depend on besides the sources; the same for all workers of a run.
        about: what the driver has to know of it.
    """

    appetite: int
    identity: Mapping[str, Any]
    about: Any

    def configure(self, wishes: Mapping[str, Any]) -> None:
        """Take the driver's wishes into account, before any source; ``identity`` and ``about`` may change.

        Raises:
            EvcapError: a wish cannot be met.
        """

    @abstractmethod
    def serve(self, feed: Feed[Source]) -> Generator[Result, None, None]:
        """One result a source, in the order in which they are taken.

        Raises:
            EvcapError: the work cannot go on for any source.
        """


class Work(ABC, Generic[Result]):
    """What is to be done; it is pickled and sent to the workers."""

    @abstractmethod
    def open(self, device: str | None) -> Worker[Result]:
        """Load the models; called in the worker's process.

        Args:
            device: in place of the one that the work names.

        Raises:
            EvcapError: they cannot be loaded.
        """

    def lengths(self) -> Lengths:
        """How long videos are, as far as that is cheap to know; called in the driver."""
        return lambda _: None

    @abstractmethod
    def failed(self, source: Source, problem: VideoError, about: Any) -> Result:
        """The result of a source that no worker survives.

        Args:
            source: of it.
            problem: what happened.
            about: of a worker that was there.
        """


@dataclass(frozen=True)
class Surroundings:
    """The driver's, which workers share or refuse to work.

    Args:
        evcap: version. plugins: entry point -> distribution and version of those that load.
        folder: where relative paths begin.
        variables: of the environment, those of evcap.
    """

    evcap: str
    plugins: Mapping[str, str]
    folder: Path
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Orders:
    """What the driver says to a worker.

    Args:
        wishes: see ``Worker.configure``. version: of the wishes.
        sources: numbers and sources to do next. there: numbers of those that the driver sees.
        seconds: how long the worker may wait for something to say.
    """

    version: int = 0
    wishes: Mapping[str, Any] = field(default_factory=dict)
    sources: Sequence[tuple[int, Source]] = ()
    there: frozenset[int] = frozenset()
    seconds: float = 0.0


@dataclass
class Answer(Generic[Result]):
    """What a worker says to the driver.

    Args:
        version: of the wishes that it has taken into account; None: it is loading.
        identity, about, appetite: see ``Worker``.
        progress: grows while it works.
        results: numbers of sources with their results.
        unseen: numbers of sources that the driver sees and the worker does not; it leaves them alone.
        notes: level and text of what it has to say to the user.
        problem: why it cannot go on. broken: the same, of something that nobody expected.
        out_of_memory: whether that was a want of memory.
    """

    version: int | None = None
    identity: Mapping[str, Any] | None = None
    about: Any = None
    appetite: int = 1
    progress: int = 0
    results: list[tuple[int, Result]] = field(default_factory=list)
    unseen: list[int] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    problem: EvcapError | None = None
    broken: str | None = None
    out_of_memory: bool = False

    @property
    def empty(self) -> bool:
        """Whether it says nothing new by itself."""
        return not (self.results or self.unseen or self.notes or self.problem or self.broken)


class WorkerLost(Exception):
    """A worker is gone.

    Args:
        cause: in words a user knows.
        blame: whether a video that it had may be the reason.
        kind: the error of such a video.
    """

    def __init__(self, cause: str, *, blame: bool = True, kind: type[VideoError] | None = None) -> None:
        from evcap_cli.errors import WorkerCrashed

        super().__init__(cause)
        self.cause, self.blame, self.kind = cause, blame, kind or WorkerCrashed


class Hand(ABC, Generic[Result]):
    """One worker, as the driver sees it: it is sent orders, and answers each time before the next.

    Attributes:
        name: what a user calls it.
        place: where it runs; a place where workers cannot be is given up.
    """

    name: str
    place: str

    @abstractmethod
    def send(self, orders: Orders) -> None:
        """Send orders; a worker that is gone is noticed by ``answer``."""

    @abstractmethod
    def answer(self) -> Answer[Result]:
        """The answer that ``Crew.wait`` has announced.

        Raises:
            WorkerLost: it is gone.
        """

    @abstractmethod
    def end(self) -> None:
        """End the worker, whatever it is doing; safe to call twice."""


class Crew(ABC, Generic[Result]):
    """Starts workers and waits for them."""

    @abstractmethod
    def recruit(self, present: Sequence[Hand[Result]], refused: set[str]) -> list[Hand[Result]]:
        """Start the workers that are missing.

        Args:
            present: those that are there.
            refused: places that have been given up.
        """

    @abstractmethod
    def wait(self, hands: Sequence[Hand[Result]], seconds: float) -> list[Hand[Result]]:
        """Those of ``hands`` that have an answer or are gone; waits ``seconds`` for one at most."""

    def hopeless(self, refused: set[str]) -> bool:  # noqa: ARG002  nodes may come, unless a crew says otherwise
        """Whether there will be no worker any more once the places ``refused`` have been given up."""
        return False

    @abstractmethod
    def missing(self) -> str:
        """Why there is no worker, and what to do about it, as far as is known; for an error."""

    def close(self) -> None:
        """All workers have been ended."""
