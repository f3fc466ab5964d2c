"""The journal of a run: ``OUT.partial/`` next to the output carries finished videos over a kill, a full disk or Ctrl-C.

One line a finished video is appended and flushed to disk. A kill can cut the last line only: reading drops what does
not end in a line feed. The first line names the settings; a journal of other settings is not continued.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from filelock import FileLock, Timeout

from evcap_cli.errors import UsageError
from evcap_cli.files import write_error
from evcap_cli.output.record_files import read_entry
from evcap_cli.output.records import Record
from evcap_cli.reading.typed import NotOfType

RECORDS = "records.jsonl"


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
        self.done: dict[str, tuple[list[int], Record]] = {}
        self._stamps: dict[str, list[int]] = {}
        """As they were when a record was looked up: a video that changes while it is captioned is not finished."""
        self._file: IO[bytes] | None = None
        self._lock = FileLock(folder / "lock")

    def __enter__(self) -> Journal:
        path = self.folder / RECORDS
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            whole = self._read(path)
            self._file = path.open("r+b" if whole else "wb")
            self._file.truncate(whole)
            self._file.seek(whole)
            if not whole:
                self._append(self.settings.encode())
        except Timeout:
            raise UsageError(
                "another evcap is writing this output", path=self.folder, hint="wait for it, or choose another -o"
            ) from None
        except OSError as problem:
            raise write_error(self.folder, problem) from problem
        return self

    def _read(self, path: Path) -> int:
        """Take over whole lines of the same settings; returns how many bytes of the file stand."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return 0
        end = 0
        for line in data.split(b"\n")[:-1]:
            if end == 0 and line != self.settings.encode():
                return 0
            # a line that a disk has damaged costs its video only
            with contextlib.suppress(NotOfType):
                if end:
                    key, changed, record = read_entry(line)
                    self.done[key] = (changed, record)
            end += len(line) + 1
        return end

    def get(self, key: str, path: Path) -> Record | None:
        """The finished record of ``key``, if its file has not changed since."""
        known, changed = self.done.get(key), stamp(path)
        self._stamps[key] = changed
        return known[1] if known is not None and known[0] == changed else None

    def add(self, key: str, path: Path, record: Record) -> None:
        """Put one finished video on disk.

        Raises:
            WriteError: the disk is full; what was added before stands.
        """
        entry = {"key": key, "stamp": self._stamps.get(key) or stamp(path), "record": record.to_dict()}
        try:
            self._append(json.dumps(entry).encode())
        except OSError as problem:
            raise write_error(self.folder / RECORDS, problem) from problem
        self.done[key] = (entry["stamp"], record)  # type: ignore[assignment]

    def _append(self, line: bytes) -> None:
        if self._file is None:
            raise RuntimeError("the journal is not open: use it as a context manager")
        self._file.write(line + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """The outputs stand: remove the journal."""
        self._close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _close(self) -> None:
        if self._file is not None:
            # a full disk was reported by the write that met it
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        self._lock.release()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
