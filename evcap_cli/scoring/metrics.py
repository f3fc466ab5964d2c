"""The eleven metrics of the field: the one table of their keys, names and kinds, in the order of printed tables.

``metric_parts.py`` computes them. Values are x 100 everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

DECIMALS: Final = 2
"""Of a value in a table of ours."""
PRINTED_DECIMALS: Final = 1
"""Of a value in the tables of the field."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        key: in JSON and in Python.
        label: in tables and texts. column: the same where columns are narrow.
        group: emotion (Acc), language, or combined (BFS of BLEU and Acc, CFS of CIDEr and Acc). The metrics of language
            have a value for a single video, too.
    """

    key: str
    label: str
    column: str
    group: Literal["emotion", "language", "combined"]


TABLE: Final = (
    Metric("acc_sw", "Acc_sw", "Acc_sw", "emotion"),
    Metric("acc_c", "Acc_c", "Acc_c", "emotion"),
    Metric("bleu_1", "BLEU-1", "B-1", "language"),
    Metric("bleu_2", "BLEU-2", "B-2", "language"),
    Metric("bleu_3", "BLEU-3", "B-3", "language"),
    Metric("bleu_4", "BLEU-4", "B-4", "language"),
    Metric("meteor", "METEOR", "METEOR", "language"),
    Metric("rouge_l", "ROUGE-L", "ROUGE", "language"),
    Metric("cider", "CIDEr", "CIDEr", "language"),
    Metric("bfs", "BFS", "BFS", "combined"),
    Metric("cfs", "CFS", "CFS", "combined"),
)
METRICS: Final = tuple(metric.key for metric in TABLE)
"""Their keys."""
LABELS: Final = {metric.key: metric.label for metric in TABLE}
COLUMNS: Final = tuple(metric.column for metric in TABLE)


def metric_text(value: float | None, decimals: int = DECIMALS) -> str:
    """A value in a table, "-" where it was not computed."""
    return "-" if value is None else f"{value:.{decimals}f}"
