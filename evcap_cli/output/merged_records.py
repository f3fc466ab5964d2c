"""Records of several JSONL files, such as those of shards, as one: sorted by path, on disk until they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from evcap_cli.errors import UsageError
from evcap_cli.interrupts import check_interrupted
from evcap_cli.output.record_files import iterate_records, read_line
from evcap_cli.output.records import Record
from evcap_cli.paths import name_key
from evcap_cli.scratch import Scratch, packed

_TABLES: Final = """
CREATE TABLE merged (name BLOB PRIMARY KEY, good INTEGER, lost INTEGER, line BLOB);
CREATE TABLE alike (key BLOB PRIMARY KEY, name BLOB) WITHOUT ROWID;
CREATE TABLE here (name BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE late (number INTEGER PRIMARY KEY, line BLOB);
"""


class MergedRecords:
    """Records by path, each once; iterating begins again each time."""

    def __init__(self) -> None:
        self._table = Scratch(_TABLES)

    def add(self, path: Path) -> None:
        """Take the records of a file: of a video that failed before or after, that which went well.

        Raises:
            DataError: it holds something else.
            UsageError: it captions a video differently than a file before.
        """
        self._table.change("DELETE FROM here")
        self._table.change("DELETE FROM late")
        for record in iterate_records(path):
            check_interrupted()
            self._table.change("INSERT OR IGNORE INTO here VALUES (?)", (packed(record.path),))
            name = self._name(record.path)
            if name == packed(record.path):
                self._put(name, record, path)
            else:  # whether these are two videos whose names look the same is known at the end of the file
                self._table.change("INSERT INTO late (line) VALUES (?)", (record.to_line().encode(),))
        for _, line in self._table.pages("SELECT number, line FROM late WHERE number > ? ORDER BY number LIMIT ?", 0):
            record = read_line(line)
            name = self._name(record.path)
            both = self._table.row("SELECT 1 FROM here WHERE name = ?", (name,)) is not None
            self._put(packed(record.path) if both else name, record, path)

    def _name(self, path: str) -> bytes:
        """What a video is called here, whose name may be written with other accents elsewhere."""
        name = packed(path)
        if self._table.row("SELECT 1 FROM merged WHERE name = ?", (name,)):
            return name
        key = packed(name_key(path))
        self._table.change("INSERT OR IGNORE INTO alike VALUES (?, ?)", (key, name))
        found = self._table.row("SELECT name FROM alike WHERE key = ?", (key,))
        return name if found is None else found[0]

    def _put(self, name: bytes, record: Record, path: Path) -> None:
        row = self._table.row("SELECT line FROM merged WHERE name = ? AND good", (name,))
        if row is not None:
            earlier = read_line(row[0])
            if replace(record, path=earlier.path, id=earlier.id) != earlier:
                if record.status == "ok":
                    raise UsageError(
                        f"{record.path} is captioned here and, differently, in an earlier file",
                        path=path,
                        hint="merge shards of one run only",
                    )
                return
        values = (name, record.status == "ok", record.lost_much, record.to_line().encode())
        self._table.change("INSERT OR REPLACE INTO merged VALUES (?, ?, ?, ?)", values)

    def __len__(self) -> int:
        return int((self._table.row("SELECT count(*) FROM merged") or (0,))[0])

    @property
    def lost_much(self) -> int:
        """How many videos lost more than a tenth of the picture or of the sound."""
        return int((self._table.row("SELECT total(lost) FROM merged") or (0,))[0])

    def __iter__(self) -> Iterator[Record]:
        query = "SELECT name, line FROM merged WHERE name > ? ORDER BY name LIMIT ?"
        return (read_line(line) for _, line in self._table.pages(query, b""))
