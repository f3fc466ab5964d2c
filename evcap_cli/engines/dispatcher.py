"""The driver's side of all engines: who does what, and what becomes of it when a worker is gone.

A worker that dies or hangs may have been ended by a video. What it had in hand is given to others, each video alone;
when two workers have died on the same video alone, the video fails. So no video is lost, none is in the outputs twice,
and one bad video costs a few workers, never the run.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from evcap_cli import console
from evcap_cli.engines.contract import Crew, Hand, Orders, Work, WorkerLost
from evcap_cli.engines.longest_first import longest_first
from evcap_cli.errors import DecodeTimeout, EvcapError, OutOfMemory, WorkersGone, WriteError
from evcap_cli.inputs import Source
from evcap_cli.sources import SameFiles, some_of

Result = TypeVar("Result")

RECRUIT_SECONDS: Final = 1.0
"""How often to look for workers that are missing, and for new nodes."""
EXCHANGE_SECONDS: Final = 1.0
"""So long a worker waits for something to say: new work is handed out about as fast."""
EXCHANGES: Final = 100
"""More workers than this wait longer, so that those with nothing to say cost the driver so many exchanges a second."""
MOST_SECONDS: Final = 10.0
"""So long at most."""
POLL_SECONDS: Final = 0.2
DEATHS: Final = 2
"""So many workers may die on a video that they have alone."""
STARTS: Final = 3
"""So many workers may die in one place while they load, before the place is given up."""
LEAST: Final = 3
"""So many sources a worker has in hand while there are any: one is decoded while another is captioned."""
WATCH_SECONDS: Final = 10.0
"""How often ``-v`` says what each worker is doing."""
PATIENCE: Final = 5.0
"""A model may think so many times as long as a decoder (``--timeout``) without a sign of progress."""


@dataclass
class _Task:
    """A source under way, or one that waits to be tried alone."""

    number: int
    source: Source
    seconds: float = 1.0
    deaths: int = 0


@dataclass
class _Worker(Generic[Result]):
    """One worker with what it has in hand."""

    hand: Hand[Result]
    tasks: dict[int, _Task] = field(default_factory=dict)
    waiting: bool = False
    """It has been sent its orders, and has not answered yet."""
    version: int | None = None
    appetite: int = 1
    alone: bool = False
    """It has one task, which is suspected, or gets one as soon as its hands are empty."""
    progress: int = -1
    since: float = field(default_factory=time.monotonic)
    done: int = 0

    def line(self) -> str:
        """What it is doing, for people."""
        if self.version is None:
            return f"{self.hand.name}: loading"
        text = f"{self.hand.name}: {console.counted(self.done, 'video')} done, {len(self.tasks)} in hand"
        first = next(iter(self.tasks.values()), None)
        if first is None:
            return text
        return f"{text}, {first.source.given} first, progress {time.monotonic() - self.since:.0f} s ago"


class Dispatcher(Generic[Result]):
    """Workers for one work, started at once; ``run`` may be called again and again, ``close`` ends them.

    Args:
        work: what they do.
        crew: starts them.
        timeout: seconds without progress that decoding may take; a worker is ended after ``PATIENCE`` times as long.
        wait_seconds: how long to go on without any worker.
    """

    def __init__(self, work: Work[Result], crew: Crew[Result], *, timeout: float, wait_seconds: float) -> None:
        self.work, self.crew = work, crew
        self.patience, self.wait_seconds = PATIENCE * timeout, wait_seconds
        self.about: Any = None
        self.identity: Mapping[str, Any] | None = None
        self._met = False
        self._workers: dict[Hand[Result], _Worker[Result]] = {}
        self._wishes: dict[str, Any] = {}
        self._version = 0
        self._numbers = 0
        self._suspects: deque[_Task] = deque()
        self._refused: dict[str, EvcapError] = {}
        self._deaths_at_start: dict[str, int] = {}
        self._said: set[str] = set()
        self._unsaid: list[str] = []
        self._more = False
        self._left: int | None = None
        self._seconds: Iterator[float] | None = None
        self._seconds_left = 0.0
        self._next: tuple[Source, float] | None = None
        self._recruited = float("-inf")
        self._alive = self._watched = time.monotonic()

    def configure(self, **wishes: Any) -> None:
        """Have all workers take wishes into account, and wait for the first that has.

        Raises:
            EvcapError: they cannot, or there is no worker.
        """
        if any(worker.tasks for worker in self._workers.values()):
            raise RuntimeError("wishes come before the first source")
        before, self._wishes = self._wishes, {**self._wishes, **wishes}
        self._version += 1
        self.identity = None
        self._alive = time.monotonic()
        try:
            while self.identity is None:
                for _ in self._step(iter(())):
                    raise RuntimeError("a result of nothing")
        except EvcapError:
            self._wishes = before
            raise

    def run_all(self, sources: Sequence[Source]) -> Generator[tuple[Source, Result], None, None]:
        """The same for a plan, long videos first; several names of one file (links) have one result."""
        same = SameFiles(source.path for source in sources)
        order = longest_first(sources, same.firsts, self.work.lengths())
        chosen = some_of(sources, order.numbers) if order.seconds is None else (sources[at] for at in order.numbers)
        under_way: dict[int, tuple[int, Source]] = {}

        def firsts() -> Iterator[Source]:
            for number, source in zip(order.numbers, chosen, strict=True):
                under_way[id(source)] = number, source
                yield source

        with closing(self.run(firsts(), len(order.numbers), order.seconds)) as made:
            for source, result in made:
                number, _ = under_way.pop(id(source))
                yield source, result
                yield from ((other, result) for other in some_of(sources, same.others(number)))

    def run(
        self, sources: Iterable[Source], count: int | None = None, seconds: Sequence[float] | None = None
    ) -> Generator[tuple[Source, Result], None, None]:
        """Each source with its result, in any order, as soon as it is there.

        Args:
            sources: what to do; taken one by one, as workers can use them.
            count: how many there are, where that is known.
            seconds: of video that each has, where that is known.

        Raises:
            WorkersGone: there has been no worker for ``wait_seconds``.
            EvcapError: the work cannot go on for any source.
        """
        todo = iter(sources)
        self._more, self._left = True, count
        self._seconds, self._seconds_left = None if seconds is None else iter(seconds), sum(seconds or ())
        self._next = None
        self._alive = time.monotonic()
        try:
            while True:
                yield from self._step(todo)
                if not self._more and not self._suspects and not any(each.tasks for each in self._workers.values()):
                    return
        finally:
            self._suspects.clear()
            for worker in list(self._workers.values()):
                if worker.tasks:  # somebody stopped the run in the middle
                    self._forget(worker)

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._workers.values()):
            self._forget(worker)
        self.crew.close()

    def _step(self, todo: Iterator[Source]) -> Iterator[tuple[Source, Result]]:
        """Hand out what can be handed out, and take in what is there, waiting a moment for it.

        Raises:
            WorkersGone: see ``run``. EvcapError: what keeps all workers from starting.
        """
        now = time.monotonic()
        if now - self._recruited > RECRUIT_SECONDS:
            self._recruited = now
            for hand in self.crew.recruit(list(self._workers), set(self._refused)):
                self._workers[hand] = _Worker(hand)
            if not self._workers and self._refused:
                if not self._met:
                    raise next(iter(self._refused.values()))
                if self.crew.hopeless(set(self._refused)):
                    raise self._gone("no worker is left", self._unsaid)
        for worker in list(self._workers.values()):
            if not worker.waiting:
                self._ask(worker, todo)
        ready = self.crew.wait([worker.hand for worker in self._workers.values()], POLL_SECONDS)
        for hand in ready:
            if hand in self._workers:  # its place may have been given up by now
                yield from self._taken_in(self._workers[hand])
        yield from self._end_hanging()
        self._check_alive()
        if time.monotonic() - self._watched >= WATCH_SECONDS:
            self._watched = time.monotonic()
            for worker in self._workers.values():
                console.detail(worker.line())

    def _check_alive(self) -> None:
        """Raises: WorkersGone."""
        if any(worker.version is not None for worker in self._workers.values()):
            self._alive = time.monotonic()
        elif time.monotonic() - self._alive > self.wait_seconds and not any(
            worker.progress >= 0 for worker in self._workers.values()
        ):
            raise self._gone(f"no worker for {self.wait_seconds:g} seconds", [self.crew.missing(), *self._unsaid])

    @staticmethod
    def _gone(cause: str, reasons: Sequence[str]) -> WorkersGone:
        return WorkersGone(
            f"{cause} ({'; '.join(reasons)})",
            hint="what is finished is kept: run the same command again when there are workers",
        )

    def _ask(self, worker: _Worker[Result], todo: Iterator[Source]) -> None:
        tasks = self._next_tasks(worker, todo) if worker.version == self._version else []
        if tasks and not worker.tasks:
            worker.since = time.monotonic()
        worker.tasks.update({task.number: task for task in tasks})
        there = frozenset(task.number for task in tasks if os.path.lexists(task.source.path))
        sources = [(task.number, task.source) for task in tasks]
        seconds = min(EXCHANGE_SECONDS * max(1.0, len(self._workers) / EXCHANGES), MOST_SECONDS)
        worker.hand.send(Orders(self._version, dict(self._wishes), sources, there, seconds))
        worker.waiting = True

    def _next_tasks(self, worker: _Worker[Result], todo: Iterator[Source]) -> list[_Task]:
        if self._suspects and not worker.tasks:
            worker.alone = True
            return [self._suspects.popleft()]
        if worker.tasks and worker.alone:
            return []
        worker.alone = bool(self._suspects) and not any(each.alone for each in self._workers.values())
        if worker.alone:
            return []
        tasks: list[_Task] = []
        most = worker.appetite
        if self._left is not None:  # towards the end all workers shall have something to do
            most = min(most, max(LEAST, self._left // (2 * len(self._workers))))
        in_hand = sum(task.seconds for task in worker.tasks.values())
        while self._more and len(worker.tasks) + len(tasks) < most:
            if self._next is None:
                source = next(todo, None)
                if source is None:
                    self._more = False
                    break
                self._next = source, 1.0 if self._seconds is None else next(self._seconds)
            source, seconds = self._next
            if in_hand and self._too_much(in_hand + seconds):
                break
            self._next = None
            self._numbers += 1
            self._left = None if self._left is None else self._left - 1
            self._seconds_left -= seconds
            in_hand += seconds
            tasks.append(_Task(self._numbers, source, seconds))
        return tasks

    def _too_much(self, seconds: float) -> bool:
        """Whether so much video is for several workers: a worker that has a long video leaves the others to them."""
        if self._seconds is None or not self._left or len(self._workers) < 2:
            return False
        share = self._seconds_left / (2 * len(self._workers))
        return seconds > max(share, LEAST * self._seconds_left / self._left)

    def _taken_in(self, worker: _Worker[Result]) -> Iterator[tuple[Source, Result]]:
        """What a worker answers."""
        try:
            answer = worker.hand.answer()
        except WorkerLost as lost:
            yield from self._lost(worker, lost)
            return
        worker.waiting = False
        for level, text in answer.notes:
            self._say(level, text)
        for number, result in answer.results:
            task = worker.tasks.pop(number, None)
            if task is not None:
                worker.done += 1
                yield task.source, result
        if answer.progress != worker.progress:
            worker.progress, worker.since = answer.progress, time.monotonic()
        if answer.problem is not None:
            self._refuse(worker, answer.problem)
        elif answer.out_of_memory:
            yield from self._lost(worker, WorkerLost("ran out of memory", kind=OutOfMemory))
        elif answer.broken is not None:
            yield from self._lost(worker, WorkerLost(f"failed with {answer.broken}"))
        elif answer.unseen:
            path = worker.tasks[answer.unseen[0]].source.given
            self._give_up(worker, EvcapError(f"does not see {path}", path=worker.hand.place, hint="mount the videos"))
        else:
            if answer.identity is not None:
                self._introduce(worker, answer.identity, answer.about)
            worker.appetite = max(answer.appetite, 1)
            worker.version = answer.version
            self._say_refused()

    def _introduce(self, worker: _Worker[Result], identity: Mapping[str, Any], about: Any) -> None:
        """A worker is ready; it must be as the others are."""
        self._met = True
        if self.identity is None:
            self.identity, self.about = dict(identity), about
        differing = [name for name in identity if identity[name] != self.identity.get(name)]
        if differing:
            name = differing[0]
            cause = f"{name} differs: {identity[name]} there, {self.identity.get(name)} elsewhere"
            self._give_up(worker, EvcapError(cause, path=worker.hand.place, hint="have the same on all nodes"))
        else:
            self._deaths_at_start.pop(worker.hand.place, None)

    def _refuse(self, worker: _Worker[Result], problem: EvcapError) -> None:
        """A worker says why it cannot go on: while it loads, or where it cannot write, that can be its place's fault.

        Raises:
            EvcapError: it was at work, and what it says would hold for the others too.
        """
        others = any(
            each.version is not None and each.hand.place != worker.hand.place for each in self._workers.values()
        )
        if worker.version is not None and not (isinstance(problem, WriteError) and others):
            self._forget(worker)
            raise problem
        self._give_up(worker, problem)

    def _give_up(self, worker: _Worker[Result], problem: EvcapError) -> None:
        """Leave a place; the sources that its workers have go to others."""
        place = worker.hand.place
        self._refused[place] = problem
        for each in [each for each in self._workers.values() if each.hand.place == place]:
            self._suspects.extendleft(each.tasks.values())
            self._forget(each)
        self._unsaid.append(f"{worker.hand.name} is not used: {problem.message}")
        self._say_refused()

    def _lost(self, worker: _Worker[Result], lost: WorkerLost) -> Iterator[tuple[Source, Result]]:
        """A worker is gone: its videos go to others, each alone; one that had its last try fails."""
        tasks, place = list(worker.tasks.values()), worker.hand.place
        self._forget(worker)
        self._recruited = float("-inf")
        self._say("warning", f"{worker.hand.name} {lost.cause}; its work goes to others", again=True)
        if worker.version is None:
            self._deaths_at_start[place] = self._deaths_at_start.get(place, 0) + 1
            if self._deaths_at_start[place] >= STARTS:
                cause = f"{STARTS} workers could not load (the last one {lost.cause})"
                self._give_up(worker, EvcapError(cause, path=place, hint="see the logs of that node"))
        for task in tasks:
            task.deaths += lost.blame and len(tasks) == 1
            if task.deaths < DEATHS:
                self._suspects.append(task)
                continue
            again = "made no progress" if issubclass(lost.kind, DecodeTimeout) else "died"
            problem = lost.kind(
                f"{DEATHS} workers {again} on this video (the last one {lost.cause})",
                path=task.source.path,
                hint=f"caption it alone{', with fewer workers' * issubclass(lost.kind, OutOfMemory)} to see why",
            )
            yield task.source, self.work.failed(task.source, problem, self.about)

    def _end_hanging(self) -> Iterator[tuple[Source, Result]]:
        now = time.monotonic()
        for worker in list(self._workers.values()):
            if worker.tasks and now - worker.since > self.patience:
                cause = f"made no progress for {self.patience:g} seconds and was ended"
                yield from self._lost(worker, WorkerLost(cause, kind=DecodeTimeout))

    def _say_refused(self) -> None:
        """Say what places were given up, once a worker is there: without any, the error says it."""
        if any(worker.version is not None for worker in self._workers.values()):
            for text in self._unsaid:
                self._say("warning", text)
            self._unsaid.clear()

    def _forget(self, worker: _Worker[Result]) -> None:
        worker.hand.end()
        worker.tasks = {}
        self._workers.pop(worker.hand, None)

    def _say(self, level: str, text: str, *, again: bool = False) -> None:
        """Say what workers say once, however many say it."""
        if again or text not in self._said:
            self._said.add(text)
            (console.warn if level in ("warning", "error") else console.info)(text)
