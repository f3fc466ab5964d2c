"""The ledger's table in docs/benchmarks.md, between two markers; the prose around it is written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evcap_cli.files import write_whole
from tests.benchmarks.ledger import DONE, Entry

BEGIN, END = "<!-- ledger: written by python -m tests.benchmarks --write -->", "<!-- end of the ledger -->"
NONE = "No benchmark was taken yet."
FACTS = {
    "cpu": "{}",
    "cores": "{} cores",
    "memory": "{} of memory",
    "python": "Python {}",
    "torch": "torch {}",
    "OMP_NUM_THREADS": "OMP_NUM_THREADS={}",
    "gpu": "{}",
}
BUSY = "busy machine"


def render(entries: Mapping[str, Entry]) -> str:
    """A table for each machine: what, median with spread and rounds, goal, and the module with its commit.

    A figure that was taken while others used the machine says so, and a benchmark that failed is a row.
    """
    machines: dict[str, dict[str, Entry]] = {}
    for name, entry in sorted(entries.items()):
        machines.setdefault(_machine(entry.machine), {})[name] = entry
    return "\n\n".join(_table(machine, of) for machine, of in machines.items()) or NONE


def _machine(facts: Mapping[str, str]) -> str:
    return ", ".join(FACTS[name].format(fact) for name, fact in facts.items())


def _table(machine: str, entries: Mapping[str, Entry]) -> str:
    days = sorted({entry.date[:10] for entry in entries.values()})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    busy = [name for name, entry in entries.items() if entry.busy]
    state = f"Figures marked *{BUSY}* were taken while other programs ran." if busy else "The machine was idle."
    lines = [f"{machine}; {when}. {state}", "", "| what | measured | goal | benchmark, commit |", "|---|---|---|---|"]
    for name, entry in entries.items():
        by = f"`{name}`, {entry.code}"
        mark = f", *{BUSY}*" if entry.busy else ""
        for row in entry.measured:
            goal = row.goal + (", **missed**" if row.met is False else "")
            lines.append(_row(row.what, row.figure + mark, goal, by))
        if entry.status != DONE:
            lines.append(_row(f"**{entry.status}**: {entry.error or 'taken again by the next run'}", "", "", by))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def with_table(page: str, table: str) -> str:
    """``page`` with another table between its markers.

    Raises:
        ValueError: it has not both, once and in order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ValueError(f"the lines '{BEGIN}' and '{END}' must be in it once, in this order")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def write_page(path: Path, entries: Mapping[str, Entry]) -> None:
    """Put the table into a page.

    Raises:
        ValueError: it has no place for it.
        OSError: it cannot be read.
        WriteError: it cannot be written.
    """
    write_whole(path, with_table(path.read_text("utf-8"), render(entries)))
