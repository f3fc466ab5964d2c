"""The videos of a run, in a plan on disk: memory does not grow with their number.

Ids, order and shards need all videos at once, so they are found here, in a private table (``scratch.py``). What a
plan gives out looks like a list: ``sources[7]``, ``sources[1::4]``, ``len(sources)``, ``for source in sources``.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, overload

from evcap_cli.paths import file_identity, name_key
from evcap_cli.scratch import Scratch, packed, unpacked

PAGE: Final = 500
"""Sources that are read from the table at a time."""
_FOUND: Final = """
CREATE TABLE found (given BLOB PRIMARY KEY, absolute BLOB UNIQUE, relative BLOB, id BLOB, alike BLOB) WITHOUT ROWID;
CREATE TABLE plan (place INTEGER PRIMARY KEY, given BLOB, relative BLOB, id BLOB);
"""


@dataclass(frozen=True)
class Source:
    """One video of the plan.

    Args:
        path: where it lies. given: the path as the user would write it, with forward slashes; records carry it.
        relative: its place below the folder it was found in, for mirrored trees. id: see design, unique in the plan.
    """

    path: Path
    given: str
    relative: PurePosixPath
    id: str = ""


_OTHER_IDS: Final = (
    lambda source: source.relative.with_suffix(""),
    lambda source: PurePosixPath(source.given).with_suffix(""),
    lambda source: source.given,
)
"""What is the id of a source where those before it collide; the last may collide with the stem of another once more."""


def with_ids(sources: Sequence[Source]) -> list[Source]:
    """Give each source its id: the file's stem, or where they collide the relative path without suffix."""
    ids = [source.path.stem for source in sources]

    def told_apart(other: Callable[[Source], Any]) -> list[str]:
        count = Counter(map(name_key, ids))
        return [
            str(other(source)) if count[name_key(name)] > 1 else name for source, name in zip(sources, ids, strict=True)
        ]

    for other in _OTHER_IDS:
        ids = told_apart(other)
    while (changed := told_apart(_OTHER_IDS[-1])) != ids:
        ids = changed
    return [replace(source, id=name) for source, name in zip(sources, ids, strict=True)]


class SourceTable:
    """Sources on disk: ``add`` those found, then ``plan`` them once."""

    def __init__(self) -> None:
        self.table = Scratch(_FOUND)

    def add(self, sources: Iterable[Source]) -> None:
        """Keep those of another path than all before: two links to one file are two videos of a data set."""
        rows = (
            (
                packed(source.given),
                packed(os.path.abspath(source.path)),  # noqa: PTH100  no link of a path is resolved
                packed(str(source.relative)),
                packed(source.path.stem),
                packed(name_key(source.path.stem)),
            )
            for source in sources
        )
        self.table.change_many("INSERT OR IGNORE INTO found VALUES (?, ?, ?, ?, ?)", rows)

    def plan(self) -> PlannedSources:
        """The sources sorted by name, each with its id as of ``with_ids``."""
        for other in _OTHER_IDS:
            self._tell_apart(other)
        while self._tell_apart(_OTHER_IDS[-1]):
            pass
        self.table.change("INSERT INTO plan (given, relative, id) SELECT given, relative, id FROM found ORDER BY given")
        count = self.table.row("SELECT count(*) FROM plan")
        self.table.change("DROP TABLE found")
        return PlannedSources(self.table, range(1, 1 + (count or (0,))[0]))

    def _tell_apart(self, other: Callable[[Source], Any]) -> bool:
        """Give those whose ids collide now another one; whether that changed any."""
        changed = 0
        self.table.change("CREATE INDEX by_name ON found (alike)")
        self.table.change("CREATE TEMP TABLE several AS SELECT alike FROM found GROUP BY alike HAVING count(*) > 1")
        self.table.change("CREATE UNIQUE INDEX one ON several (alike)")
        query = """SELECT given, relative FROM found
            WHERE given > ? AND alike IN (SELECT alike FROM several) ORDER BY given LIMIT ?"""
        # a page at a time: each source comes once, whatever its new id collides with
        for given, relative in self.table.pages(query, b"", PAGE):
            name = str(other(_source(given, relative)))
            change = "UPDATE found SET id = ?, alike = ? WHERE given = ? AND id <> ?"
            changed += self.table.change(change, (packed(name), packed(name_key(name)), given, packed(name)))
        self.table.change("DROP INDEX by_name")
        self.table.change("DROP TABLE several")
        return changed > 0


