"""The feature cache: one safetensors file per stream of a segment, named by the digest of all it depends on.

A key covers the bytes of the video, the segment, the sampling, the backbone (name, version, variant, options,
preprocessing, weights) and the number format, so an entry is never out of date; it can only be damaged, and then it is
computed again. Files appear whole (unique temporary name, rename) and are verified on reading, so any number of
processes may share a folder without locks. A cache that cannot be written costs time, never a run.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli import console
from evcap_cli.errors import DataError, UsageError, WriteError
from evcap_cli.features.cache_entries import HEADER_LENGTH_BYTES, BadEntry, pack, read_about, unpack
from evcap_cli.features.streams import StreamFeatures
from evcap_cli.files import WholeFile, cause_of, check_writable, sweep
from evcap_cli.paths import can_be_named, expanded, shown
from evcap_cli.reading.regular import open_regular, read_regular

if TYPE_CHECKING:
    from evcap_cli.features.cache_entries import Arrays

FORMAT: Final = 2
"""Part of every key: raised when decoding, sampling, pooling or the layout of entries changes what features are."""
SUFFIX: Final = ".safetensors"
ENTRY_NAME: Final = re.compile(r"[0-9a-f]{32}\.safetensors")
TOUCH_SECONDS: Final = 86400.0
"""An entry's file time says when it was last used, to the day: enough for pruning, and reading stays reading."""
ROWS: Final = "rows"
"""What a stream's entry says of itself, next to the arrays."""
VARIABLE: Final = "EVCAP_CACHE_DIR"


def default_root() -> Path:
    """EVCAP_CACHE_DIR, or the platform's folder for caches."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(expanded(chosen))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "evcap" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "evcap"
    return Path(expanded(os.environ.get("XDG_CACHE_HOME", "")) or Path.home() / ".cache") / "evcap"


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds; ``streams`` counts entries by backbone address, videos under their own name."""

    root: Path
    entries: int = 0
    bytes: int = 0
    streams: Mapping[str, int] = field(default_factory=dict)
    unreadable: int = 0
    free_bytes: int | None = None


@dataclass(frozen=True)
class Swept:
    """What ``verify`` or ``prune`` checked and removed."""

    checked: int = 0
    removed: int = 0
    freed_bytes: int = 0


