"""The local engine with several devices: a worker process for each, which talks to the driver through a socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, TypeVar

from typing_extensions import override

from evcap_cli.engines.contract import Answer, Crew, Hand, Orders, Work, WorkerLost
from evcap_cli.engines.worker_host import surroundings
from evcap_cli.errors import OutOfMemory
from evcap_cli.interrupts import SIGNALS

Result = TypeVar("Result")

KILLED_SECONDS: Final = 5.0
COUNTERS: Final = Path("/proc/vmstat")
"""Where Linux counts, among others, the processes that it has killed for want of memory."""


class LocalCrew(Crew[Result]):
    """A worker process a device.

    Args:
        work: what workers do.
        devices: such as ["cuda:0", "cuda:1"]; one may be named several times.
    """

    def __init__(self, work: Work[Result], devices: Sequence[str]) -> None:
        self._work, self._surroundings = work, surroundings()
        self._places = [f"worker {number} on {device}" for number, device in enumerate(devices, 1)]
        self._devices = dict(zip(self._places, devices, strict=True))
        cores = os.cpu_count() or 1
        on_cpu = sum(device == "cpu" for device in devices)
        self._kills = kills_for_memory()
        self._threads = {"OMP_NUM_THREADS": str(max(cores // on_cpu, 1))} if on_cpu > 1 else {}

    @override
    def recruit(self, present: Sequence[Hand[Result]], refused: set[str]) -> list[Hand[Result]]:
        taken = {hand.place for hand in present} | refused
        return [self._start(place) for place in self._places if place not in taken]

    def _start(self, place: str) -> Hand[Result]:
        own, theirs = socket.socketpair()
        environment = {
            **self._threads,
            **os.environ,
            "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
        }
        # Ctrl-C and its like are the driver's to deal with; workers end with it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "evcap_cli.engines.local_worker", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=environment,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        hand: _LocalHand[Result] = _LocalHand(place, process, Connection(own.detach()), self._killed_for_memory)
        hand.tell((self._work, self._surroundings, self._devices[place], place))
        return hand

    def _killed_for_memory(self) -> bool:
        """Whether the system has killed a process for want of memory, besides those that this was asked for before."""
        more = kills_for_memory() > self._kills
        self._kills += more
        return more

    @override
    def hopeless(self, refused: set[str]) -> bool:
        return refused.issuperset(self._places)

    @override
    def wait(self, hands: Sequence[Hand[Result]], seconds: float) -> list[Hand[Result]]:
        by_connection = {hand.connection: hand for hand in hands if isinstance(hand, _LocalHand)}
        return [by_connection[one] for one in wait(list(by_connection), seconds) if isinstance(one, Connection)]

    @override
    def missing(self) -> str:
        return "their processes cannot be started"


class _LocalHand(Hand[Result]):
    def __init__(
        self,
        place: str,
        process: subprocess.Popen[bytes],
        connection: Connection,
        killed_for_memory: Callable[[], bool],
    ) -> None:
        self.name = self.place = place
        self.process, self.connection, self.killed_for_memory = process, connection, killed_for_memory

    def tell(self, message: Any) -> None:
        with suppress(OSError):  # it is gone, which the answer says
            self.connection.send(message)

    @override
    def send(self, orders: Orders) -> None:
        self.tell(orders)

    @override
    def answer(self) -> Answer[Result]:
        try:
            answer: Answer[Result] = self.connection.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        return answer

    def _lost(self) -> WorkerLost:
        try:
            code = self.process.wait(KILLED_SECONDS)
        except subprocess.TimeoutExpired:
            return WorkerLost("does not answer")
        if code == -signal.SIGKILL and self.killed_for_memory():
            return WorkerLost("was killed for want of memory", kind=OutOfMemory)
        return WorkerLost(f"died ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}")

    @override
    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()


def kills_for_memory() -> int:
    """How many processes of this machine the system has killed for want of memory; 0 where it does not say."""
    with suppress(OSError, ValueError):
        for line in COUNTERS.read_text("ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
