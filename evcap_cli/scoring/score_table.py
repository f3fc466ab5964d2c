"""Scores as people read them: tables of plain text, and the lines of ``--per-video``. Nothing is computed here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.console import counted
from evcap_cli.scoring.labels import LABELS
from evcap_cli.scoring.metric_parts import METRICS
from evcap_cli.scoring.published_rows import PUBLISHED, SOURCE, PublishedRow

if TYPE_CHECKING:
    from evcap_cli.scoring.score_texts import Comparison, Scores

_FEATURES: Final = {"resnet": "R101+RN", "clip": "CLIP"}
_DIGEST_SHOWN: Final = 12  # digits: enough to tell two lexicons apart; --json has all

Row = tuple[str, Mapping[str, float | None]]
"""A name and a value of each metric."""


def table(scores: Scores) -> str:
    """The eleven metrics, one a line, with their intervals; metrics of plugins below."""
    lexicon = scores.lexicon
    lines = [
        f"{counted(scores.videos, 'video')}, {scores.protocol} protocol, "
        f"lexicon {lexicon['name']} ({lexicon['digest'][:_DIGEST_SHOWN]})"
    ]
    for name, value in {**scores.metrics, **scores.extra}.items():
        line = f"{LABELS.get(name, name):<8} {metric_text(value):>7}"
        if name in scores.intervals:
            low, high = scores.intervals[name]
            line += f"   {low:.2f} to {high:.2f}"
        lines.append(line)
    return "\n".join([*lines, *scores.missing.values()])


def comparison_table(comparison: Comparison, this: str, other: str) -> str:
    """Both systems, their difference with its interval, and the p-value."""
    lines = [
        f"{this} less {other} on {counted(comparison.videos, 'video')},"
        f" {counted(comparison.resamplings, 'resampling')}",
        f"{'':<8} {'this':>7} {'other':>7} {'diff':>7}   {'95 % interval':<18} p",
    ]
    for name, found in comparison.metrics.items():
        spread = f"{found.low:+.2f} to {found.high:+.2f}"
        lines.append(
            f"{LABELS[name]:<8} {found.this:>7.2f} {found.other:>7.2f} {found.difference:>+7.2f}   {spread:<18} "
            f"{found.p:.3f}"
        )
    return "\n".join(lines)


def rows_table(rows: Sequence[Row], decimals: int = 2) -> str:
    """Systems below each other, metrics side by side, as the field prints them."""
    width = max(len(name) for name, _ in rows)
    head = " ".join(f"{LABELS[name]:>7}" for name in METRICS)
    body = [
        f"{name:<{width}} " + " ".join(f"{metric_text(values[metric], decimals):>7}" for metric in METRICS)
        for name, values in rows
    ]
    return "\n".join([f"{'':<{width}} {head}", *body])


def human_table(scores: Scores) -> str:
    """The human row and the system against the same references; empty where there is no human row."""
    row = scores.human
    if row is None:
        return ""
    videos, draws = counted(row.videos, "video"), counted(row.rounds, "draw")
    head = f"one reference of each of {videos} against its others, mean of {draws}"
    rows = [("people", row.person), ("this system, the same references", row.system)]
    return f"{head}\n{rows_table(rows)}"


def published_table() -> str:
    """The paper's rows as printed."""
    rows: list[Row] = [(_name(row), dict(zip(METRICS, row.values, strict=True))) for row in PUBLISHED]
    return f"quoted as printed, not computed here: {SOURCE}\n{rows_table(rows, decimals=1)}"


def published_dicts() -> dict[str, Any]:
    """The paper's rows as JSON has them."""
    rows = [
        {
            "table": row.table,
            "features": _FEATURES[row.backbone],
            "system": row.system,
            "metrics": dict(zip(METRICS, row.values, strict=True)),
        }
        for row in PUBLISHED
    ]
    return {"source": SOURCE, "quoted_as_printed": True, "rows": rows}


def _name(row: PublishedRow) -> str:
    return f"{row.table[:-1].capitalize()} {row.table[-1]}, {_FEATURES[row.backbone]}, {row.system}"


def per_video_lines(scores: Scores) -> str:
    """JSON lines, one a video in the order of the captions."""
    return "".join(json.dumps(video.to_dict(), ensure_ascii=False) + "\n" for video in scores.per_video)


def metric_text(value: float | None, decimals: int = 2) -> str:
    """A metric's value in a table."""
    return "-" if value is None else f"{value:.{decimals}f}"