class FeatureCache:
    """Entries below ``root/features``; the folder is made by the first write."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = default_root() if root is None else Path(root)
        if not can_be_named(os.fspath(self.root)):
            raise UsageError(
                "no folder can have this name", path=shown(str(self.root)), hint="choose another --cache-dir"
            )
        self.folder = self.root / "features"
        self.failure: OSError | WriteError | None = None
        """The first write that failed."""
        self._lock = threading.Lock()

    def path_of(self, key: str) -> Path:
        """Where the entry of ``key`` lies or would lie."""
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def read(self, key: str) -> tuple[dict[str, Any], Arrays] | None:
        """The entry of ``key``; None where there is none, or none that verifies."""
        path = self.path_of(key)
        try:
            data = read_regular(path)
            entry = unpack(key, data)
        except FileNotFoundError:
            return None
        except (OSError, BadEntry, DataError) as problem:
            _not_believed(path, problem)
            return None
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > TOUCH_SECONDS:
                os.utime(path)
        return entry

    def write(self, key: str, about: Mapping[str, Any], arrays: Arrays) -> None:
        """Keep an entry; where that fails, warn once and go on."""
        path = self.path_of(key)
        file = None
        try:
            data = pack(key, about, arrays)
            file = WholeFile(path)
            with file.temporary.open("r+b") as opened:
                opened.write(data)
            # not flushed to disk: after a power cut a torn entry does not verify and is computed again
            file.commit(flush=False)
        except (OSError, WriteError) as problem:
            with self._lock:
                first, self.failure = self.failure is None, self.failure or problem
            if first:
                console.warn(
                    f"{self.root}: features cannot be cached ({cause_of(problem)}); "
                    "the run goes on without; free space or choose another --cache-dir"
                )
        finally:
            if file is not None:
                file.discard()

    def check_writable(self) -> None:
        """Find out before any work whether entries can be kept.

        Raises:
            WriteError: they cannot.
        """
        try:
            check_writable(self.folder / "probe")
        except WriteError as problem:
            raise WriteError(
                f"features cannot be kept here ({cause_of(problem)})",
                path=self.root,
                hint="choose another --cache-dir",
            ) from problem

    def read_stream(self, key: str, dim: int) -> StreamFeatures | None:
        """The stream of width ``dim`` kept under ``key``, if it is there and whole."""
        import torch

        entry = self.read(key)
        if entry is None:
            return None
        about, arrays = entry
        problem = _no_stream(about, arrays, dim)
        if problem is not None:
            _not_believed(self.path_of(key), problem)
            return None
        return StreamFeatures(torch.from_numpy(arrays["values"]), torch.from_numpy(arrays["times"]))

    def write_stream(self, key: str, about: Mapping[str, Any], stream: StreamFeatures) -> None:
        """Keep a stream."""
        arrays = {"values": stream.values.numpy(), "times": stream.times.numpy()}
        self.write(key, {**about, ROWS: len(stream.times)}, arrays)

    def entries(self) -> Iterator[Path]:
        """All entries, in the order of their names."""
        for folder in self._folders():
            yield from (path for path in sorted(folder.iterdir()) if ENTRY_NAME.fullmatch(path.name))

    def _folders(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if len(path.name) == 2 and path.is_dir())
        except OSError:
            return []

    def info(self) -> CacheInfo:
        """Count entries and bytes; reads headers only."""
        count = total = unreadable = 0
        streams: Counter[str] = Counter()
        for path in self.entries():
            try:
                size = path.stat().st_size
                with open_regular(path) as file:
                    head = file.read(HEADER_LENGTH_BYTES)
                    head += file.read(min(int.from_bytes(head, "little"), size))
                about = read_about(head)[0]
            except (OSError, BadEntry, DataError):
                unreadable += 1
                continue
            count, total = count + 1, total + size
            streams[str(about.get("backbone", "videos"))] += 1
        free = None
        for folder in (self.folder, self.root, *self.root.parents):
            if folder.exists():
                free = shutil.disk_usage(folder).free
                break
        return CacheInfo(self.root, count, total, dict(sorted(streams.items())), unreadable, free)

    def verify(self) -> Swept:
        """Read every entry and remove those that do not verify: they would be computed again anyway."""
        checked = removed = freed = 0
        for path in self.entries():
            checked += 1
            try:
                data = read_regular(path)
            except FileNotFoundError:
                continue
            except (OSError, DataError):
                data = b""
            try:
                unpack(path.stem, data)
            except BadEntry:
                gone = _remove(path)
                removed, freed = removed + (gone is not None), freed + (gone or 0)
        return Swept(checked, removed, freed)

    def prune(self, older_than: float | None = None, max_bytes: int | None = None) -> Swept:
        """Remove entries not used for ``older_than`` seconds, then the longest unused until ``max_bytes`` are left.

        Leftovers of killed processes go as well.
        """
        now = time.time()
        checked = removed = freed = 0
        found: list[tuple[float, int, Path]] = []
        for path in self.entries():
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        checked = len(found)
        found.sort(key=lambda entry: (entry[0], entry[2]))
        left = sum(size for _, size, _ in found)
        for used, size, path in found:
            too_old = older_than is not None and now - used > older_than
            too_much = max_bytes is not None and left > max_bytes
            if (too_old or too_much) and _remove(path) is not None:
                left, removed, freed = left - size, removed + 1, freed + size
        freed += sum(sweep(folder) for folder in self._folders())
        return Swept(checked, removed, freed)


def _no_stream(about: Mapping[str, Any], arrays: Arrays, dim: int) -> str | None:
    """Why a whole entry cannot be a stream of width ``dim``: a checksum says that it was not damaged, and no more."""
    if arrays.keys() != {"values", "times"}:
        return "no values and times"
    values, times = arrays["values"], arrays["times"]
    if values.dtype != np.float32 or times.dtype != np.float32:
        return f"{values.dtype} values and {times.dtype} times"
    if times.ndim != 1 or values.shape != (len(times), dim) or about.get(ROWS) != len(times):
        return f"values {values.shape} and times {times.shape} where {about.get(ROWS)} rows of {dim} are expected"
    if not (np.isfinite(values).all() and np.isfinite(times).all()) or (times < 0).any():
        return "a value that is not finite or a time before the start"
    return None


def _not_believed(path: Path, problem: object) -> None:
    console.detail(f"cache entry {path.name} is damaged and will be computed again ({problem})")


def _remove(path: Path) -> int | None:
    """Delete a file and return its size; None where somebody was faster."""
    try:
        size = path.stat().st_size
        path.unlink()
    except OSError:
        return None
    return size
