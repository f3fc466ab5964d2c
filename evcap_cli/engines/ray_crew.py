"""The engine of a Ray cluster: long-lived actors, a number a node, on nodes that are there or come.

Ray starts processes and carries messages; who does what is decided by ``dispatcher.py``, so Ray restarts nothing.
Records are small; features go to the cache, never into Ray's object store.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

from typing_extensions import override

from evcap_cli import console
from evcap_cli.engines.contract import Answer, Crew, Hand, Orders, Surroundings, Work, WorkerLost
from evcap_cli.engines.options import EngineOptions
from evcap_cli.engines.worker_host import WorkerHost, surroundings
from evcap_cli.errors import OutOfMemory, UsageError, one_line, reason_of

Result = TypeVar("Result")

CPUS: Final = 4.0
"""Of a worker, where there are so many: two decoding processes and the models."""
CONNECT_SECONDS: Final = 10.0
STORE_BYTES: Final = 100 << 20
"""Of the object store, where Ray is started here: nothing large is put there."""
NODE_GONE: Final = ("node has died", "node was terminated", "node is dead", "node was removed", "node died", "preempt")
"""How Ray says that an actor was lost with its node."""

LOW_ON_MEMORY: Final = "running low on memory"
"""How it says that it has ended an actor before the system would have."""


class RayWorker:
    """An actor: a worker and the messages to it."""

    def __init__(self, work: Work[Any], driver: Surroundings, where: str) -> None:
        self._host: WorkerHost[Any] = WorkerHost(work, driver, None, where, _log)

    def exchange(self, orders: bytes) -> bytes:
        """See ``WorkerHost.exchange``; messages are pickled here, since Ray's own way takes several times as long."""
        return pickle.dumps(self._host.exchange(pickle.loads(orders)))  # noqa: S301  of the driver


