"""Running one backbone over rows of many videos: constant batch shapes, checked results, blame where it belongs.

The runner does not depend on videos: a row comes with a ticket, its result or its error goes back with it.
``batch_transfer.py`` moves batches; where results come in the background, they follow a batch or two later.

Notation: N rows of a batch (constant, short batches are filled by repeating the last row), H x W pixels, T frames, D
the backbone's width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from numpy.typing import NDArray

from evcap_cli import console
from evcap_cli.backbones.contract import AudioInput, Backbone, FrameInput, address_of
from evcap_cli.backbones.offloader import Offloader
from evcap_cli.devices import out_of_memory
from evcap_cli.errors import BackboneError, OutOfMemory, one_line
from evcap_cli.features.backbone_outputs import put_together, take_apart
from evcap_cli.features.batch_transfer import PendingResults, Transfer, transfer_to
from evcap_cli.plugin_calls import contained
from evcap_cli.profiling import timed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Row = NDArray[Any]
"""uint8 (H, W, 3) or (T, H, W, 3), or float32 samples (C,)."""
Result = Any
"""(D,) or (steps, D) tensor, or ``Detections``; float32, on the CPU."""

GREY_LEVELS: Final = 255.0
MOST_PENDING: Final = 2
"""Batches that may wait for results in the background: one that runs, one ready to run."""

Ticket = TypeVar("Ticket")


@dataclass(frozen=True)
class RowOutcome(Generic[Ticket]):
    """What became of one row: a result, or the error to blame its video with."""

    ticket: Ticket
    result: Result | None
    error: BackboneError | OutOfMemory | None = None


@dataclass
class _PendingBatch(Generic[Ticket]):
    """A batch whose results are not here yet; ``counts``: of objects, how many each row has."""

    entries: Sequence[tuple[Ticket, Row]]
    size: int
    results: PendingResults
    counts: list[int] | None
    forgotten: set[object] = field(default_factory=set)


class _BatchTooLarge(Exception):
    """Host or device memory does not hold a batch of this size."""


class BackboneRunner(Generic[Ticket]):
    """Collects rows of one backbone and runs them in full batches of one shape.

    Args:
        backbone: loaded.
        batch_size: N; None: as the backbone's spec says.
        device: where batches go.
        owner: the video of a ticket; when a batch fails, the rows of each owner are tried apart from the others'.
        offloader: of the backbones that share the device; None: this one has it for itself.
        transfer: how batches get to the device and results back; None: as is best for the device.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        batch_size: int | None,
        device: torch.device | str,
        owner: Callable[[Ticket], object],
        offloader: Offloader | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        import torch

        self.backbone = backbone
        self.name = address_of(backbone)
        self.batch_size = self.whole = batch_size or backbone.spec.batch_size
        self.device = torch.device(device)
        name = str(backbone.dtype).removeprefix("torch.")
        self.dtype: torch.dtype = getattr(torch, name)
        self.owner = owner
        self.offloader = offloader or Offloader([backbone], self.device)
        self.transfer = transfer or transfer_to(self.device)
        self.forwards = 0
        """Calls of ``extract``, for tests and benchmarks."""
        self._waiting: dict[tuple[int, ...], list[tuple[Ticket, Row]]] = {}
        self._pending: deque[_PendingBatch[Ticket]] = deque()
        self._mean_std: tuple[Tensor, Tensor] | None = None

    def add(self, ticket: Ticket, row: Row) -> list[RowOutcome[Ticket]]:
        """Queue a row; the outcomes that have come in, those of the batch it fills included on a CPU."""
        waiting = self._waiting.setdefault(row.shape, [])
        waiting.append((ticket, row))
        # sound shorter than a chunk has a length of its own: nothing will ever share its batch
        full = 1 if self._is_odd_sound(row) else self.batch_size
        if len(waiting) < full:
            return []
        del self._waiting[row.shape]
        return self._run(waiting, full)

    def flush(self, owner: object) -> list[RowOutcome[Ticket]]:
        """Run the batches that hold a row of ``owner``, however short they are, and finish all that are pending."""
        outcomes: list[RowOutcome[Ticket]] = []
        for shape in list(self._waiting):
            if any(self.owner(ticket) == owner for ticket, _ in self._waiting[shape]):
                outcomes += self._run(self._waiting.pop(shape), self.batch_size)
        return outcomes + self._finish_all()

    def forget(self, owner: object) -> None:
        """Drop the rows of ``owner``, those of pending batches included: its video has failed."""
        for shape in list(self._waiting):
            self._waiting[shape] = [entry for entry in self._waiting[shape] if self.owner(entry[0]) != owner]
            if not self._waiting[shape]:
                del self._waiting[shape]
        for batch in self._pending:
            batch.forgotten.add(owner)

    def _is_odd_sound(self, row: Row) -> bool:
        declared = self.backbone.spec.input
        return isinstance(declared, AudioInput) and len(row) != round(declared.chunk_seconds * declared.rate)

    def _run(self, entries: Sequence[tuple[Ticket, Row]], size: int) -> list[RowOutcome[Ticket]]:
        """Run ``entries`` in batches of ``size``; the outcomes that are there by then."""
        outcomes: list[RowOutcome[Ticket]] = []
        done = 0
        while done < len(entries):
            part = entries[done : done + size]
            try:
                self._pending.append(self._start(part, size))
            except BackboneError as problem:
                outcomes += self._blame(part, size, problem)
            except _BatchTooLarge:
                outcomes += self._finish_all()
                try:
                    size = self._smaller(size)
                except OutOfMemory as problem:
                    return outcomes + [RowOutcome(ticket, None, problem) for ticket, _ in entries[done:]]
                continue
            done += len(part)
            while self._pending and (len(self._pending) > MOST_PENDING or self._pending[0].results.ready()):
                outcomes += self._finish(self._pending.popleft())
        return outcomes

    def _smaller(self, size: int) -> int:
        """The batch size to try after ``size`` rows did not fit.

        Raises:
            OutOfMemory: there is nothing left to try.
        """
        if size > 1:
            # smaller batches may round differently, but a caption with a changed last digit beats none
            size = self.batch_size = size // 2
            console.warn(f"backbone {self.name}: out of memory; going on with batches of {size}")
        elif self.offloader.offload_others(self.backbone):
            self.batch_size = self.whole
            console.warn(
                f"backbone {self.name}: out of memory next to the other models; going on with one model at a time"
            )
        else:
            raise OutOfMemory(f"no memory for one row of backbone {self.name}", hint="free some, or try --device cpu")
        return size

    def _blame(
        self, entries: Sequence[tuple[Ticket, Row]], size: int, problem: BackboneError
    ) -> list[RowOutcome[Ticket]]:
        """A batch failed: each owner's rows stand for themselves."""
        owners = list(dict.fromkeys(self.owner(ticket) for ticket, _ in entries))
        if len(owners) == 1:
            return [RowOutcome(ticket, None, problem) for ticket, _ in entries]
        outcomes: list[RowOutcome[Ticket]] = []
        for owner in owners:
            outcomes += self._run([entry for entry in entries if self.owner(entry[0]) == owner], size)
        return outcomes

    def _start(self, part: Sequence[tuple[Ticket, Row]], size: int) -> _PendingBatch[Ticket]:
        """Start a batch of constant shape.

        Raises:
            BackboneError: the backbone raised, or returned something its spec does not allow.
            _BatchTooLarge: host or device memory ran out.
        """
        import torch

        self.forwards += 1
        try:
            self.offloader.load(self.backbone)
            return self._extract(part, size)
        except BackboneError:
            raise
        except Exception as problem:
            if not out_of_memory(problem):
                raise self._error(f"failed with {one_line(problem)}") from problem
        # only after the handler: the exception kept the tensors of the forward
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise _BatchTooLarge

    def _extract(self, part: Sequence[tuple[Ticket, Row]], size: int) -> _PendingBatch[Ticket]:
        import torch

        rows = [row for _, row in part]
        with timed("forwards"), torch.inference_mode():
            with contained():  # nothing here may keep the batch: it would be in the way when memory ran out
                output = self.backbone.extract(self.prepare(rows + [rows[-1]] * (size - len(rows))))
            parts, counts = self._taken_apart(output, size)
            with timed("copies"):
                return _PendingBatch(part, size, self.transfer.to_host(parts), counts)

    def _finish(self, batch: _PendingBatch[Ticket]) -> list[RowOutcome[Ticket]]:
        """The outcomes of a batch, which is waited for."""
        import torch

        entries = [entry for entry in batch.entries if self.owner(entry[0]) not in batch.forgotten]
        with timed("forwards"):
            parts = batch.results.wait()
        if not all(torch.isfinite(part).all() for part in parts):
            if len(entries) < len(batch.entries):  # the value may be one of those that nobody waits for any more
                return self._run(entries, batch.size)
            return self._blame(entries, batch.size, self._error("returned a value that is not a finite number"))
        # a filled-up batch has more results than rows
        found = zip(batch.entries, put_together(parts, batch.counts), strict=False)
        return [
            RowOutcome(ticket, result) for (ticket, _), result in found if self.owner(ticket) not in batch.forgotten
        ]

    def _finish_all(self) -> list[RowOutcome[Ticket]]:
        outcomes: list[RowOutcome[Ticket]] = []
        while self._pending:
            outcomes += self._finish(self._pending.popleft())
        return outcomes

    def prepare(self, rows: Sequence[Row]) -> Tensor:
        """Rows as the backbone expects them: pictures become (N, 3, [T,] H, W) floats, 0..1 and then mean and std."""
        import torch

        with timed("copies"):
            batch = self.transfer.to_device(rows)
        declared = self.backbone.spec.input
        if not isinstance(declared, FrameInput):
            return batch.to(self.dtype)
        layout = torch.channels_last if self.transfer.channels_last and batch.ndim == 4 else torch.contiguous_format
        batch = batch.movedim(-1, 1).to(torch.float32, memory_format=layout).div_(GREY_LEVELS)
        # kept, because making a tensor on a device waits for everything that the device has to do before
        mean, std = self._mean_std = self._mean_std or (self._channels(declared.mean), self._channels(declared.std))
        if any(declared.mean):
            batch.sub_(mean.reshape(1, 3, *[1] * (batch.ndim - 2)))
        if set(declared.std) != {1.0}:
            batch.div_(std.reshape(1, 3, *[1] * (batch.ndim - 2)))
        return batch.to(self.dtype)

    def _channels(self, values: Sequence[float]) -> Tensor:
        import torch

        return torch.tensor(values, device=self.device)

    def _taken_apart(self, output: Any, size: int) -> tuple[list[Tensor], list[int] | None]:
        try:
            return take_apart(output, self.backbone.spec, size)
        except ValueError as problem:
            raise self._error(str(problem)) from problem

    def _error(self, cause: str) -> BackboneError:
        return BackboneError(f"backbone {self.name} {cause}", hint="report it to its authors, see `evcap plugins`")
