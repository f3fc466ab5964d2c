"""A reproduced table for people: on the terminal, as Markdown, as one offline page; and as JSON.

No file holds a time stamp: the same runs give the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.files import write_whole
from evcap_cli.output.html_pages import page
from evcap_cli.scoring.metrics import LABELS, METRICS, PRINTED_DECIMALS, metric_text
from evcap_cli.scoring.published_rows import SOURCE

if TYPE_CHECKING:
    from evcap_experiments.reproduction.table_results import RowResult, TableResult, Value

TITLES: Final = {
    "table1": "Table 1: four systems on ResNet-101 and 3D-ResNeXt-101 features",
    "table2": "Table 2: three systems on CLIP features",
    "table3": "Table 3: what each module brings, on CLIP features",
}
GAINS: Final = "Gain over neither module"
COMPARED: Final = "Not trained here"
NAME_WIDTH, CELL_WIDTH = 16, 8
"""Characters of the terminal's columns."""


def write_tables(folder: Path, result: TableResult) -> list[Path]:
    """Write the table in all forms, each file whole.

    Raises:
        WriteError: no permission, a full disk.
    """
    contents = {
        ".md": to_markdown(result),
        ".html": to_html(result),
        ".json": json.dumps(result.to_dict(), indent=1, ensure_ascii=False) + "\n",
    }
    paths = [folder / f"{result.table}{suffix}" for suffix in contents]
    for path in paths:
        write_whole(path, contents[path.suffix])
    return paths


def lines_of(table: TableResult, result: RowResult) -> list[tuple[str, list[str]]]:
    """What stands in a row below each other: label and a cell for each metric."""
    values = [result.ours(metric) for metric in METRICS]
    lines = [("printed", [f"{result.printed[metric]:.1f}" for metric in METRICS])]
    if not result.scored:
        return [*lines, (words_for(result), [""] * len(METRICS))]
    several = len(result.scored) > 1
    lines.append((f"ours, {len(result.scored)} seeds" if several else "ours", [_number(value) for value in values]))
    if several:
        lines.append(("lowest seed", [_end(value, "spread", 0) for value in values]))
        lines.append(("highest seed", [_end(value, "spread", 1) for value in values]))
    if not table.foreign:
        lines.append(("difference", [signed(table.difference(result, metric)) for metric in METRICS]))
    lines.append(("95 % from", [_end(value, "interval", 0) for value in values]))
    lines.append(("95 % to", [_end(value, "interval", 1) for value in values]))
    return lines


def words_for(result: RowResult) -> str:
    """Why a row has no numbers of ours, in two words; the notes say more."""
    return {"not trained": "not trained here", "failed": "failed"}.get(result.state, "to come")


def _number(value: Value | None) -> str:
    return "-" if value is None else f"{value.value:.1f}"


def _end(value: Value | None, which: str, side: int) -> str:
    pair = None if value is None else getattr(value, which)
    return "-" if pair is None else f"{pair[side]:.1f}"


def signed(value: float | None) -> str:
    """With its sign, a minus that is none in the last digit avoided."""
    return "-" if value is None else f"{round(value, 1) + 0.0:+.1f}"


def explanation(table: TableResult) -> list[str]:
    """Sentences that stand above the numbers."""
    sentences = [f"Printed: {SOURCE}, as it stands there."]
    if table.foreign:
        sentences.append(
            "Ours and the printed numbers are not of the same thing, so there is no difference between them to read:"
        )
        sentences += [f"- {reason}" for reason in table.foreign]
        sentences.append("What each module brings can still be compared: see the gains below." if table.gains() else "")
    else:
        sentences.append("Difference: ours minus printed.")
    sentences.append(
        "95 %: bootstrap over the test videos for one trained model (of several seeds, from the lowest end to the"
        " highest); another seed moves the numbers too."
    )
    if not table.foreign:
        sentences.append("A printed number between the ends is no sign of a difference.")
    if table.compared:
        sentences.append(
            "Rows that are not trained here are scored on the same test split. One ref. fewer: against the references"
            " that are left when people are scored by one of them; compare such lines with each other alone."
        )
    sentences += [f"Their printed rows: {source}." for source in _sources(table)]
    return [line for line in sentences if line]


def _sources(table: TableResult) -> list[str]:
    """Where compared rows were printed, each once."""
    return list(dict.fromkeys(row.source for row in table.compared if row.source))