def _source(given: bytes, relative: bytes, name: bytes = b"") -> Source:
    text = unpacked(given)
    return Source(Path(text), text, PurePosixPath(unpacked(relative)), unpacked(name))


class PlannedSources(Sequence[Source]):
    """Sources of a table, or some of them.

    Args:
        table: of a ``SourceTable``.
        places: theirs in it, rising.
    """

    def __init__(self, table: Scratch, places: Sequence[int]) -> None:
        self._table, self._places = table, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, number: int) -> Source: ...
    @overload
    def __getitem__(self, number: slice) -> PlannedSources: ...
    def __getitem__(self, number: int | slice) -> Source | PlannedSources:
        if isinstance(number, slice):
            return PlannedSources(self._table, self._places[number])
        row = self._table.row("SELECT given, relative, id FROM plan WHERE place = ?", (self._places[number],))
        if row is None:
            raise RuntimeError("a place that the plan does not have")
        return _source(*row)

    def __iter__(self) -> Iterator[Source]:
        return (_source(*row) for row in self._rows())

    def names(self) -> Iterator[tuple[str, str]]:
        """``given`` and ``id`` of each; a path takes longer to make than all else."""
        for given, _, name in self._rows():
            yield unpacked(given), unpacked(name)

    def _rows(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        for start in range(0, len(self), PAGE):
            places = self._places[start : start + PAGE]
            query = "SELECT given, relative, id FROM plan WHERE place IN ({}) ORDER BY place"
            yield from self._table.rows(query.format(",".join(map(str, places))))

    def some(self, numbers: Iterable[int]) -> PlannedSources:
        """Those of these numbers, which rise."""
        return PlannedSources(self._table, array("q", (self._places[number] for number in numbers)))


def some_of(sources: Sequence[Source], numbers: Iterable[int]) -> Sequence[Source]:
    """Those of these numbers, which rise, without a list of them where the plan is on disk."""
    if isinstance(sources, PlannedSources):
        return sources.some(numbers)
    return [sources[number] for number in numbers]


def names_of(sources: Sequence[Source]) -> Iterator[tuple[str, str]]:
    """``given`` and ``id`` of each."""
    if isinstance(sources, PlannedSources):
        return sources.names()
    return ((source.given, source.id) for source in sources)


class SameFiles:
    """Which files have several names (links), found in one pass over their paths.

    Args:
        paths: numbered from 0. Another suffix makes another file: the decoder may go by it.

    Attributes:
        firsts: numbers of the first names of all files, rising.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._table = Scratch(
            """CREATE TABLE files (identity BLOB PRIMARY KEY, first INTEGER) WITHOUT ROWID;
            CREATE TABLE others (number INTEGER PRIMARY KEY, first INTEGER);
            CREATE INDEX names ON others (first);"""
        )
        firsts = array("q")
        count = 0
        for number, path in enumerate(paths):
            count += 1
            identity = packed(repr((file_identity(os.fspath(path)), path.suffix.lower())))
            if self._table.change("INSERT OR IGNORE INTO files VALUES (?, ?)", (identity, number)):
                firsts.append(number)
            else:
                put = "INSERT INTO others SELECT ?, first FROM files WHERE identity = ?"
                self._table.change(put, (number, identity))
        self._table.change("DROP TABLE files")
        self.firsts: Sequence[int] = range(count) if len(firsts) == count else firsts

    def first(self, number: int) -> int:
        """The first name of the file that has this one."""
        row = self._table.row("SELECT first FROM others WHERE number = ?", (number,))
        return number if row is None else row[0]

    def others(self, first: int) -> list[int]:
        """The other names of the file whose first one this is, rising."""
        return [number for (number,) in self._table.rows("SELECT number FROM others WHERE first = ?", (first,))]

    def last(self, first: int) -> int:
        """The last name of the file whose first one this is."""
        row = self._table.row("SELECT max(number) FROM others WHERE first = ?", (first,))
        return first if row is None or row[0] is None else row[0]
