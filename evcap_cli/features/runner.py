"""Running one backbone over rows of many videos: constant batch shapes, checked results, blame where it belongs.

The runner knows nothing of videos: a row comes with a ticket, its result or its error goes back with it. How batches
travel is ``transfer.py``'s business; where results come in the background, outcomes follow a batch or two later.

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
from evcap_cli.backbones.residents import Residents
from evcap_cli.devices import out_of_memory
from evcap_cli.errors import BackboneError, OutOfMemory, one_line
from evcap_cli.features.answers import put_together, take_apart
from evcap_cli.features.transfer import Landing, Lane, lane_to
from evcap_cli.plugin_calls import contained

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Row = NDArray[Any]
"""uint8 (H, W, 3) or (T, H, W, 3), or float32 samples (C,)."""
Result = Any
"""(D,) or (steps, D) tensor, or ``Detections``; float32, on the CPU."""

GREY_LEVELS: Final = 255.0
AHEAD: Final = 2
"""Batches that may be under way at once where results come in the background: one that runs, one ready to run."""

Ticket = TypeVar("Ticket")


@dataclass(frozen=True)
class Outcome(Generic[Ticket]):
    """What became of one row: a result, or the error to blame its video with."""

    ticket: Ticket
    result: Result | None
    error: BackboneError | OutOfMemory | None = None


@dataclass
class _Flight(Generic[Ticket]):
    """A batch under way; ``counts``: of objects, how many each row has."""

    entries: Sequence[tuple[Ticket, Row]]
    size: int
    landing: Landing
    counts: list[int] | None
    forgotten: set[object] = field(default_factory=set)


class BackboneRunner(Generic[Ticket]):
    """Collects rows of one backbone and runs them in full batches of one shape.

    Args:
        backbone: loaded.
        batch_size: N; None: as the backbone's spec says.
        device: where batches go.
        owner: the video of a ticket; when a batch fails, the rows of each owner are tried apart from the others'.
        residents: the backbones that share the device; None: this one has it for itself.
        lane: how batches travel; None: as is best for the device.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        batch_size: int | None,
        device: torch.device | str,
        owner: Callable[[Ticket], object],
        residents: Residents | None = None,
        lane: Lane | None = None,
    ) -> None:
        import torch

        self.backbone = backbone
        self.name = address_of(backbone)
        self.batch_size = self.whole = batch_size or backbone.spec.batch_size
        self.device = torch.device(device)
        name = str(backbone.dtype).removeprefix("torch.")
        self.dtype: torch.dtype = getattr(torch, name)
        self.owner = owner
        self.residents = residents or Residents([backbone], self.device)
        self.lane = lane or lane_to(self.device)
        self.forwards = 0
        """Calls of ``extract``, for tests and benchmarks."""
        self._waiting: dict[tuple[int, ...], list[tuple[Ticket, Row]]] = {}
        self._under_way: deque[_Flight[Ticket]] = deque()
        self._mean_std: tuple[Tensor, Tensor] | None = None

    def add(self, ticket: Ticket, row: Row) -> list[Outcome[Ticket]]:
        """Queue a row; the outcomes that have come in, those of the batch it fills included on a CPU."""
        waiting = self._waiting.setdefault(row.shape, [])
        waiting.append((ticket, row))
        # sound shorter than a chunk has a length of its own: nothing will ever share its batch
        full = 1 if self._is_odd_sound(row) else self.batch_size
        if len(waiting) < full:
            return []
        del self._waiting[row.shape]
        return self._run(waiting, full)

    def flush(self, owner: object) -> list[Outcome[Ticket]]:
        """Run the batches that hold a row of ``owner``, however short they are; all that is under way comes in."""
        outcomes: list[Outcome[Ticket]] = []
        for shape in list(self._waiting):
            if any(self.owner(ticket) == owner for ticket, _ in self._waiting[shape]):
                outcomes += self._run(self._waiting.pop(shape), self.batch_size)
        return outcomes + self._land_all()

    def forget(self, owner: object) -> None:
        """Drop the rows of ``owner``, those under way included: its video has failed."""
        for shape in list(self._waiting):
            self._waiting[shape] = [entry for entry in self._waiting[shape] if self.owner(entry[0]) != owner]
            if not self._waiting[shape]:
                del self._waiting[shape]
        for flight in self._under_way:
            flight.forgotten.add(owner)

    def _is_odd_sound(self, row: Row) -> bool:
        wanted = self.backbone.spec.input
        return isinstance(wanted, AudioInput) and len(row) != round(wanted.chunk_seconds * wanted.rate)

    def _run(self, entries: Sequence[tuple[Ticket, Row]], size: int) -> list[Outcome[Ticket]]:
        """Send ``entries`` off in batches of ``size``; the outcomes that are there by then."""
        outcomes: list[Outcome[Ticket]] = []
        done = 0
        while done < len(entries):
            part = entries[done : done + size]
            try:
                flight = self._depart(part, size)
            except BackboneError as problem:
                outcomes += self._blame(part, size, problem)
            else:
                if flight is None:
                    outcomes += self._land_all()
                    smaller = self._smaller(size)
                    if smaller is None:
                        full = OutOfMemory(
                            f"no memory for one row of backbone {self.name}", hint="free some, or try --device cpu"
                        )
                        return outcomes + [Outcome(ticket, None, full) for ticket, _ in entries[done:]]
                    size = smaller
                    continue
                self._under_way.append(flight)
            done += len(part)
            while self._under_way and (len(self._under_way) > AHEAD or self._under_way[0].landing.ready()):
                outcomes += self._land(self._under_way.popleft())
        return outcomes

    def _smaller(self, size: int) -> int | None:
        """What to try after ``size`` rows did not fit; None: there is nothing left to try."""
        if size > 1:
            # smaller batches may round differently, but a caption with a changed last digit beats none
            size = self.batch_size = size // 2
            console.warn(f"backbone {self.name}: out of memory; going on with batches of {size}")
        elif self.residents.make_room(self.backbone):
            self.batch_size = self.whole
            console.warn(
                f"backbone {self.name}: out of memory beside the other models; going on with one model at a time"
            )
        else:
            return None
        return size

    def _blame(self, entries: Sequence[tuple[Ticket, Row]], size: int, problem: BackboneError) -> list[Outcome[Ticket]]:
        """A batch failed: each owner's rows stand for themselves."""
        owners = list(dict.fromkeys(self.owner(ticket) for ticket, _ in entries))
        if len(owners) == 1:
            return [Outcome(ticket, None, problem) for ticket, _ in entries]
        outcomes: list[Outcome[Ticket]] = []
        for owner in owners:
            outcomes += self._run([entry for entry in entries if self.owner(entry[0]) == owner], size)
        return outcomes

    def _depart(self, part: Sequence[tuple[Ticket, Row]], size: int) -> _Flight[Ticket] | None:
        """Start a batch of constant shape; None: host or device memory ran out.

        Raises:
            BackboneError: the backbone raised, or returned something its spec does not allow.
        """
        import torch

        rows = [row for _, row in part]
        self.forwards += 1
        try:
            self.residents.admit(self.backbone)
            with torch.inference_mode():
                with contained():  # nothing here may keep the batch: it would be in the way when memory ran out
                    output = self.backbone.extract(self.prepare(rows + [rows[-1]] * (size - len(rows))))
                parts, counts = self._taken_apart(output, size)
                return _Flight(part, size, self.lane.fetch(parts), counts)
        except BackboneError:
            raise
        except Exception as problem:
            if not out_of_memory(problem):
                raise self._error(f"failed with {one_line(problem)}") from problem
        # only here: the exception held on to the tensors of the forward
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _land(self, flight: _Flight[Ticket]) -> list[Outcome[Ticket]]:
        """The outcomes of a batch, which is waited for."""
        import torch

        entries = [entry for entry in flight.entries if self.owner(entry[0]) not in flight.forgotten]
        parts = flight.landing.wait()
        if not all(torch.isfinite(part).all() for part in parts):
            if len(entries) < len(flight.entries):  # the value may be one of those that nobody waits for any more
                return self._run(entries, flight.size)
            return self._blame(entries, flight.size, self._error("returned a value that is not a finite number"))
        # a filled-up batch has more results than rows
        found = zip(flight.entries, put_together(parts, flight.counts), strict=False)
        return [Outcome(ticket, result) for (ticket, _), result in found if self.owner(ticket) not in flight.forgotten]

    def _land_all(self) -> list[Outcome[Ticket]]:
        outcomes: list[Outcome[Ticket]] = []
        while self._under_way:
            outcomes += self._land(self._under_way.popleft())
        return outcomes

    def prepare(self, rows: Sequence[Row]) -> Tensor:
        """Rows as the backbone wants them: pictures become (N, 3, [T,] H, W) floats, 0..1 and then mean and std."""
        import torch

        batch = self.lane.send(rows)
        wanted = self.backbone.spec.input
        if not isinstance(wanted, FrameInput):
            return batch.to(self.dtype)
        layout = torch.channels_last if self.lane.channels_last and batch.ndim == 4 else torch.contiguous_format
        batch = batch.movedim(-1, 1).to(torch.float32, memory_format=layout).div_(GREY_LEVELS)
        # kept, because making a tensor on a device waits for everything that the device has to do before
        mean, std = self._mean_std = self._mean_std or (self._channels(wanted.mean), self._channels(wanted.std))
        if any(wanted.mean):
            batch.sub_(mean.reshape(1, 3, *[1] * (batch.ndim - 2)))
        if set(wanted.std) != {1.0}:
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
