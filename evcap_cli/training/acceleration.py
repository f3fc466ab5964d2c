"""Accelerate's handle on devices, processes and precision, and what makes a run on a CPU repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from evcap_cli.devices import prepare_bf16


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """On a CPU, refuse operations whose result depends on the order of threads; elsewhere speed goes first."""
    before = torch.are_deterministic_algorithms_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]


def make_accelerator(device: str, precision: str) -> Any:
    """An ``Accelerator`` for "cpu", "cuda" or "cuda:1"; one process may make several, one after another.

    Of several processes, which ``accelerate launch`` starts, each has the device of its number.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    place = torch.device(device)
    cpu = place.type == "cpu"
    if place.type == "cuda" and place.index is not None:
        torch.cuda.set_device(place)  # a single process gets the current one
    mixed = {"auto": "no" if cpu or not torch.cuda.is_available() else "bf16", "fp32": "no"}.get(precision, precision)
    if cpu and mixed == "bf16":
        prepare_bf16()
    AcceleratorState._reset_state(reset_partial_state=True)  # settings of a run before must not stick
    # a batch without silent clips, for example, leaves the absent tokens without a gradient
    spread = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=cpu, mixed_precision=mixed, kwargs_handlers=[spread])
