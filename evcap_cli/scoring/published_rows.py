"""Printed rows of EmVidCap-L, as printed: for comparison, never for computing.

``PUBLISHED_ROWS`` are the paper's Tables 1 to 3, ``LITERATURE_ROWS`` what others published since.

Some of them do not satisfy the definitions of BFS and CFS to rounding, and Table 3 prints another Acc_c for the whole
model (62.4) than Table 2 and the text (64.2): they are quoted as they stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from evcap_cli.scoring.metrics import METRICS

Table = Literal["table1", "table2", "table3"]
RowSet = Literal["paper", "literature"]

SOURCE: Final = "Gong & Han, fine-grained visual and audio-visual dual-branch fusion, EmVidCap-L test split"
LITERATURE_SOURCE: Final = "Causal-EVC (2026), its Table 1, EmVidCap-L test split; all of them trained on EmVidCap"


@dataclass(frozen=True)
class PublishedRow:
    """One printed row.

    Args:
        table: where it stands. backbone: the preset that gives its features.
        system: as printed. model: our name of the system. without: modules that are off.
        values: in the order of ``metrics.METRICS``, x 100.
    """

    table: Table
    backbone: Literal["resnet", "clip"]
    system: str
    model: str
    values: tuple[float, ...]
    without: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """The values by key."""
        return dict(zip(METRICS, self.values, strict=True))


@dataclass(frozen=True)
class LiteratureRow:
    """A printed row of a later publication, which prints six of the metrics.

    Args:
        system: as printed, with its year.
        values: Acc_sw, Acc_c, BLEU-4, CIDEr, BFS and CFS, x 100.
    """

    system: str
    values: tuple[float, ...]

    @property
    def metrics(self) -> dict[str, float | None]:
        """All metrics by key; None where nothing is printed."""
        printed = dict(zip(LITERATURE_METRICS, self.values, strict=True))
        return {metric: printed.get(metric) for metric in METRICS}


LITERATURE_METRICS: Final = ("acc_sw", "acc_c", "bleu_4", "cider", "bfs", "cfs")
_A, _B = "audio-visual", "fine-grained"

PUBLISHED_ROWS: Final[tuple[PublishedRow, ...]] = (
    PublishedRow(
        "table1", "resnet", "CANet", "canet",
        (41.9, 39.7, 66.9, 44.8, 29.3, 19.3, 18.2, 37.9, 23.3, 33.9, 26.8),
    ),
    PublishedRow(
        "table1", "resnet", "EPAN", "epan",
        (49.7, 48.2, 66.9, 45.0, 29.8, 19.6, 18.3, 38.1, 24.1, 36.3, 29.1),
    ),
    PublishedRow(
        "table1", "resnet", "DCGN", "dcgn",
        (51.3, 50.6, 69.6, 48.2, 33.8, 22.1, 19.5, 42.0, 28.4, 38.7, 33.1),
    ),
    PublishedRow(
        "table1", "resnet", "the paper", "fusion",
        (53.4, 52.5, 67.6, 45.3, 30.3, 19.7, 18.5, 38.3, 24.6, 36.8, 30.1),
    ),
    PublishedRow(
        "table2", "clip", "SA-LSTM", "sa-lstm",
        (48.6, 47.1, 71.0, 51.1, 34.5, 22.5, 19.6, 40.7, 30.2, 38.9, 33.7),
    ),
    PublishedRow(
        "table2", "clip", "EPAN", "epan",
        (64.3, 62.1, 72.5, 52.8, 37.2, 27.0, 20.8, 41.7, 33.5, 44.2, 39.4),
    ),
    PublishedRow(
        "table2", "clip", "the paper", "fusion",
        (65.7, 64.2, 74.4, 54.0, 38.1, 27.8, 21.9, 42.6, 35.1, 45.4, 40.8),
    ),
    PublishedRow(
        "table3", "clip", "neither module", "fusion",
        (64.3, 62.1, 72.5, 52.8, 37.2, 27.0, 20.8, 41.7, 33.5, 44.2, 39.4), (_B, _A),
    ),
    PublishedRow(
        "table3", "clip", "A only", "fusion",
        (65.4, 63.8, 73.1, 53.0, 37.3, 26.9, 21.1, 41.7, 33.9, 44.6, 39.8), (_B,),
    ),
    PublishedRow(
        "table3", "clip", "B only", "fusion",
        (64.8, 62.7, 74.1, 53.6, 37.8, 27.5, 21.8, 42.4, 34.6, 45.1, 40.2), (_A,),
    ),
    PublishedRow(
        "table3", "clip", "A and B", "fusion",
        (65.7, 62.4, 74.4, 54.0, 38.1, 27.8, 21.9, 42.6, 35.1, 45.4, 40.8),
    ),
)  # fmt: skip

LITERATURE_ROWS: Final = (
    LiteratureRow("DCGN (2024)", (71.0, 69.4, 28.1, 41.5, 47.3, 46.9)),
    LiteratureRow("HEART (2026)", (55.8, 54.2, 22.7, 28.8, 40.3, 34.0)),
    LiteratureRow("MM-ECPE (2025)", (73.4, 72.3, 28.9, 65.2, 49.2, 66.7)),
    LiteratureRow("SAGML (2026)", (80.2, 79.6, 31.8, 71.8, 53.8, 73.4)),
    LiteratureRow("Causal-EVC (2026)", (82.8, 81.5, 32.4, 74.0, 55.3, 75.6)),
)


def published_rows(table: Table) -> list[PublishedRow]:
    """The rows of one table in printed order."""
    return [row for row in PUBLISHED_ROWS if row.table == table]
