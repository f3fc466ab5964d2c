"""Which epoch of a run is chosen, and by what: the held-out videos, or (``oracle``) the test split itself.

EmVidCap has no validation split. Released code of the field scores every epoch on the test split and reports the best
of each metric; ``oracle`` does the same, to compare with printed tables, and everything it touches says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from evcap_cli.training.recipe import ORACLE, Select

ORACLE_NOTE: Final = (
    "the epoch was chosen on the test split itself (--select oracle), as much published code does: "
    "these scores flatter the model and do not compare with those of runs that leave the test split alone"
)


def epoch_score(entry: Mapping[str, Any], select: Select) -> list[float]:
    """What epochs are compared by, more is better, ties by the next number.

    Args:
        entry: of the log. Without held-out videos the last epoch counts as the best.
        select: of the recipe.
    """
    validation = entry.get("validation")
    loss = [-float(validation["cross_entropy"])] if validation else []
    if select == ORACLE:
        return [float(entry["test"]["cfs"]), *loss]
    if not validation or select == "last":
        return [float(entry["epoch"])]
    return [float(validation["cfs"]), *loss] if select == "cfs" else loss


def best_of_each(history: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, int]]:
    """Best value of each metric over the test scores of all epochs, and the epoch it is of: the first such.

    What DCGN's released code prints at the end of a run.
    """
    values: dict[str, float] = {}
    epochs: dict[str, int] = {}
    for entry in history:
        for name, value in entry.get("test", {}).items():
            if name not in values or value > values[name]:
                values[name], epochs[name] = value, int(entry["epoch"])
    return values, epochs


def how_chosen(select: str) -> str:
    """How the epoch was chosen, for people."""
    return {
        "cfs": "chosen by CFS on held-out training videos; the test split took no part",
        "loss": "chosen by cross entropy on held-out training videos; the test split took no part",
        "last": "the last one; the test split took no part",
        ORACLE: "ORACLE: chosen by CFS on the test split",
    }.get(select, f"chosen by {select}")
