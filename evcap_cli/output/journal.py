"""The journal of a run: ``OUT.partial/`` next to the output carries finished videos over a kill, a full disk or Ctrl-C.

One line a finished video is appended and flushed to disk. A kill can cut the last line only: reading drops what does
not end in a line feed. The first line names the settings; a journal of other settings is not continued.

Opening reads no records, only where each one lies: memory does not grow with their number, and a million are open
within seconds. A record is read when it is looked up.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from evcap_cli.errors import UsageError, WriteError
from evcap_cli.files import take_lock, write_error
from evcap_cli.output.record_files import read_entry
from evcap_cli.output.records import Record
from evcap_cli.reading.typed import NotOfType
from evcap_cli.scratch import Scratch, packed, unpacked

RECORDS = "records.jsonl"
_ENTRY: Final = re.compile(rb'\{"key": ("(?:[^"\\]|\\.)*"), "stamp": (\[[-0-9, ]*\]), "record": \{.*\}\}\n', re.DOTALL)
_INDEX: Final = "CREATE TABLE finished (key BLOB PRIMARY KEY, start INTEGER, stamp TEXT NOT NULL) WITHOUT ROWID"
"""``start`` is the place of the line; NULL: looked up, but not finished as it is now."""
_PUT: Final = "INSERT OR REPLACE INTO finished VALUES (?, ?, ?)"


def stamp(path: Path) -> list[int]:
    """Size and modification time: whether a file is still the one that a journal speaks of."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


class Journal:
    """Finished records of one plan; use as a context manager, call ``finish`` when the outputs stand.

    Args:
        folder: ``OUT.partial``. settings: what the records depend on besides the videos themselves.

    Raises:
        UsageError: another process is writing the same output.
        WriteError: the folder cannot be written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = json.dumps(settings, sort_keys=True)
        self._index = Scratch(_INDEX)
        self._file: IO[bytes] | None = None
        self._reader: IO[bytes] | None = None
        self._lock: int | None = None

    def __enter__(self) -> Journal:
        path = self.folder / RECORDS
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
            if take_lock(self._lock) is False:
                raise UsageError(
                    "another evcap is writing this output", path=self.folder, hint="wait for it, or choose another -o"
                )
            whole = self._read(path)
            self._file = path.open("r+b" if whole else "wb")
            self._file.truncate(whole)
            self._file.seek(whole)
            self._reader = path.open("rb")
            if not whole:
                self._append(self.settings.encode())
        except OSError as problem:
            self._close()
            raise write_error(self.folder, problem) from problem
        except BaseException:
            self._close()
            raise
        return self

    def _read(self, path: Path) -> int:
        """Find whole lines of the same settings; returns how many bytes of the file stand."""
        try:
            with path.open("rb") as file:
                first = file.readline()
                if first != self.settings.encode() + b"\n":
                    return 0
                self._index.change_many(_PUT, _places(file, len(first)))
                end = file.tell()
                file.seek(max(end - 1, 0))
                return end if file.read(1) == b"\n" else _last_line_end(file, end)
        except FileNotFoundError:
            return 0

    def get(self, key: str, path: Path) -> Record | None:
        """The finished record of ``key``, if its file has not changed since."""
        row = self._index.row("SELECT start, stamp FROM finished WHERE key = ?", (packed(key),))
        # as it is now: a video that changes while it is captioned is not finished
        changed = json.dumps(stamp(path))
        record = None if row is None or row[0] is None or row[1] != changed else self._at(row[0], key)
        if record is None:
            self._index.change(_PUT, (packed(key), None, changed))
        return record

    def read(self, key: str) -> Record | None:
        """The record of ``key`` that ``get`` found or ``add`` has added; None: there is none.

        Raises:
            WriteError: it was there, but cannot be read any more.
        """
        row = self._index.row("SELECT start FROM finished WHERE key = ?", (packed(key),))
        if row is None or row[0] is None:
            return None
        record = self._at(row[0], key)
        if record is None:
            raise WriteError(
                f"the record of {key} was changed on disk",
                path=self.folder / RECORDS,
                hint="run the same command again",
            )
        return record

    def keys(self) -> Iterator[str]:
        """Keys of all finished records, sorted."""
        query = "SELECT key FROM finished WHERE key > ? AND start IS NOT NULL ORDER BY key LIMIT ?"
        return (unpacked(key) for (key,) in self._index.pages(query, b""))

    def forget(self, key: str) -> None:
        """The record of ``key`` is not of this run; ``add`` may add another."""
        self._index.change("UPDATE finished SET start = NULL WHERE key = ?", (packed(key),))

    def _at(self, start: int, key: str) -> Record | None:
        """The record of the line at ``start``; None: a disk has damaged it, which costs its video only."""
        if self._reader is None:
            raise RuntimeError("the journal is not open: use it as a context manager")
        try:
            self._reader.seek(start)
            named, _, record = read_entry(self._reader.readline())
        except OSError as problem:
            raise write_error(self.folder / RECORDS, problem) from problem
        except NotOfType:
            return None
        return record if named == key else None

    def add(self, key: str, path: Path, record: Record) -> None:
        """Put one finished video on disk.

        Raises:
            WriteError: the disk is full; what was added before stands.
        """
        row = self._index.row("SELECT stamp FROM finished WHERE key = ?", (packed(key),))
        entry = {"key": key, "stamp": json.loads(row[0]) if row else stamp(path), "record": record.to_dict()}
        try:
            start = self._append(json.dumps(entry).encode())
        except OSError as problem:
            raise write_error(self.folder / RECORDS, problem) from problem
        self._index.change(_PUT, (packed(key), start, json.dumps(entry["stamp"])))

    def _append(self, line: bytes) -> int:
        """Put a line on disk; returns its place."""
        if self._file is None:
            raise RuntimeError("the journal is not open: use it as a context manager")
        start = self._file.tell()
        self._file.write(line + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        return start

    def finish(self) -> None:
        """The outputs stand: remove the journal."""
        self._close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _close(self) -> None:
        for file in (self._file, self._reader):
            # a full disk was reported by the write that met it
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
        self._file = self._reader = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def _places(file: IO[bytes], start: int) -> Iterator[tuple[bytes, int, str]]:
    """Key, place and stamp of the whole lines from ``start`` on; those that are none of ours are passed by."""
    for line in file:
        entry = _ENTRY.fullmatch(line)
        if entry is not None:
            with contextlib.suppress(ValueError):
                key = entry[1][1:-1].decode() if b"\\" not in entry[1] else json.loads(entry[1])
                yield packed(key), start, entry[2].decode()
        start += len(line)


def _last_line_end(file: IO[bytes], end: int) -> int:
    """How many bytes of a file are whole lines, where the last is cut."""
    block = 1 << 16
    while end:
        start = max(end - block, 0)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
