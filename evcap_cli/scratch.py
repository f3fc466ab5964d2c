"""Tables on disk for what grows with the number of videos: plans, indexes, records to be sorted.

SQLite from the standard library, in a private database without a name: the system removes it when the process ends,
however it ends. Once it is larger than ``CACHE_KIB`` it lies where temporary files do (``SQLITE_TMPDIR``, ``TMPDIR``,
/var/tmp, /tmp); smaller ones stay in memory.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.errors import WriteError

if TYPE_CHECKING:
    import sqlite3

CACHE_KIB: Final = 4096
"""Of a database that is kept in memory."""


def packed(text: str) -> bytes:
    """A text, such as a file name that is not Unicode, as bytes that sort as Python sorts texts."""
    return text.encode("utf-8", "surrogatepass")


def unpacked(data: bytes) -> str:
    """The text of ``packed``."""
    return data.decode("utf-8", "surrogatepass")


class Scratch:
    """A private database; gone with the object. Several threads may use it: each call is one step.

    Args:
        schema: SQL that makes its tables.

    Raises:
        WriteError: there is no room where temporary files go; so do all methods.
    """

    def __init__(self, schema: str) -> None:
        import sqlite3  # here: every call of evcap loads this module

        self._failure = sqlite3.OperationalError
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        weakref.finalize(self, self._database.close)
        # nothing outlives the process, so nothing is ever rolled back or flushed: one transaction without an end
        for line in (f"cache_size = -{CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF"):
            self.change(f"PRAGMA {line}")
        self._database.executescript(schema)
        self.change("BEGIN")

    def change(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run one statement; returns how many rows it changed."""
        with self._lock:
            try:
                return self._database.execute(sql, values).rowcount
            except self._failure as problem:
                raise _no_room(problem) from problem

    def change_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of ``rows``, which must not use this database."""
        with self._lock:
            try:
                self._database.executemany(sql, rows)
            except self._failure as problem:
                raise _no_room(problem) from problem

    def row(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row that a query finds; None: there is none."""
        rows = self.rows(sql, values, 1)
        return rows[0] if rows else None

    def rows(self, sql: str, values: Sequence[Any] = (), most: int = -1) -> list[tuple[Any, ...]]:
        """The rows that a query finds, or its first ``most``."""
        with self._lock:
            try:
                found = self._database.execute(sql, values)
                return found.fetchall() if most < 0 else found.fetchmany(most)
            except self._failure as problem:
                raise _no_room(problem) from problem

    def pages(self, sql: str, key: Any, size: int = 500) -> Iterator[tuple[Any, ...]]:
        """All rows of a query, ``size`` at a time: the tables may change between two of them.

        Args:
            sql: with two places, ``key > ?`` and ``LIMIT ?``; its first column is that key, in rising order.
            key: smaller than all.
            size: rows in memory at a time.
        """
        while True:
            rows = self.rows(sql, (key, size))
            yield from rows
            if len(rows) < size:
                return
            key = rows[-1][0]


def _no_room(problem: sqlite3.OperationalError) -> WriteError:
    return WriteError(
        f"temporary tables cannot be written ({problem})",
        hint="free space where temporary files go, or set TMPDIR to a folder that has some",
    )
