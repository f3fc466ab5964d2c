"""Captions in CSV and TSV: one a row, with a header or as two columns, file and caption.

A quoted cell may run over several lines; a stray quote never swallows the rows after it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from evcap_cli.console import counted
from evcap_cli.data.caption_files import SEPARATORS, unquoted
from evcap_cli.data.imports.caption_rows import (
    NOT_UTF8,
    REPLACED,
    UNDERSTOOD,
    CaptionRows,
    Role,
    check_given,
    role_columns,
    times_of,
)
from evcap_cli.errors import DataError
from evcap_cli.paths import is_video_name

LONGEST_CELL_LINES: Final = 50
"""A quote that is not closed within so many lines is a stray one."""
_SEPARATOR_LINE: Final = re.compile(r'"?sep=.?"?\s*', re.IGNORECASE)
"""What Excel takes for the name of the separator where it is the first line."""


def read_table(path: Path, text: str, given: Mapping[Role, str]) -> CaptionRows:
    """Rows of a table.

    Args:
        path: of the file.
        text: its content.
        given: role -> column, as the user says it.

    Raises:
        DataError: no separator gives a column of file names and one of captions.
    """
    lines = text.split("\n")
    if _SEPARATOR_LINE.fullmatch(lines[0]):
        lines[0] = ""
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    header = lines[first]
    for mark, name in SEPARATORS.items():
        cells = _row(lines, first, mark)[1]
        columns = role_columns(cells, given)
        if "file" in columns and "caption" in columns:
            check_given(given, cells, path)
            found = CaptionRows(path, f"a table with {name}s")
            _add_rows(found, _records(lines, first + 1, mark), cells, columns)
            return found
        if len(cells) == 2 and is_video_name(Path(cells[0]).name) and not given:
            found = CaptionRows(path, f"a table with {name}s and no header")
            _add_rows(found, _records(lines, first, mark), ["file", "caption"], {"file": "file", "caption": "caption"})
            return found
    cells = max((_row(lines, first, mark)[1] for mark in SEPARATORS), key=len)
    if len(cells) > 1:
        check_given(given, cells, path)
    shown = header.strip()[:60]
    raise DataError(f"line {first + 1}: no columns of file names and captions in {shown!r}", path=path, hint=UNDERSTOOD)


def _add_rows(
    found: CaptionRows, records: Iterator[tuple[int, list[str]]], names: Sequence[str], columns: Mapping[Role, str]
) -> None:
    place_of = {role: names.index(name) for role, name in columns.items()}
    for line, cells in records:
        place = f"{found.path}: line {line}"
        if len(cells) > len(names) and place_of["caption"] == len(names) - 1:
            cells = [*cells[: len(names) - 1], ", ".join(cells[len(names) - 1 :])]  # the separator is in the caption
        if any(REPLACED in cell for cell in cells):
            found.problem("encoding", place, NOT_UTF8)
        elif len(cells) != len(names):
            found.problem(
                "row", place, f"{counted(len(cells), 'cell')} where there are {len(names)} columns; mend the line"
            )
        else:
            values: dict[Role, str] = {role: cells[number].strip() for role, number in place_of.items()}
            if not values["file"]:
                found.problem("row", place, "names no video; mend the line")
                continue
            try:
                times = times_of(values.get("start"), values.get("end"))
            except ValueError as problem:
                found.problem("times", place, str(problem))
                continue
            found.add(place, values["file"], [values["caption"]], times, values.get("split"))


def _records(lines: Sequence[str], first: int, mark: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with a cell that is not blank, with the numbers of their first lines."""
    number = first
    while number < len(lines):
        used, cells = _row(lines, number, mark)
        if any(cell.strip() for cell in cells):
            yield number + 1, cells
        number += used


def _row(lines: Sequence[str], number: int, mark: str) -> tuple[int, list[str]]:
    """How many lines a row takes, and its cells; one line where its quotes are not those of a spreadsheet."""
    text = ""
    for used, line in enumerate(lines[number : number + LONGEST_CELL_LINES], 1):
        text += line.rstrip("\r") + "\n"
        try:
            rows = list(csv.reader([text], delimiter=mark, strict=True)) if '"' in text else []
        except csv.Error as problem:
            if "unexpected end" not in str(problem):
                break
            continue
        if len(rows) == 1:
            return used, rows[0]
        break
    return 1, _cells(lines[number], mark)


def _cells(line: str, mark: str) -> list[str]:
    return [unquoted(cell.strip()) for cell in line.rstrip("\r").split(mark)]