def compared_lines(table: TableResult) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Rows that are not trained here, with the lines below each other."""
    return [
        (
            row.title,
            [
                (label, [metric_text(values.get(metric), PRINTED_DECIMALS) for metric in METRICS])
                for label, values in row.lines()
            ],
        )
        for row in table.compared
    ]


def to_text(table: TableResult) -> str:
    """For a terminal: metrics from left to right."""
    head = _text_row("", list(LABELS.values()))
    out = [TITLES[table.table], "", head]
    for result in table.rows:
        out.append(title_of(result))
        out += [_text_row(label, cells) for label, cells in lines_of(table, result)]
    gains = gain_lines(table)
    compared = compared_lines(table)
    for title, rows in ((COMPARED, compared), (GAINS, gains)):
        out += ["", title] if rows else []
        for name, lines in rows:
            out += [name, *(_text_row(label, cells) for label, cells in lines)]
    out += ["", *explanation(table), *(f"- {note}" for note in table.notes)]
    return "\n".join(line.rstrip() for line in out) + "\n"


def _text_row(label: str, cells: list[str]) -> str:
    return f"{'  ' + label:<{NAME_WIDTH}}" + "".join(f"{cell:>{CELL_WIDTH}}" for cell in cells)


def gain_lines(table: TableResult) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Rows of an ablation that were trained, with the lines below each other; none where there is no gain to show."""
    return [
        (
            title_of(result),
            [
                (label, [signed(cells[metric][side]) for metric in METRICS])
                for side, label in enumerate(("printed", "ours"))
            ],
        )
        for result, cells in table.gains()
        if any(ours is not None for _, ours in cells.values())
    ]


def title_of(result: RowResult) -> str:
    """The row's name, or that of what was trained for it where that is something else."""
    return (result.row.title if result.row.runs else "") or result.row.printed.system


def to_markdown(table: TableResult) -> str:
    """The table for a README or a paper's supplement."""
    out = [f"# {TITLES[table.table]}", "", *_spaced(explanation(table)), ""]
    out += [_md_row(["", "", *LABELS.values()]), _md_row(["---", "---", *["---:"] * len(METRICS)])]
    for result in table.rows:
        for number, (label, cells) in enumerate(lines_of(table, result)):
            out.append(_md_row([f"**{title_of(result)}**" if number == 0 else "", label, *cells]))
    for title, rows in ((COMPARED, compared_lines(table)), (GAINS, gain_lines(table))):
        if rows:
            out += ["", f"## {title}", ""]
            out += [_md_row(["", "", *LABELS.values()]), _md_row(["---", "---", *["---:"] * len(METRICS)])]
        for name, lines in rows:
            out += [
                _md_row([f"**{name}**" if number == 0 else "", label, *cells])
                for number, (label, cells) in enumerate(lines)
            ]
    if table.notes:
        out += ["", "## Notes", "", *(f"- {note}" for note in table.notes)]
    return "\n".join(out) + "\n"


def _md_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _spaced(lines: list[str]) -> list[str]:
    """Paragraphs apart, list entries together."""
    out: list[str] = []
    for line in lines:
        if out and not (line.startswith("- ") and out[-1].startswith("- ")):
            out.append("")
        out.append(line)
    return out


def to_html(table: TableResult) -> str:
    """One page that loads nothing from anywhere."""
    scales = {metric: _scale(table, metric) for metric in METRICS}
    directions = {title_of(result): [_direction(ours) for _, ours in cells.values()] for result, cells in table.gains()}
    gains = [
        (name, list(zip(printed, ours, directions[name], strict=True)))
        for name, ((_, printed), (_, ours)) in gain_lines(table)
    ]
    return (
        page(
            "evcap_experiments.reproduction",
            "table.html",
            {},
            title=TITLES[table.table],
            source=SOURCE,
            labels=list(LABELS.values()),
            rows=[
                (title_of(result), result, words_for(result), [_cell(table, result, m, scales[m]) for m in METRICS])
                for result in table.rows
            ],
            foreign=table.foreign,
            notes=table.notes,
            gains=gains,
            compared=compared_lines(table),
            sources=_sources(table),
            several=any(len(result.scored) > 1 for result in table.rows),
        )
        + "\n"
    )


def _scale(table: TableResult, metric: str) -> tuple[float, float]:
    """From the lowest to the highest number of a metric, with a little room."""
    numbers = [] if table.foreign else [result.printed[metric] for result in table.rows]
    for result in table.rows:
        value = result.ours(metric)
        if value is not None:
            numbers += [value.value, *(value.interval or ())]
    if not numbers:
        return 0.0, 1.0
    low, high = min(numbers), max(numbers)
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


def _cell(table: TableResult, result: RowResult, metric: str, scale: tuple[float, float]) -> dict[str, Any]:
    """One metric of one row on the page; places are shares of the metric's own scale, in per cent."""

    def place(number: float) -> float:
        return round(100 * (number - scale[0]) / (scale[1] - scale[0]), 2)

    value, difference = result.ours(metric), table.difference(result, metric)
    low, high = (0.0, 0.0) if value is None or value.interval is None else value.interval
    there = value is not None and value.interval is not None
    return {
        "printed": f"{result.printed[metric]:.1f}",
        "ours": "" if value is None else f"{value.value:.1f}",
        "difference": "" if difference is None else signed(difference),
        "direction": _direction(difference),
        "interval": f"{low:.1f} to {high:.1f}" if there else "",
        "spread": "" if value is None or value.spread is None else f"{value.spread[0]:.1f} to {value.spread[1]:.1f}",
        "dot": None if value is None else place(value.value),
        "tick": None if table.foreign else place(result.printed[metric]),
        "left": place(low) if there else 0.0,
        "width": round(place(high) - place(low), 2) if there else 0.0,
    }


def _direction(value: float | None) -> str:
    if value is None or abs(value) < 0.05:
        return "even"
    return "up" if value > 0 else "down"
