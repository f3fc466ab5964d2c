"""Putting the frames of one decoding pass together into the rows of every stream of every segment.

One pass delivers each requested frame once, in order; a frame is kept exactly as long as a row that is not complete yet
needs it. What to fetch comes from ``sampling.py``; ``runner.py`` computes on the rows.

Notation: H x W pixels, T frames of a window.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evcap_cli.backbones.contract import BackboneSpec, ClipInput, Kind
from evcap_cli.features.sampling import ClipSample, Ordinals

if TYPE_CHECKING:
    from evcap_cli.features.runner import Row


@dataclass(frozen=True)
class Ticket:
    """Where a row's result belongs.

    Args:
        video, segment: their numbers. kind: the stream.
        row: of the stream; of objects, the key frame. part: of objects, the frame within the snippet.
    """

    video: int
    segment: int
    kind: Kind
    row: int
    part: int = 0


@dataclass(frozen=True)
class PlannedRow:
    """A row that a backbone will be given.

    Args:
        ordinals: the frames it is made of, in order; not distinct where the edge of a segment is repeated.
        centre: the frame it stands for; without that one the row is dropped.
        window: whether the row keeps an axis for time, (T, H, W, 3), or is one picture, (H, W, 3).
    """

    ticket: Ticket
    ordinals: tuple[int, ...]
    centre: int
    window: bool


def planned_rows(video: int, segment: int, spec: BackboneSpec, sample: ClipSample) -> list[PlannedRow]:
    """The rows of one picture stream of one segment."""
    kind = spec.kind
    if kind == "object":
        snippets = sample.snippets()
        places = [(row, part) for row, frames in enumerate(snippets) for part in range(len(frames))]
        centres: Ordinals = np.concatenate(snippets)
    else:
        centres = sample.centres if kind == "motion" else sample.frames
        places = [(row, 0) for row in range(len(centres))]
    if isinstance(spec.input, ClipInput):
        windows = sample.windows(centres, spec.input.frames, spec.input.stride)
    else:
        windows = centres[:, None]
    window = isinstance(spec.input, ClipInput)
    return [
        PlannedRow(Ticket(video, segment, kind, row, part), tuple(ordinals), centre, window)
        for (row, part), ordinals, centre in zip(places, windows.tolist(), centres.tolist(), strict=True)
    ]


class RowAssembler:
    """The frames of one geometry on their way into rows.

    Args:
        rows: of any streams and segments that want this geometry.
    """

    def __init__(self, rows: Sequence[PlannedRow] = ()) -> None:
        self.rows: deque[PlannedRow] = deque()
        self.uses: Counter[int] = Counter()
        self.frames: dict[int, Row] = {}
        self.expect(rows)

    def expect(self, rows: Sequence[PlannedRow]) -> None:
        """More rows, which may end before others that are expected already: segments may overlap."""
        self.rows = deque(sorted((*self.rows, *rows), key=lambda row: max(row.ordinals)))
        self.uses.update(ordinal for row in rows for ordinal in set(row.ordinals))

    def accept(self, ordinal: int, pixels: Row) -> list[tuple[Ticket, Row | None]]:
        """Take the next frame, (H, W, 3).

        Returns:
            The rows that can be completed now, None where the frame a row stands for did not decode.
        """
        if ordinal in self.uses:
            self.frames[ordinal] = pixels
        # frames come in order: rows that end before this one will get nothing more
        return self._complete(ordinal)

    def finish(self) -> list[tuple[Ticket, Row | None]]:
        """All rows that are left: no frame will come any more."""
        return self._complete(None)

    def _complete(self, until: int | None) -> list[tuple[Ticket, Row | None]]:
        done: list[tuple[Ticket, Row | None]] = []
        while self.rows and (until is None or max(self.rows[0].ordinals) <= until):
            row = self.rows.popleft()
            done.append((row.ticket, self._picture(row)))
            for ordinal in set(row.ordinals):
                self.uses[ordinal] -= 1
                if not self.uses[ordinal]:
                    del self.uses[ordinal]
                    self.frames.pop(ordinal, None)
        return done

    def _picture(self, row: PlannedRow) -> Row | None:
        if row.centre not in self.frames:
            return None
        if not row.window:
            return self.frames[row.centre]
        have = [ordinal for ordinal in row.ordinals if ordinal in self.frames]
        nearest = (min(have, key=lambda other: abs(other - ordinal)) for ordinal in row.ordinals)
        return np.stack([self.frames[ordinal] for ordinal in nearest])
