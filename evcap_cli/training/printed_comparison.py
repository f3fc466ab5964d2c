"""Scores of a run next to the rows that the paper prints, as text and as Markdown, where the two may be compared.

Printed rows are quoted, never computed. They are shown only where the test split of the run is that of EmVidCap-L,
the lexicon is EmVidCap's own, the appearance features are those of a printed table and no stream is a surrogate made
from captions: next to any other number they would mislead.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from evcap_cli import plugins
from evcap_cli.console import counted
from evcap_cli.data.origins import labels_note
from evcap_cli.data.published_backbones import published_backbone
from evcap_cli.scoring.metrics import COLUMNS, METRICS, PRINTED_DECIMALS, metric_text
from evcap_cli.scoring.published_rows import SOURCE, PublishedRow, published_rows
from evcap_cli.training.recipe import ORACLE
from evcap_cli.training.recipe_tables import FUSION

TEST_VIDEOS: Final = 382
"""Videos of EmVidCap-L's test split."""
_L_ID: Final = re.compile(r"(?:vid)?[1-8]\d{4}")


def rows_beside(
    appearance: str,
    without: Sequence[str],
    split: Collection[str],
    *,
    official: bool,
    system: str = FUSION,
    surrogates: Sequence[str] = (),
    labels_by: str = "",
) -> tuple[list[PublishedRow], str]:
    """Printed rows that may be compared with a run, and else the reason why none may.

    Args:
        appearance: name of the backbone, as a checkpoint has it.
        without: modules that are off.
        split: ids of the whole test split.
        official: whether the lexicon is EmVidCap's own.
        system: that was trained; only the paper's own has rows of an ablation.
        surrogates: streams that were made from captions.
        labels_by: what wrote the references, where people did not.
    """
    if surrogates:
        return [], f"surrogates made from captions, not features of videos: {', '.join(surrogates)}"
    if labels_by:
        return [], f"the references are {labels_note(labels_by)}"
    if len(split) != TEST_VIDEOS or not all(_L_ID.fullmatch(video) for video in split):
        return (
            [],
            f"this is not EmVidCap-L's test split ({counted(len(split), 'video')} here, {TEST_VIDEOS} there)",
        )
    if not official:
        return [], "the lexicon is not EmVidCap's own"
    backbone = published_backbone(appearance)
    if backbone == "resnet":
        return published_rows("table1"), ""
    if backbone == "clip":
        rows = published_rows("table3") if system == FUSION else []
        ablation = [row for row in rows if sorted(row.without) == sorted(without)]
        return [*published_rows("table2"), *ablation], ""
    return [], f"no printed row has the features of {appearance}"


def quoted(rows: Sequence[PublishedRow]) -> list[dict[str, Any]]:
    """Printed rows as plain values, for test.json."""
    return [
        {
            "table": row.table,
            "system": row.system,
            "model": row.model,
            "without": list(row.without),
            "values": row.metrics,
            "quoted": True,
        }
        for row in rows
    ]


def text_table(document: Mapping[str, Any]) -> list[str]:
    """The table on a terminal.

    Args:
        document: what test.json holds.
    """
    rows = _rows(document)
    wide = max(len(title) for title, _ in rows)
    lexicon = document["lexicon"]["name"]
    lines = [
        f"test split: {counted(document['videos'], 'video')}, {document['protocol']} protocol, lexicon {lexicon}",
        " ".join([" " * wide, *(f"{head:>6}" for head in COLUMNS)]),
    ]
    lines += [" ".join([title.ljust(wide), *(f"{text:>6}" for text in _texts(values))]) for title, values in rows]
    return [*lines, *_remarks(document)]


def markdown_table(document: Mapping[str, Any]) -> str:
    """The table of a model card; see ``text_table``."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join([title.strip(), *_texts(values)]) + " |" for title, values in _rows(document)]
    remarks = _remarks(document)
    return "\n".join(lines) + "\n" + ("\n" + "".join(f"- {remark}\n" for remark in remarks) if remarks else "")


def _rows(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float | None]]]:
    oracle = document["select"] == ORACLE
    mark = " (SURROGATE features)" if document.get("surrogate") else ""
    title = f"this run{mark}, epoch {document['epoch']} of {document['epochs']}"
    rows: list[tuple[str, Mapping[str, float | None]]] = [
        (title + (" (ORACLE)" if oracle else ""), document["metrics"])
    ]
    intervals = document.get("intervals", {})
    for number, side in enumerate(("from", "to")):
        if intervals:
            rows.append((f"  95 % {side}", {name: pair[number] for name, pair in intervals.items()}))
    if "oracle" in document:
        rows.append((f"this run{mark}, best epoch of each (ORACLE)", document["oracle"]["metrics"]))
    for row in document["published"]:
        table = row["table"].replace("table", "Table ")
        off = f"without {' and '.join(row['without'])}; " if row["without"] else ""
        same = "the same system; " if _same(row, document) else ""
        rows.append((f"{row['system']} ({same}{off}{table}, quoted)", row["values"]))
    return rows


def _texts(values: Mapping[str, float | None]) -> list[str]:
    return [metric_text(values.get(name), PRINTED_DECIMALS) for name in METRICS]


def _same(row: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether a printed row is of what was trained: the system, with the same modules off."""
    trained = (document["system"], sorted(document["without"]))
    return (row["model"], sorted(row["without"])) == trained


def _remarks(document: Mapping[str, Any]) -> list[str]:
    if document["published"]:
        remarks = [f"quoted as printed: {SOURCE}; the paper does not say how its epochs were chosen"]
        if not any(_same(row, document) for row in document["published"]):
            spec = plugins.systems().get(document["system"])
            shown = "this system" if spec is None else spec.shown
            remarks.append(f"no row of {shown} is printed on these features")
        return remarks
    return [f"the paper's rows are not shown: {document['published_reason']}"]
