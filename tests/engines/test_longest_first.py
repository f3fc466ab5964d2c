"""Long videos first: simulated workers, whose clock is moved and never waited for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from evcap_cli.engines.contract import Answer, Crew, Hand, Orders, Work, Worker
from evcap_cli.engines.dispatcher import Dispatcher
from evcap_cli.engines.longest_first import Lengths, lengths_of, longest_first
from evcap_cli.errors import VideoError
from evcap_cli.inputs import Source
from tests.engines.works import source
from tests.features.films import make_film


@dataclass(frozen=True)
class Timed(Work[str]):
    """Videos that take so many seconds.

    Args:
        seconds: by name. known: whether that is known beforehand.
    """

    seconds: dict[str, float]
    known: bool

    def open(self, device: str | None) -> Worker[str]:
        raise NotImplementedError

    def lengths(self) -> Lengths:
        return (lambda path: self.seconds[path.name]) if self.known else super().lengths()

    def failed(self, source: Source, problem: VideoError, about: object) -> str:
        raise NotImplementedError


@dataclass(eq=False)
class SimulatedHand(Hand[str]):
    """One worker: it does what it is given one by one."""

    crew: SimulatedCrew
    name: str
    place: str = ""
    orders: Orders | None = None
    queue: list[tuple[int, str, float]] = field(default_factory=list)
    free: float = 0.0

    def send(self, orders: Orders) -> None:
        self.orders = orders
        for number, given in orders.sources:
            self.free = max(self.free, self.crew.now) + self.crew.work.seconds[given.given]
            self.queue.append((number, given.given, self.free))

    def answer(self) -> Answer[str]:
        assert self.orders is not None
        results = [(number, name.upper()) for number, name, end in self.queue if end <= self.crew.now]
        self.queue = [entry for entry in self.queue if entry[2] > self.crew.now]
        return Answer(self.orders.version, {}, None, 10, results=results)

    def end(self) -> None:
        pass


class SimulatedCrew(Crew[str]):
    def __init__(self, work: Timed, count: int) -> None:
        self.work, self.now = work, 0.0
        self.hands: list[Hand[str]] = [SimulatedHand(self, f"worker {number}") for number in range(count)]

    def recruit(self, present: Sequence[Hand[str]], refused: set[str]) -> list[Hand[str]]:
        return [hand for hand in self.hands if hand not in present]

    def wait(self, hands: Sequence[Hand[str]], seconds: float) -> list[Hand[str]]:
        simulated = [hand for hand in hands if isinstance(hand, SimulatedHand)]
        busy = [hand.queue[0][2] for hand in simulated if hand.queue]
        idle: list[Hand[str]] = [hand for hand in simulated if not hand.queue]
        if busy and not any(hand.orders and hand.orders.sources for hand in simulated if hand in idle):
            self.now = min(busy)
        return idle + [hand for hand in simulated if hand.queue and hand.queue[0][2] <= self.now]

    def missing(self) -> str:
        return ""


def took(seconds: dict[str, float], workers: int, *, known: bool) -> tuple[float, list[str]]:
    """Simulated seconds of the run, and the names in the order in which they were finished."""
    work = Timed(seconds, known)
    crew = SimulatedCrew(work, workers)
    with closing(Dispatcher(work, crew, timeout=100, wait_seconds=30)) as engine:
        engine.configure()
        found = [result for _, result in engine.run_all([source(name) for name in seconds])]
    return crew.now, found


def plan(count: int, long: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Clips of 5 to 60 seconds, and ``long`` ones at the end of the plan, where they cost most."""
    draw = random.Random(seed)
    lengths = [*(draw.uniform(5, 60) for _ in range(count)), *long]
    return {f"{number:04}": length for number, length in enumerate(lengths)}


@pytest.mark.parametrize(
    ("count", "long", "workers"),
    [(60, (900.0, 700.0, 800.0), 4), (200, (3000.0,), 8), (30, (600.0, 600.0), 3)],
)
def test_the_last_worker_is_not_left_alone_with_a_long_video(count: int, long: Sequence[float], workers: int) -> None:
    seconds = plan(count, long)
    best = max(sum(seconds.values()) / workers, max(long))
    unknown, one = took(seconds, workers, known=False)
    known, other = took(seconds, workers, known=True)
    assert sorted(one) == sorted(other) == sorted(seconds)
    assert best <= known <= 1.1 * best
    assert unknown > 1.2 * best


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_videos_of_one_length_are_done_as_soon_as_without_lengths(workers: int) -> None:
    seconds = dict.fromkeys((f"{number:03}" for number in range(100)), 20.0)
    assert took(seconds, workers, known=True)[0] == took(seconds, workers, known=False)[0]


@pytest.mark.slow
def test_plans_of_all_kinds_take_no_longer_than_their_order_would() -> None:
    worse = []
    for seed in range(8):
        draw = random.Random(seed)
        seconds = {f"{number:03}": draw.lognormvariate(3, 1.5) for number in range(draw.randrange(1, 120))}
        workers = draw.randrange(1, 9)
        unknown, _ = took(seconds, workers, known=False)
        known, _ = took(seconds, workers, known=True)
        best = max(sum(seconds.values()) / workers, max(seconds.values()))
        assert known <= 1.35 * best
        worse.append(known / unknown)
    assert sum(worse) / len(worse) < 0.9
    assert max(worse) < 1.1


def test_unknown_lengths_stand_in_the_middle_and_equal_ones_in_the_order_of_the_plan() -> None:
    lengths = {"a": 5.0, "b": None, "c": 50.0, "d": 20.0, "e": 50.0, "f": None}
    sources = [source(name) for name in lengths]
    order = longest_first(sources, range(6), lambda path: lengths[path.name])
    assert [sources[number].given for number in order.numbers] == ["c", "e", "b", "f", "d", "a"]
    assert order.seconds is not None
    assert list(order.seconds) == [50, 50, 35, 35, 20, 5]
    assert longest_first(sources, [1, 3, 5], lambda path: lengths[path.name]).numbers[0] == 1  # all have one length
    assert longest_first(sources, range(6), lambda _: None).seconds is None


def test_lengths_are_not_looked_for_without_end() -> None:
    sources = [source(str(number)) for number in range(10)]
    seen: list[str] = []

    def length(path: Path) -> float:
        seen.append(path.name)
        return float(path.name)

    order = longest_first(sources, range(10), length, clock=lambda: float(len(seen)), look_seconds=3.0)
    assert seen == ["0", "1", "2"]
    assert list(order.numbers) == [2, 1, 3, 4, 5, 6, 7, 8, 9, 0]


def test_the_length_of_listed_segments_is_theirs(tmp_path: Path) -> None:
    film = make_film(tmp_path / "talk.mp4", frames=40, fps=20)
    (tmp_path / "clips.jsonl").write_text(
        '{"id": "a", "file": "talk.mp4", "start": 0.25, "end": 0.5}\n'
        '{"id": "b", "file": "talk.mp4", "start": 1, "end": 1.5}\n'
    )
    assert lengths_of(f"from:{tmp_path}")(film) == 0.75
    assert lengths_of("whole")(film) == pytest.approx(2.0, abs=0.2)
