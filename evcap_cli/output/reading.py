"""Reading records back: for ``merge``, ``report``, ``score`` and ``--retry-failed``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from evcap_cli.errors import DataError
from evcap_cli.output.records import Record


def read_records(path: Path) -> list[Record]:
    """All records of a JSONL file.

    Raises:
        DataError: naming the file and line that is not a record.
    """
    return list(iterate_records(path))


def iterate_records(path: Path) -> Iterator[Record]:
    """The records of a JSONL file, one at a time; see ``read_records``."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _record(line, number, path)
    except OSError as problem:
        raise DataError(f"cannot read ({problem.strerror})", path=path, hint="check the path") from problem
    except UnicodeDecodeError as problem:
        raise DataError("is not UTF-8 text", path=path, hint="give a .jsonl that evcap caption wrote") from problem


def _record(line: str, number: int, path: Path) -> Record:
    hint = "give a .jsonl that evcap caption wrote"
    try:
        values = json.loads(line)
    except ValueError as problem:
        raise DataError(f"line {number} is not JSON ({problem})", path=path, hint=hint) from problem
    try:
        return Record.from_dict(values)
    except DataError as problem:
        raise DataError(f"line {number}: {problem.cause}", path=path, hint=hint) from problem
