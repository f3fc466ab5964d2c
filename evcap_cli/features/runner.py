"""Running one backbone over rows of many videos: constant batch shapes, checked results, blame where it belongs.

The runner knows nothing of videos: a row comes with a ticket, its result or its error goes back with it.

Notation: N rows of a batch (constant, short batches are filled by repeating the last row), H x W pixels, T frames, D
the backbone's width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from evcap_cli import console
from evcap_cli.backbones.contract import AudioInput, Backbone, BackboneAddress, Detections, FrameInput
from evcap_cli.errors import BackboneError, OutOfMemory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Row = NDArray[Any]
"""uint8 (H, W, 3) or (T, H, W, 3), or float32 samples (C,)."""
Result = Any
"""(D,) or (steps, D) tensor, or ``Detections``; float32, on the CPU."""

GREY_LEVELS: Final = 255.0

Ticket = TypeVar("Ticket")
Owner = Callable[[Ticket], object]


@dataclass(frozen=True)
class Outcome(Generic[Ticket]):
    """What became of one row: a result, or the error to blame its video with."""

    ticket: Ticket
    result: Result | None
    error: BackboneError | OutOfMemory | None = None


class BackboneRunner(Generic[Ticket]):
    """Collects rows of one backbone and runs them in full batches of one shape.

    Args:
        backbone: loaded.
        batch_size: N; None: as the backbone's spec says.
        device: where batches go.
        owner: the video of a ticket; when a batch fails, the rows of each owner are tried apart from the others'.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        batch_size: int | None,
        device: torch.device | str,
        owner: Callable[[Ticket], object],
    ) -> None:
        import torch

        self.backbone = backbone
        self.name = str(BackboneAddress(backbone.spec.name, backbone.variant))
        self.batch_size = batch_size or backbone.spec.batch_size
        self.device = torch.device(device)
        name = str(backbone.dtype).removeprefix("torch.")
        self.dtype: torch.dtype = getattr(torch, name)
        self.owner = owner
        self.forwards = 0
        """Calls of ``extract``, for tests and benchmarks."""
        self._waiting: dict[tuple[int, ...], list[tuple[Ticket, Row]]] = {}

    def add(self, ticket: Ticket, row: Row) -> list[Outcome[Ticket]]:
        """Queue a row; the outcomes of the batch it fills, if it fills one."""
        waiting = self._waiting.setdefault(row.shape, [])
        waiting.append((ticket, row))
        # sound shorter than a chunk has a length of its own: nothing will ever share its batch
        full = 1 if self._is_odd_sound(row) else self.batch_size
        if len(waiting) < full:
            return []
        del self._waiting[row.shape]
        return self._run(waiting, full)

    def flush(self, owner: object) -> list[Outcome[Ticket]]:
        """Run the batches that hold a row of ``owner``, however short they are."""
        outcomes: list[Outcome[Ticket]] = []
        for shape in list(self._waiting):
            if any(self.owner(ticket) == owner for ticket, _ in self._waiting[shape]):
                outcomes += self._run(self._waiting.pop(shape), self.batch_size)
        return outcomes

    def forget(self, owner: object) -> None:
        """Drop the waiting rows of ``owner``: its video has failed."""
        for shape in list(self._waiting):
            self._waiting[shape] = [entry for entry in self._waiting[shape] if self.owner(entry[0]) != owner]
            if not self._waiting[shape]:
                del self._waiting[shape]

    def _is_odd_sound(self, row: Row) -> bool:
        wanted = self.backbone.spec.input
        return isinstance(wanted, AudioInput) and len(row) != round(wanted.chunk_seconds * wanted.rate)

    def _run(self, entries: Sequence[tuple[Ticket, Row]], size: int) -> list[Outcome[Ticket]]:
        """Outcomes of ``entries`` in batches of ``size``; on failure, each owner's rows stand for themselves."""
        try:
            return self._batches(entries, size)
        except BackboneError as problem:
            owners = list(dict.fromkeys(self.owner(ticket) for ticket, _ in entries))
            if len(owners) == 1:
                return [Outcome(ticket, None, problem) for ticket, _ in entries]
        except OutOfMemory as problem:
            return [Outcome(ticket, None, problem) for ticket, _ in entries]
        outcomes: list[Outcome[Ticket]] = []
        for owner in owners:
            outcomes += self._run([entry for entry in entries if self.owner(entry[0]) == owner], size)
        return outcomes

    def _batches(self, entries: Sequence[tuple[Ticket, Row]], size: int) -> list[Outcome[Ticket]]:
        outcomes: list[Outcome[Ticket]] = []
        done = 0
        while done < len(entries):
            part = entries[done : done + size]
            rows = [row for _, row in part]
            try:
                results = self._extract(rows + [rows[-1]] * (size - len(rows)))
            except OutOfMemory as problem:
                if size == 1:
                    raise
                # smaller batches may round differently, but a caption with a changed last digit beats none
                size = self.batch_size = max(size // 2, 1)
                console.warn(f"backbone {self.name}: {problem.cause}; going on with batches of {size}")
                continue
            outcomes += [Outcome(ticket, result) for (ticket, _), result in zip(part, results, strict=False)]
            done += len(part)
        return outcomes

    def _extract(self, rows: Sequence[Row]) -> list[Result]:
        """Results of a batch of constant shape.

        Raises:
            BackboneError: the backbone raised, or returned something its spec does not allow.
            OutOfMemory: host or device memory ran out.
        """
        import torch

        self.forwards += 1
        try:
            with torch.inference_mode():
                output = self.backbone.extract(self.prepare(rows))
                return self._checked(output, len(rows))
        except (MemoryError, torch.OutOfMemoryError) as problem:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            raise OutOfMemory("out of memory", hint="give a smaller --batch-size") from problem
        except BackboneError:
            raise
        except Exception as problem:
            raise self._error(f"failed with {' '.join(f'{type(problem).__name__}: {problem}'.split())}") from problem

    def prepare(self, rows: Sequence[Row]) -> Tensor:
        """Rows as the backbone wants them: pictures become (N, 3, [T,] H, W) floats, 0..1 and then mean and std."""
        import torch

        batch = torch.from_numpy(np.stack(rows)).to(self.device, non_blocking=True)
        wanted = self.backbone.spec.input
        if not isinstance(wanted, FrameInput):
            return batch.to(self.dtype)
        batch = batch.movedim(-1, 1).to(torch.float32, memory_format=torch.contiguous_format).div_(GREY_LEVELS)
        if any(wanted.mean):
            batch.sub_(self._channels(wanted.mean, batch.ndim))
        if set(wanted.std) != {1.0}:
            batch.div_(self._channels(wanted.std, batch.ndim))
        return batch.to(self.dtype)

    def _channels(self, values: Sequence[float], dimensions: int) -> Tensor:
        import torch

        return torch.tensor(values, device=self.device).reshape(1, 3, *[1] * (dimensions - 2))

    def _checked(self, output: Any, count: int) -> list[Result]:
        """The output of ``extract`` as a result a row; or the reason why it is none."""
        import torch

        kind, dim = self.backbone.spec.kind, self.backbone.spec.dim
        if kind == "object":
            return self._checked_detections(output, count)
        if not isinstance(output, torch.Tensor):
            raise self._error(f"returned {type(output).__name__}, not a tensor")
        right = output.ndim == (3 if kind == "audio" else 2) and output.shape[0] == count and output.shape[-1] == dim
        if not right:
            expected = f"({count}, steps, {dim})" if kind == "audio" else f"({count}, {dim})"
            raise self._error(f"returned shape {tuple(output.shape)}, its spec says {expected}")
        values = output.to("cpu", torch.float32)
        if not torch.isfinite(values).all():
            raise self._error("returned a value that is not a finite number")
        return list(values.unbind(0))

    def _checked_detections(self, output: Any, count: int) -> list[Result]:
        import torch

        dim = self.backbone.spec.dim
        if (
            not isinstance(output, Sequence)
            or len(output) != count
            or not all(isinstance(d, Detections) for d in output)
        ):
            raise self._error(f"must return a list of {count} Detections")
        results = []
        for found in output:
            k = len(found.scores)
            shapes = tuple(tuple(part.shape) for part in (found.boxes, found.scores, found.features))
            if shapes != ((k, 4), (k,), (k, dim)):
                raise self._error(f"returned detections of shapes {shapes}, its spec says (k, 4), (k,), (k, {dim})")
            parts = [part.to("cpu", torch.float32) for part in (found.boxes, found.scores, found.features)]
            if not all(torch.isfinite(part).all() for part in parts):
                raise self._error("returned a value that is not a finite number")
            results.append(Detections(*parts))
        return results

    def _error(self, cause: str) -> BackboneError:
        return BackboneError(f"backbone {self.name} {cause}", hint="report it to its authors, see `evcap plugins`")
