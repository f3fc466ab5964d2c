"""Captions of unequal length without their padding: the order in which a decoder takes them, and what it returns.

Packed values of captions are those of caption 0 step by step, then those of caption 1, and so on. Real captions leave a
third of a padded batch empty.

Notation: R captions, T steps of the longest, K real steps of all together, V vocabulary, n captions that have a step t.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


def pack(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """The first ``lengths[r]`` steps of each caption r: (R, T, ...) -> (K, ...), with T the longest at least."""
    R, T = values.shape[:2]
    flat = values.flatten(0, 1)
    if min(lengths, default=T) == T:
        return flat
    places = [row * T + t for row in range(R) for t in range(lengths[row])]
    return flat.index_select(0, torch.tensor(places, device=values.device))


@dataclass
class WordScores:
    """Next-word scores of R captions: what ``CaptionModel.forward`` returns. A system may add fields for its losses.

    Args:
        logits: packed, (K, V): those of step t of a caption score the word that follows its token t.
        lengths: steps of each caption, R numbers with the sum K.
    """

    logits: Tensor
    lengths: Sequence[int]

    @classmethod
    def of(cls, padded: Tensor, lengths: Sequence[int] | None = None) -> Self:
        """Pack scores that were computed for all steps.

        Args:
            padded: (R, T, V).
            lengths: real steps of each caption; None: all T.
        """
        lengths = all_steps(padded) if lengths is None else lengths
        return cls(pack(padded, lengths), lengths)

    def packed(self, values: Tensor) -> Tensor:
        """Values of the same steps, such as the targets: (R, T, ...) -> (K, ...)."""
        return pack(values, self.lengths)

    def padded(self) -> Tensor:
        """The scores as (R, T, V); those of padding are zeros."""
        rows = list(torch.split(self.logits, list(self.lengths)))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def all_steps(tokens: Tensor) -> list[int]:
    """The lengths of captions (R, T, ...) without padding."""
    return [tokens.shape[1]] * len(tokens)


class LongestFirst:
    """Captions in the order of falling length: those that have a step t are then the first n rows.

    Args:
        lengths: steps of each caption, R numbers from 1.
        device: of the captions.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
        self.lengths = lengths
        self.falling = [lengths[row] for row in order]
        self._order = order
        self._rows = torch.tensor(order, device=device)

    def sort(self, values: Tensor) -> Tensor:
        """Rows of captions in this order, (R, ...)."""
        return values[self._rows]

    def running(self) -> Iterable[tuple[int, int]]:
        """Each step t with its n, which never rises."""
        for t in range(max(self.falling, default=0)):
            yield t, sum(length > t for length in self.falling)

    def pack(self, steps: Sequence[Tensor]) -> Tensor:
        """Join what each step found for its n captions: T of (n, x) -> packed, (K, x), in the captions' first order."""
        rank = {row: number for number, row in enumerate(self._order)}
        starts = [0]
        for found in steps:
            starts.append(starts[-1] + len(found))
        places = [starts[t] + rank[row] for row, length in enumerate(self.lengths) for t in range(length)]
        joined = torch.cat(list(steps))
        return joined.index_select(0, torch.tensor(places, device=joined.device))
