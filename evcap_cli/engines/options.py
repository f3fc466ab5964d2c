"""Where the work of a run is done: the options of ``--engine``, for the command line, evcap.toml and tests alike."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

from annotated_types import Ge

from evcap_cli.devices import check_present
from evcap_cli.errors import UsageError

if TYPE_CHECKING:
    from evcap_cli.engines.contract import Crew, Work

Engine = Literal["local", "ray"]
"""Names of engines."""
Result = TypeVar("Result")

WAIT_SECONDS: Final = 120.0


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Which engine does the work, and how many workers it has.

    Args:
        engine: "local" (this machine: a worker process a device where ``device`` names several, as "cuda:0,cuda:1")
            or "ray".
        ray_address: of a cluster; None: RAY_ADDRESS, else Ray is started on this machine.
        workers_per_node: None: as many as fit.
        gpus_per_worker: may be a fraction; None: 1 where the cluster has GPUs, else 0.
        cpus_per_worker: None: 4, or fewer where a node has fewer.
        wait_seconds: how long to go on without any worker.

    Raises:
        UsageError: a value is not of its type, or out of its range.
    """

    engine: Engine = "local"
    ray_address: str | None = None
    workers_per_node: Annotated[int, Ge(1)] | None = None
    gpus_per_worker: Annotated[float, Ge(0)] | None = None
    cpus_per_worker: Annotated[float, Ge(0)] | None = None
    wait_seconds: Annotated[float, Ge(1)] = WAIT_SECONDS

    def __post_init__(self) -> None:
        from evcap_cli.reading.ranges import check_fields

        try:
            check_fields(self)
        except ValueError as problem:
            raise UsageError(str(problem)) from None

    def distributed(self, device: str) -> bool:
        """Whether there are workers, on ``--device device``; else this process does the work."""
        return self.engine != "local" or "," in device


def devices_of(text: str) -> list[str]:
    """The devices of ``--device``.

    Raises:
        UsageError: one of several has no name.
    """
    devices = [device.strip() for device in text.split(",")]
    if not all(devices) or (len(devices) > 1 and "auto" in devices):
        raise UsageError(f"--device {text!r} does not name each device", hint="for example --device cuda:0,cuda:1")
    return devices


def check_engine(options: EngineOptions, device: str) -> None:
    """See that an engine can be used, as far as nothing has to be started for it.

    Raises:
        UsageError: Ray is not installed, or ``--device`` names several devices for it; or one of several is not there.
    """
    devices = devices_of(device)
    if options.engine != "ray":
        if len(devices) > 1:
            check_present(devices, device)
        return
    if len(devices) > 1:
        raise UsageError(
            f"--engine ray with --device {device}", hint="name none: Ray gives each worker its GPU (--gpus-per-worker)"
        )
    if find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray", hint="pip install 'evcap[ray]'")


def crew_of(options: EngineOptions, work: Work[Result], device: str) -> Crew[Result]:
    """What starts the workers of a run.

    Raises:
        UsageError: see ``check_engine``, or there is no cluster at the address.
    """
    check_engine(options, device)
    if options.engine == "ray":
        from evcap_cli.engines.ray_crew import RayCrew

        return RayCrew(work, options)
    from evcap_cli.engines.local_crew import LocalCrew

    return LocalCrew(work, devices_of(device))
