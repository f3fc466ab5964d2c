"""Workers that are scripts, for tests of what the driver makes of what they say and of how they end: nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from evcap_cli.engines.contract import Answer, Crew, Hand, Orders, WorkerLost
from evcap_cli.engines.dispatcher import Dispatcher
from tests.engines.works import CONSTANT, Naming, constant, source

Said = Answer[Any] | WorkerLost
Script = Callable[[Orders], Said]
"""What a worker answers to each of its orders, or how it ends."""


def names(orders: Orders) -> Answer[str]:
    """A worker to which nothing happens."""
    answer: Answer[str] = Answer(orders.version, {"device": "usual"}, "a namer", 3)
    answer.results = [(number, one.given.upper()) for number, one in orders.sources]
    return answer


def loads(exchanges: int) -> Script:
    """A worker that takes so many exchanges to load."""
    left = iter(range(exchanges))
    return lambda orders: Answer() if next(left, None) is not None else names(orders)


def captions(orders: Orders) -> Answer[Any]:
    """A captioner that answers a constant text."""
    answer: Answer[Any] = Answer(orders.version, CONSTANT.settings, CONSTANT, 3)
    answer.results = [(number, constant(one)) for number, one in orders.sources]
    return answer


def ends_on(name: str, how: Said, before: Script = names) -> Script:
    """A worker that ends as soon as it has a video whose path ends like this."""
    return lambda orders: how if any(one.given.endswith(name) for _, one in orders.sources) else before(orders)


def ends_at_once(how: Said) -> Script:
    """A worker that ends while it loads."""
    return lambda orders: how


class ScriptedCrew(Crew[Any]):
    """One place a list of scripts: a worker each, started when the one before has ended, the last again and again.

    Args:
        places: name -> scripts. fixed: whether there will be no other place.

    Attributes:
        started: places of all workers so far. heard: names of all videos that were handed out.
        later: places that are there once the first of ``places`` has been given up.
    """

    def __init__(self, *, fixed: bool = False, **places: Sequence[Script]) -> None:
        self.places = {place: iter_last(scripts) for place, scripts in places.items()}
        self.fixed, self.later = fixed, dict[str, Sequence[Script]]()
        self.started: list[str] = []
        self.heard: list[str] = []

    def recruit(self, present: Sequence[Hand[Any]], refused: set[str]) -> list[Hand[Any]]:
        if refused:
            self.places |= {place: iter_last(scripts) for place, scripts in self.later.items()}
            self.later = {}
        missing = [place for place in self.places if place not in {hand.place for hand in present} | refused]
        self.started += missing
        return [ScriptedHand(place, next(self.places[place]), self.heard) for place in missing]

    def wait(self, hands: Sequence[Hand[Any]], seconds: float) -> list[Hand[Any]]:
        return list(hands)

    def hopeless(self, refused: set[str]) -> bool:
        return self.fixed and refused.issuperset(self.places)

    def missing(self) -> str:
        return "no place"


class ScriptedHand(Hand[Any]):
    """One worker of a script."""

    def __init__(self, place: str, script: Script, heard: list[str]) -> None:
        self.name = self.place = place
        self.script, self.heard = script, heard

    def send(self, orders: Orders) -> None:
        self.orders = orders
        self.heard += [one.given for _, one in orders.sources]

    def answer(self) -> Answer[Any]:
        said = self.script(self.orders)
        if isinstance(said, WorkerLost):
            raise said
        return said

    def end(self) -> None:
        pass


def iter_last(scripts: Sequence[Script]) -> Iterator[Script]:
    """Each, then the last for ever."""
    yield from scripts
    while True:
        yield scripts[-1]


def engine_of(crew: ScriptedCrew, wait_seconds: float = 30.0) -> Dispatcher[str]:
    """The driver of a scripted crew."""
    return Dispatcher(Naming(), crew, timeout=100.0, wait_seconds=wait_seconds)


def run(engine: Dispatcher[str], given: Sequence[str]) -> dict[str, str]:
    """Results by name; none may come twice."""
    found: dict[str, str] = {}
    for one, result in engine.run([source(name) for name in given]):
        assert one.given not in found
        found[one.given] = result
    return found
