"""Reading records back: for ``merge``, ``report``, ``score``, ``--retry-failed`` and the journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NotRequired, get_type_hints

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from evcap_cli.output.records import SCHEMA, Record
from evcap_cli.reading.typed import json_line, read_json_lines
from evcap_cli.scratch import Scratch

HINT: Final = "give a .jsonl that evcap caption wrote"


class _Checkpoint(TypedDict):
    name: str
    digest: str
    untrained: NotRequired[bool]
    stand_ins: NotRequired[dict[str, str]]
    weights: NotRequired[dict[str, str]]
    labels_by: NotRequired[str]
    dtype: NotRequired[str]
    revision: NotRequired[str]
    style: NotRequired[str]
    prompt: NotRequired[str]
    base: NotRequired[str]


class _Error(TypedDict):
    code: str
    message: str


_object: Any = TypedDict  # type checkers take no fields from a call
_finite = with_config(ConfigDict(strict=True, allow_inf_nan=False))
_FIELDS: Final = get_type_hints(Record, include_extras=True)
Line: Any = _finite(
    _object(
        "Line",  # every field is there, whatever has a default in Python
        {**_FIELDS, "schema": Literal[SCHEMA], "checkpoint": _Checkpoint | None, "error": _Error | None},
    )
)
_Entry: Any = _finite(_object("Entry", {"key": str, "stamp": list[int], "record": Line}))


def read_records(path: Path) -> list[Record]:
    """All records of a JSONL file.

    Raises:
        DataError: naming the file, the line and the field that is not a record's.
    """
    return list(iterate_records(path))


def iterate_records(path: Path) -> Iterator[Record]:
    """The records of a JSONL file, one at a time; see ``read_records``."""
    return (_record(values) for _, values in read_json_lines(Line, path, hint=HINT))


class RecordFile:
    """The records of a JSONL file, read each time they are iterated; those of a pipe are kept on disk.

    Raises:
        DataError: see ``read_records``; while iterating.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: Scratch | None = None
        if path.exists() and not path.is_file():
            self._kept = Scratch("CREATE TABLE kept (number INTEGER PRIMARY KEY, line BLOB)")
            lines = ((record.to_line().encode(),) for record in iterate_records(path))
            self._kept.change_many("INSERT INTO kept (line) VALUES (?)", lines)

    def __iter__(self) -> Iterator[Record]:
        if self._kept is None:
            return iterate_records(self.path)
        query = "SELECT number, line FROM kept WHERE number > ? ORDER BY number LIMIT ?"
        return (read_line(line) for _, line in self._kept.pages(query, 0))


def read_line(line: bytes) -> Record:
    """The record of one line.

    Raises:
        NotOfType: it is none.
    """
    return _record(json_line(Line, line))


def read_entry(line: bytes) -> tuple[str, list[int], Record]:
    """Key, stamp and record of a journal's line.

    Raises:
        NotOfType: it is none.
    """
    entry = json_line(_Entry, line)
    return entry["key"], entry["stamp"], _record(entry["record"])


def _record(values: dict[str, Any]) -> Record:
    del values["schema"]
    return Record(**values)
