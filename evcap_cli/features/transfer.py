"""How batches get to a device and results back: at once on a CPU, in the background on CUDA.

On CUDA a batch is stacked in pinned memory and copied on a stream of its own, while the forward before it still runs;
results travel to pinned memory and are waited for only when they are needed. What is in the batches is ``runner.py``'s
business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from evcap_cli.features.runner import Row


class Landing(Protocol):
    """Results on their way to the host."""

    def ready(self) -> bool:
        """Whether ``wait`` would return at once."""
        ...

    def wait(self) -> list[Tensor]:
        """The results, on the CPU."""
        ...


class Landed:
    """Results that are on the host already."""

    def __init__(self, parts: list[Tensor]) -> None:
        self.parts = parts

    def ready(self) -> bool:
        """Yes."""
        return True

    def wait(self) -> list[Tensor]:
        """See ``Landing``."""
        return self.parts


class Lane:
    """To a device and back, each step finished before the next: right for every device, and best for a CPU."""

    channels_last = False
    """Whether pictures (N, 3, H, W) are to lie in memory as (N, H, W, 3)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def send(self, rows: Sequence[Row]) -> Tensor:
        """Equal rows, stacked on the device in their own number format."""
        import torch

        return torch.from_numpy(np.stack(rows)).to(self.device)

    def fetch(self, parts: Sequence[Tensor]) -> Landing:
        """Bring float32 copies of ``parts`` to the host."""
        import torch

        return Landed([part.to("cpu", torch.float32) for part in parts])


class CudaLane(Lane):
    """Pinned memory, a stream for copies, results without waiting."""

    channels_last = True

    def __init__(self, device: torch.device) -> None:
        import torch

        super().__init__(device)
        self.cuda: Any = torch.cuda  # most of it carries no types
        self.copies = self.cuda.Stream(device)

    def send(self, rows: Sequence[Row]) -> Tensor:
        """See ``Lane``. The copy overlaps forwards that were started before; forwards started after wait for it."""
        import torch

        # never reused by us: torch gives pinned memory out again only once the copies that read it are over
        held = torch.empty((len(rows), *rows[0].shape), dtype=torch.from_numpy(rows[0]).dtype, pin_memory=True)
        np.stack(rows, out=held.numpy())
        with self.cuda.stream(self.copies):
            batch = held.to(self.device, non_blocking=True)
        here = self.cuda.current_stream(self.device)
        here.wait_stream(self.copies)
        batch.record_stream(here)  # its memory may not go to the next copy while a forward reads it
        return batch

    def fetch(self, parts: Sequence[Tensor]) -> Landing:
        """See ``Lane``; the host goes on at once."""
        import torch

        # changed to float32 on the device; torch takes pinned memory for copies that it shall not wait for
        copies = [part.to(torch.float32).to("cpu", non_blocking=True) for part in parts]
        event = self.cuda.Event()
        event.record(self.cuda.current_stream(self.device))
        return _OnTheWay(copies, event)


class _OnTheWay:
    def __init__(self, copies: list[Tensor], event: Any) -> None:
        self.copies, self.event = copies, event

    def ready(self) -> bool:
        return bool(self.event.query())

    def wait(self) -> list[Tensor]:
        self.event.synchronize()
        return self.copies


def lane_to(device: torch.device) -> Lane:
    """The fastest way to ``device`` that is right."""
    return CudaLane(device) if device.type == "cuda" else Lane(device)
