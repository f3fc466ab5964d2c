"""An option of ours, off by default (``decoder_objects``): before each word the decoder attends to the objects, too.

The paper folds objects into the moments (Eq. 3 and 4) before a word is emitted: which of two objects acts must then be
read out of a mixture. Here each object is first joined with the motion that it attends to (``fine_grained.py``). The
LSTM state and the newest phrase choose among these rows, as top-down attention chooses among regions (Anderson et al.
2018, section 3.2; there from another state and with an additive score).

Notation: B distinct clips, R rows (captions or hypotheses), N_o objects, T words, d model width, h LSTM width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evcap_cli.network.layers import dense


@dataclass
class ObjectRows:
    """Objects of clips, or of rows that each have their clip's.

    Args:
        values: bound objects, (B, N_o, d).
        keys: what they are found by, (B, N_o, d).
        blocked: (B, N_o), True where there is no object; at least one False a row.
    """

    values: Tensor
    keys: Tensor
    blocked: Tensor

    def of_rows(self, clips: Tensor) -> ObjectRows:
        """Those of the clip of each row."""
        return ObjectRows(self.values[clips], self.keys[clips], self.blocked[clips])

    def first(self, count: int) -> ObjectRows:
        """Those of the first ``count`` rows."""
        return ObjectRows(self.values[:count], self.keys[:count], self.blocked[:count])


class ObjectAttention(nn.Module):
    """Scaled dot-product attention over the bound objects."""

    def __init__(self, width: int, lstm_width: int) -> None:
        super().__init__()
        self.key = dense(width, width, bias=False)  # a bias would shift all scores of a query alike
        self.of_state = dense(lstm_width, width)
        self.of_phrase = dense(width, width, bias=False)

    def prepare(self, objects: Tensor, mask: Tensor) -> ObjectRows:
        """What no step changes: objects (B, N_o, d), and where they are real (B, N_o)."""
        return ObjectRows(objects, self.key(objects), ~mask)

    def forward(self, objects: ObjectRows, of_phrase: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The mean object of each row.

        Args:
            objects: of R rows, or of B clips whose rows are neighbours, equally many each.
            of_phrase: the map of the newest word's phrase, (R, d).
            hidden: h_{t-1}, (R, h).

        Returns:
            The mean of the objects by attention, (R, d), and its weights, (R, N_o).
        """
        B, N, d = objects.values.shape
        query = (of_phrase + self.of_state(hidden)).view(B, -1, d)
        scores = torch.bmm(query, objects.keys.mT) / math.sqrt(d)
        weights = scores.masked_fill(objects.blocked[:, None], float("-inf")).softmax(dim=-1)
        found = torch.bmm(weights.to(objects.values.dtype), objects.values)
        return found.view(-1, d), weights.view(-1, N)
