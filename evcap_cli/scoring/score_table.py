"""Scores as people and programs read them: tables of plain text, JSON, JSON lines. Nothing is computed here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.console import counted
from evcap_cli.scoring.metrics import DECIMALS, LABELS, METRICS, PRINTED_DECIMALS, metric_text
from evcap_cli.scoring.published_rows import (
    LITERATURE_ROWS,
    LITERATURE_SOURCE,
    PUBLISHED_ROWS,
    SOURCE,
    PublishedRow,
    RowSet,
)

if TYPE_CHECKING:
    from evcap_cli.scoring.score_texts import Comparison, Scores

_FEATURES: Final = {"resnet": "R101+RN", "clip": "CLIP"}
_DIGEST_SHOWN: Final = 12  # digits: enough to distinguish two lexicons; --json has all

_NamedValues = tuple[str, Mapping[str, float | None]]
"""A name and a value of each metric."""


def score_text(scores: Scores, this: str, other: str, *, published: RowSet | None = None) -> str:
    """Everything that ``evcap score`` prints.

    Args:
        scores: of one system.
        this: what its captions are called.
        other: the same of the captions that they are compared with.
        published: which printed rows stand below.
    """
    parts = [_metrics_table(scores), _constant_table(scores), _human_table(scores)]
    if scores.comparison is not None:
        parts.append(_comparison_table(scores.comparison, this, other))
    if published is not None:
        source, rows = _printed(published)
        parts.append(f"quoted as printed, not computed here: {source}\n{_rows_table(rows, PRINTED_DECIMALS)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def score_json(scores: Scores, *, published: RowSet | None = None) -> str:
    """Everything that ``evcap score --json`` prints."""
    quoted = {} if published is None else {"published": _published_dicts(published)}
    return json.dumps({**scores.to_dict(), **quoted}, indent=1) + "\n"


def per_video_lines(scores: Scores) -> Iterator[str]:
    """JSON lines, one a video in the order of the captions."""
    return (json.dumps(video.to_dict(), ensure_ascii=False) + "\n" for video in scores.per_video)


def _metrics_table(scores: Scores) -> str:
    """The eleven metrics, one a line, with their intervals; metrics of plugins below."""
    lexicon = scores.lexicon
    lines = [
        f"{counted(scores.videos, 'video')}, {scores.protocol} protocol, "
        f"lexicon {lexicon['name']} ({lexicon['digest'][:_DIGEST_SHOWN]})"
    ]
    if scores.captioned_by is not None and scores.captioned_by.ready_made:
        lines.append(scores.captioned_by.title)
    for name, value in {**scores.metrics, **scores.extra}.items():
        line = f"{LABELS.get(name, name):<8} {metric_text(value):>7}"
        if name in scores.intervals:
            low, high = scores.intervals[name]
            line += f"   {low:.2f} to {high:.2f}"
        lines.append(line)
    return "\n".join([*lines, *scores.missing.values()])


def _comparison_table(comparison: Comparison, this: str, other: str) -> str:
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


def _constant_table(scores: Scores) -> str:
    """The system and the constant caption below each other; empty where none was scored."""
    row = scores.constant
    if row is None:
        return ""
    rows = [(_system(scores), scores.metrics), ("constant caption", row.metrics)]
    return f'next to one caption for every video, "{row.caption}"\n{_rows_table(rows)}'


def _system(scores: Scores) -> str:
    """The name of the row of what was scored."""
    captioner = scores.captioned_by
    return captioner.row if captioner is not None and captioner.ready_made else "this system"


def _human_table(scores: Scores) -> str:
    """The human row and the system against the same references; empty where there is no human row."""
    row = scores.human
    if row is None:
        return ""
    videos, draws = counted(row.videos, "video"), counted(row.rounds, "draw")
    head = f"one reference of each of {videos} against its others, mean of {draws}"
    whose = f"labels by {scores.references_by}" if scores.references_by else "people"
    rows = [(whose, row.person), (f"{_system(scores)}, the same references", row.system)]
    return f"{head}\n{_rows_table(rows)}"


def _rows_table(rows: Sequence[_NamedValues], decimals: int = DECIMALS) -> str:
    """Systems below each other, metrics side by side, as the field prints them."""
    width = max(len(name) for name, _ in rows)
    head = " ".join(f"{label:>7}" for label in LABELS.values())
    body = [
        f"{name:<{width}} " + " ".join(f"{metric_text(values[metric], decimals):>7}" for metric in METRICS)
        for name, values in rows
    ]
    return "\n".join([f"{'':<{width}} {head}", *body])


def _printed(which: RowSet) -> tuple[str, Sequence[_NamedValues]]:
    """Where rows were printed, and the rows."""
    if which == "literature":
        return LITERATURE_SOURCE, [(row.system, row.metrics) for row in LITERATURE_ROWS]
    return SOURCE, [(_name(row), row.metrics) for row in PUBLISHED_ROWS]


def _published_dicts(which: RowSet) -> dict[str, Any]:
    if which == "literature":
        source = LITERATURE_SOURCE
        rows: list[dict[str, Any]] = [{"system": row.system, "metrics": row.metrics} for row in LITERATURE_ROWS]
    else:
        source = SOURCE
        rows = [
            {"table": row.table, "features": _FEATURES[row.backbone], "system": row.system, "metrics": row.metrics}
            for row in PUBLISHED_ROWS
        ]
    return {"source": source, "quoted_as_printed": True, "rows": rows}


def _name(row: PublishedRow) -> str:
    return f"{row.table[:-1].capitalize()} {row.table[-1]}, {_FEATURES[row.backbone]}, {row.system}"