class RayCrew(Crew[Result]):
    """Workers on the nodes of a Ray cluster, or on this machine where none is named.

    Args:
        work: what they do. options: which cluster, and how many workers.

    Raises:
        UsageError: there is no cluster at the address.
    """

    def __init__(self, work: Work[Result], options: EngineOptions) -> None:
        import ray

        self._options = options
        self._ours = not ray.is_initialized()
        if self._ours:
            folder = _connect(options.ray_address or os.environ.get("RAY_ADDRESS"))
            self._log = DriverLog(folder)
        self._work, self._surroundings = ray.put(work), ray.put(surroundings())

    @override
    def recruit(self, present: Sequence[Hand[Result]], refused: set[str]) -> list[Hand[Result]]:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        new: list[Hand[Result]] = []
        here = Counter(hand.place for hand in present)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        gpus = self._options.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if any(node["Resources"].get("GPU") for node in nodes) else 0.0
        for node in nodes:
            place = _place(node)
            count, cpus = workers_of(node["Resources"], self._options, gpus)
            if place in refused:
                continue
            for _ in range(count - here[place]):
                strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                actor = (
                    ray.remote(RayWorker)
                    .options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, scheduling_strategy=strategy)
                    .remote(self._work, self._surroundings, place)
                )
                new.append(_RayHand(actor, place, node["NodeID"]))
        return new

    @override
    def wait(self, hands: Sequence[Hand[Result]], seconds: float) -> list[Hand[Result]]:
        import ray

        by_reference = {hand.reference: hand for hand in hands if isinstance(hand, _RayHand)}
        if not by_reference:
            time.sleep(seconds)
            return []
        references = list(by_reference)
        ready, _ = ray.wait(references, num_returns=1, timeout=seconds)
        if ready:
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        return [by_reference[reference] for reference in ready]

    @override
    def missing(self) -> str:
        import ray

        nodes = [node for node in ray.nodes() if node["Alive"]]
        total = {name: sum(node["Resources"].get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
        free = ray.available_resources()
        return (
            f"{console.counted(len(nodes), 'node')} with {total['CPU']:g} CPUs and {total['GPU']:g} GPUs, of which"
            f" {free.get('CPU', 0):g} and {free.get('GPU', 0):g} are free; see `ray status`"
        )

    @override
    def close(self) -> None:
        import ray

        if self._ours:
            self._log.close()
            ray.shutdown()


class _RayHand(Hand[Result]):
    def __init__(self, actor: Any, place: str, node: str) -> None:
        self.actor, self.place, self.node = actor, place, node
        self.name = f"a worker on {place}"
        self.reference: Any = None

    @override
    def send(self, orders: Orders) -> None:
        self.reference = self.actor.exchange.remote(pickle.dumps(orders))

    @override
    def answer(self) -> Answer[Result]:
        import ray
        from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError

        try:
            answer: Answer[Result] = pickle.loads(ray.get(self.reference))  # noqa: S301  of an actor of this run
        except RayError as problem:
            text = str(problem)
            gone = any(words in text for words in NODE_GONE) or not self._node_lives()
            if gone or getattr(problem, "preempted", False):
                raise WorkerLost("is gone with its node", blame=False) from None
            if isinstance(problem, OutOfMemoryError) or LOW_ON_MEMORY in text:
                raise WorkerLost("was ended for want of memory", kind=OutOfMemory) from None
            if isinstance(problem, ActorDiedError) and getattr(problem, "actor_init_failed", False):
                raise WorkerLost(f"could not start ({_last_line(text)})") from None
            raise WorkerLost("died") from None
        return answer

    def _node_lives(self) -> bool:
        import ray

        return any(node["NodeID"] == self.node and node["Alive"] for node in ray.nodes())

    @override
    def end(self) -> None:
        import ray

        with suppress(Exception):  # whatever Ray says of an actor that is gone
            ray.kill(self.actor)


def _log(text: str) -> None:
    """A line on standard error, which Ray keeps in the logs of the session, a file an actor."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)  # noqa: T201


class DriverLog:
    """The lines that the driver's user sees, progress included, where the dashboard and `ray logs` look for logs.

    Args:
        folder: of Ray's session on this machine; None, or one that cannot be written: no log is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file: TextIO | None = None
        with suppress(OSError):
            if folder is not None:
                path = folder / "logs" / f"evcap-driver-{os.getpid()}.log"
                self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
                console.copy_lines(self._write)

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a log that is full or gone ends no run
            if self._file is not None:
                self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
                self._file.flush()

    def close(self) -> None:
        """Keep no more; safe to call twice."""
        if self._file is not None:
            console.copy_lines(None)
            with suppress(OSError):
                self._file.close()
            self._file = None


def workers_of(resources: dict[str, float], options: EngineOptions, gpus: float) -> tuple[int, float]:
    """How many workers a node has, and how many CPUs each of them takes.

    Args:
        resources: of the node, as Ray counts them.
        options: what the user says.
        gpus: of a worker.
    """
    cpus, there = options.cpus_per_worker, resources.get("CPU", 0.0)
    fit = int(resources.get("GPU", 0.0) / gpus + 1e-9) if gpus else None
    if fit == 0:
        return 0, 0.0
    count = options.workers_per_node or fit
    if cpus is None:
        share = there / count if count else there
        # Ray takes whole CPUs, or less than one
        cpus = min(CPUS, float(int(share)) if share >= 1 else round(share, 3))
    if count is None:
        count = int(there / cpus + 1e-9) if cpus else int(options.cpus_per_worker is not None)
    return count, cpus


def _place(node: dict[str, Any]) -> str:
    """What a user calls a node; several on one machine are told apart by the start of their id."""
    return f"{node['NodeManagerHostname']} ({node['NodeID'][:6]})"


def _connect(address: str | None) -> Path | None:
    """Connect to a cluster, or start Ray here.

    Returns:
        The folder of its session on this machine, where Ray says it.

    Raises:
        UsageError: there is no cluster at ``address``.
    """
    import logging

    import ray

    if address is not None:
        _check_address(address)
    # without this, Ray reports how it is used to its makers
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        context = ray.init(
            address=address or "local",
            namespace="evcap",
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if address else here),
        )
    except Exception as problem:
        if address is None:
            raise UsageError(f"Ray cannot be started here ({one_line(problem)})", hint="see the Ray logs") from problem
        raise _no_cluster(address, problem) from problem
    finally:
        if main and before is not None:  # Ray puts a handler of its own in place of evcap's
            signal.signal(signal.SIGTERM, before)
    found = getattr(context, "address_info", {}).get("session_dir")
    return None if found is None else Path(found)


def _check_address(address: str) -> None:
    """See that somebody listens there: Ray ends the process where nobody does.

    Raises:
        UsageError: nobody does, or Ray's client is meant, through which nodes cannot be seen.
    """
    if "://" in address:
        hint = "name the head itself, as `ray start` printed it: HOST:6379"
        raise UsageError(f"--ray-address {address} is not HOST:PORT", hint=hint)
    host, sign, port = address.rpartition(":")
    if not sign:  # auto, local
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            pass
    except (OSError, ValueError) as problem:
        raise _no_cluster(address, problem) from problem


def _no_cluster(address: str, problem: Exception) -> UsageError:
    return UsageError(
        f"no Ray cluster at {address} ({reason_of(problem)})",
        hint="start one with `ray start --head`, or leave --ray-address out to start Ray on this machine",
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no reason given"
