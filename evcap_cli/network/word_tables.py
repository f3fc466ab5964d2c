"""Starting a model's tables of word vectors from given ones, such as GloVe's, for the captioner and every other system.

Notation: N rows of a table, d_w word width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def fill_tables(tables: Mapping[str, Tensor], given: Mapping[str, Tensor | None]) -> None:
    """Copy given vectors into tables of the same name. A row of NaN keeps its random start.

    Args:
        tables: name -> (N, d_w), changed in place.
        given: name -> (N, d_w); None, or a name that is no table: left alone.

    Raises:
        ValueError: for vectors of another shape than their table.
    """
    for name, table in tables.items():
        vectors = given.get(name)
        if vectors is None:
            continue
        if vectors.shape != table.shape:
            raise ValueError(f"vectors of {name} must be {tuple(table.shape)}, got {tuple(vectors.shape)}")
        vectors = vectors.to(table)
        table.copy_(torch.where(vectors.isnan(), table, vectors))
