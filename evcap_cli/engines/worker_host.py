"""The worker's side of an engine: a thread that works, and the exchange of messages with the driver.

The thread loads the models and serves a feed; ``exchange`` is called by whatever carries the messages.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, Generic, TypeVar

from typing_extensions import override

from evcap_cli.console import counted
from evcap_cli.devices import out_of_memory
from evcap_cli.engines.contract import Answer, Orders, Surroundings, Work
from evcap_cli.errors import EvcapError, UsageError, one_line
from evcap_cli.features.feed import QueueFeed
from evcap_cli.freed_memory import keep_freed_memory
from evcap_cli.inputs import Source

Result = TypeVar("Result")

VARIABLES = (
    "EVCAP_PLUGINS",
    "EVCAP_DEBUG",
    "EVCAP_CACHE_DIR",
    "EVCAP_DATA",
    "EVCAP_API_KEY",
    "HF_HUB_OFFLINE",
    "GOMP_SPINCOUNT",
)
"""Of the environment, what workers take over from the driver."""
LOG_SECONDS: Final = 10.0
"""Between two lines on how far a worker is."""


def surroundings() -> Surroundings:
    """Those of this process."""
    from evcap_cli import plugins
    from evcap_cli.version import __version__

    loaded = {
        each.name: f"{each.distribution} {each.version}".strip()
        for each in plugins.registry().loaded
        if each.error is None and each.distribution != plugins.OWN
    }
    variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return Surroundings(__version__, loaded, Path.cwd(), variables)


class WorkerHost(Generic[Result]):
    """One worker in this process.

    Args:
        work: what it does.
        driver: the surroundings that it has to share.
        device: in place of the one that the work names.
        where: how messages call this worker.
        log: takes lines on what it does, for those who look at this worker by itself.
    """

    def __init__(
        self,
        work: Work[Result],
        driver: Surroundings,
        device: str | None,
        where: str,
        log: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._work, self._driver, self._device, self._where = work, driver, device, where
        self._feed: QueueFeed[tuple[int, Source]] = QueueFeed()
        self._news: Answer[Result] = Answer()
        self._taken: deque[int] = deque()
        self._changed = threading.Condition()
        self._orders = Orders(version=-1)
        self._finished = 0
        self._log, self._logged = log, time.monotonic()
        threading.Thread(target=self._live, name="evcap-worker", daemon=True).start()

    def exchange(self, orders: Orders) -> Answer[Result]:
        """Take orders; the answer has what is new, for which it waits as long as the orders allow."""
        unseen = [
            number for number, source in orders.sources if number in orders.there and not os.path.lexists(source.path)
        ]
        with self._changed:
            self._orders = orders
            self._news.unseen += unseen
            self._changed.notify_all()
        self._feed.put((number, source) for number, source in orders.sources if number not in unseen)
        deadline = time.monotonic() + orders.seconds
        with self._changed:
            version = self._news.version
            self._changed.wait_for(
                lambda: not self._news.empty or self._news.version != version, max(deadline - time.monotonic(), 0.0)
            )
            answer = self._news
            self._news = Answer(answer.version, appetite=answer.appetite)
            self._news.problem, self._news.broken = answer.problem, answer.broken
            self._news.out_of_memory = answer.out_of_memory
        answer.progress = self._feed.progress + self._finished
        if time.monotonic() - self._logged >= LOG_SECONDS:
            self._logged = time.monotonic()
            self._log(self.line())
        return answer

    def line(self) -> str:
        """What it is doing, for people."""
        if self._news.version is None:
            return "loading"
        return f"{counted(self._finished, 'video')} done, {len(self._taken)} in hand"

    def close(self) -> None:
        """Let the thread end once it has done what it has."""
        self._feed.close()

    def _live(self) -> None:
        """The thread: load, then work until the process ends."""
        keep_freed_memory()
        logger = logging.getLogger("evcap_cli")
        logger.addHandler(_Notes(self))
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            self._share()
            worker = self._work.open(self._device)
            while not self._feed.filled and not self._feed.ended:  # wishes do not change after the first source
                with self._changed:
                    self._changed.wait_for(self._wished, 0.1)
                    orders = self._orders
                    if not self._wished():
                        continue
                worker.configure(orders.wishes)
                with self._changed:
                    self._news.version, self._news.identity = orders.version, worker.identity
                    self._news.about, self._news.appetite = worker.about, worker.appetite
                    self._changed.notify_all()
            with closing(worker.serve(self._feed.mapped(self._take))) as results:
                for result in results:
                    with self._changed:
                        self._finished += 1
                        self._news.results.append((self._taken.popleft(), result))
                        self._changed.notify_all()
        except EvcapError as problem:
            self._stop(problem, None)
        except BaseException as problem:
            self._stop(None, one_line(problem), out_of_memory=out_of_memory(problem))

    def _wished(self) -> bool:
        """Whether there are wishes that the worker has not taken into account."""
        return self._orders.version >= 0 and self._orders.version != self._news.version

    def _take(self, item: tuple[int, Source]) -> Source:
        number, source = item
        self._taken.append(number)
        return source

    def _share(self) -> None:
        """See that this process is as the driver's.

        Raises:
            UsageError: it is not.
        """
        os.environ.update(self._driver.variables)
        with suppress(OSError):  # absolute paths do without
            os.chdir(self._driver.folder)
        own, other = surroundings(), self._driver
        if own.evcap != other.evcap:
            cause = f"evcap {own.evcap} is installed there, and {other.evcap} here"
            raise UsageError(cause, path=self._where, hint=f"install evcap {other.evcap} on all nodes")
        for name in sorted({*own.plugins, *other.plugins}):
            there, here = own.plugins.get(name, "missing"), other.plugins.get(name, "missing")
            if there != here:
                raise UsageError(
                    f"plugin {name} differs: {there} there, {here} here",
                    path=self._where,
                    hint="install the same plugins on all nodes, or choose with EVCAP_PLUGINS",
                )

    def _stop(self, problem: EvcapError | None, broken: str | None, *, out_of_memory: bool = False) -> None:
        with self._changed:
            self._news.problem, self._news.broken = problem, broken
            self._news.out_of_memory = out_of_memory
            self._changed.notify_all()
        self._log(f"error: {problem or broken}")

    def note(self, level: str, text: str) -> None:
        """Something to say to the user."""
        with self._changed:
            self._news.notes.append((level, text))
            self._changed.notify_all()
        self._log(text if level == "info" else f"{level}: {text}")


class _Notes(logging.Handler):
    """What the library says in a worker is said to the driver's user."""

    def __init__(self, host: WorkerHost[Result]) -> None:
        super().__init__(logging.INFO)
        self._host = host

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._host.note(record.levelname.lower(), record.getMessage())
