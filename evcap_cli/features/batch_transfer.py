"""How batches get to a device and results back: at once on a CPU, in the background on CUDA.

On CUDA a batch is stacked in pinned memory and copied on a stream of its own, while the forward before it still runs;
results travel to pinned memory and are waited for only when they are needed. ``runner.py`` makes the batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from evcap_cli.features.runner import Row


class PendingResults:
    """Results of a batch on their way to the host.

    Args:
        parts: on the CPU; whole once ``event`` has come.
        event: a ``torch.cuda.Event``; None: they are whole.
    """

    def __init__(self, parts: list[Tensor], event: Any = None) -> None:
        self.parts, self.event = parts, event

    def ready(self) -> bool:
        """Whether ``wait`` would return at once."""
        return self.event is None or bool(self.event.query())

    def wait(self) -> list[Tensor]:
        """The results."""
        if self.event is not None:
            self.event.synchronize()
        return self.parts


class Transfer:
    """To a device and back, each step finished before the next: right for every device, and best for a CPU."""

    channels_last = False
    """Whether pictures (N, 3, H, W) are to lie in memory as (N, H, W, 3)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def to_device(self, rows: Sequence[Row]) -> Tensor:
        """Equal rows, stacked on the device in their own number format."""
        import torch

        return torch.from_numpy(np.stack(rows)).to(self.device)

    def to_host(self, parts: Sequence[Tensor]) -> PendingResults:
        """Start to copy ``parts`` to the host, as float32."""
        import torch

        return PendingResults([part.to("cpu", torch.float32) for part in parts])


class CudaTransfer(Transfer):
    """Pinned memory, a stream for copies, results without waiting."""

    channels_last = True

    def __init__(self, device: torch.device) -> None:
        import torch

        super().__init__(device)
        self.cuda: Any = torch.cuda  # most of it carries no types
        self.copies = self.cuda.Stream(device)

    def to_device(self, rows: Sequence[Row]) -> Tensor:
        """See ``Transfer``. The copy overlaps forwards that were started before; forwards started after wait for it."""
        import torch

        # never reused by us: torch gives pinned memory out again only once the copies that read it are over
        pinned = torch.empty((len(rows), *rows[0].shape), dtype=torch.from_numpy(rows[0]).dtype, pin_memory=True)
        np.stack(rows, out=pinned.numpy())
        with self.cuda.stream(self.copies):
            batch = pinned.to(self.device, non_blocking=True)
        here = self.cuda.current_stream(self.device)
        here.wait_stream(self.copies)
        batch.record_stream(here)  # its memory may not go to the next copy while a forward reads it
        return batch

    def to_host(self, parts: Sequence[Tensor]) -> PendingResults:
        """See ``Transfer``; the host goes on at once."""
        import torch

        # changed to float32 on the device; torch takes pinned memory for copies that it shall not wait for
        copies = [part.to(torch.float32).to("cpu", non_blocking=True) for part in parts]
        event = self.cuda.Event()
        event.record(self.cuda.current_stream(self.device))
        return PendingResults(copies, event)


def transfer_to(device: torch.device) -> Transfer:
    """The fastest transfer to ``device`` that is right."""
    return CudaTransfer(device) if device.type == "cuda" else Transfer(device)
