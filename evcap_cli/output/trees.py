"""Mirrored trees: one file a video below ``DIR/``, and which of them are finished.

``DIR/.evcap-plan.jsonl`` says so. Its first line names the settings that all captions of the tree are made with, each
other line a file and the size and time of its video. No clock is read: a video's stamp is only compared with itself.
While a run writes, ``.evcap-plan.partial`` grows and counts for more: a line is added when a file stands, and one
without a stamp before a file is begun, so that a file that no line names is somebody else's. At the end the plan is
replaced whole.

Runs of the same settings, such as the shards of a job array, may write into one tree at the same time: each appends its
lines, the last one ends the plan. The settings are changed by a run that has the tree for itself; all hold a lock on
``.evcap-plan.lock``.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self

from typing_extensions import TypedDict

from evcap_cli.errors import UsageError, WriteError
from evcap_cli.files import release_lock, sweep, take_lock, write_error, write_pieces, write_whole
from evcap_cli.output.journal import stamp
from evcap_cli.reading.typed import NotOfType, json_line
from evcap_cli.scratch import Scratch, packed, unpacked

if TYPE_CHECKING:
    from evcap_cli.inputs import Source

PLAN: Final = ".evcap-plan.jsonl"
PARTIAL: Final = ".evcap-plan.partial"
LOCK: Final = ".evcap-plan.lock"
RETRY_SECONDS: Final = 0.05
OTHER_RUN: Final = "was written by another run (another checkpoint, other settings) or by hand"


_NAMES: Final = "SELECT name FROM videos WHERE name > ? ORDER BY name LIMIT ?"


class Line(TypedDict):
    """What is said of a file of the tree; ``video`` is None from when it is begun until it stands."""

    file: str
    video: list[int] | None


class _Plan:
    """What is known of one tree: its settings, and a table of its files, each with the stamp of its video or None."""

    def __init__(self, settings: str = "") -> None:
        self.settings = settings
        self.files = Scratch("CREATE TABLE files (name BLOB PRIMARY KEY, video TEXT) WITHOUT ROWID")

    def read(self, path: Path) -> None:
        """Take over whole lines; one that a kill has cut costs its file only."""
        try:
            with path.open("rb") as file:
                first = file.readline()
                settings = first[:-1].decode("utf-8", "replace")
                if not first.endswith(b"\n") or not settings:
                    return
                if settings != self.settings:
                    self.change_settings(settings)
                self.files.change_many("INSERT OR REPLACE INTO files VALUES (?, ?)", _entries(file))
        except FileNotFoundError:
            return

    @classmethod
    def of(cls, root: Path) -> _Plan:
        """The plan with what the runs since then, or one that was stopped, have added."""
        plan = cls()
        plan.read(root / PLAN)
        plan.read(root / PARTIAL)
        return plan

    def change_settings(self, settings: str) -> None:
        """What earlier runs wrote is made again as soon as a run of these settings comes by it."""
        self.settings = settings
        self.files.change("UPDATE files SET video = NULL")

    def knows(self, name: bytes) -> bool:
        """Whether a file is one of the tree's."""
        return self.files.row("SELECT 1 FROM files WHERE name = ?", (name,)) is not None

    def video(self, name: bytes) -> str | None:
        """The stamp of the video of a file that stands."""
        row = self.files.row("SELECT video FROM files WHERE name = ?", (name,))
        return None if row is None else row[0]

    def put(self, name: bytes, video: str | None) -> None:
        """A file is begun, or stands."""
        self.files.change("INSERT OR REPLACE INTO files VALUES (?, ?)", (name, video))

    def text(self) -> Iterator[str]:
        """The same for the same finished files, however many runs it took."""
        yield f"{self.settings}\n"
        query = "SELECT name, video FROM files WHERE name > ? ORDER BY name LIMIT ?"
        for name, video in self.files.pages(query, b""):
            yield _line(name, video)


def _entries(file: IO[bytes]) -> Iterator[tuple[bytes, str | None]]:
    for line in file:
        if line.endswith(b"\n"):
            with contextlib.suppress(NotOfType):
                entry = json_line(Line, line[:-1])
                yield packed(entry["file"]), json.dumps(entry["video"]) if entry["video"] else None


def _line(name: bytes, video: str | None) -> str:
    return json.dumps({"file": unpacked(name), "video": None if video is None else json.loads(video)}) + "\n"


class Tree:
    """One mirrored tree, open for a run with these settings; use as a context manager.

    Args:
        root: the tree's folder, made where missing.
        suffix: of its files.
        settings: what the captions depend on besides the videos themselves.
        sources: the videos of the run.
        overwrite: take nothing over, and replace files of other settings or of nobody knows whom.

    Raises:
        UsageError: another run writes into the tree with other settings, or a file that is not of these is in the way.
        WriteError: the folder cannot be written.
    """

    def __init__(
        self, root: Path, suffix: str, settings: Mapping[str, Any], sources: Iterable[Source], *, overwrite: bool
    ) -> None:
        self.root, self.suffix, self.overwrite = root, suffix, overwrite
        self.settings = json.dumps(settings, sort_keys=True)
        # before any video is read: one that changes meanwhile is captioned again by the next run
        self._videos = Scratch("CREATE TABLE videos (name BLOB PRIMARY KEY, stamp TEXT) WITHOUT ROWID")
        stamps = ((packed(self._name(source)), json.dumps(stamp(source.path))) for source in sources)
        self._videos.change_many("INSERT OR REPLACE INTO videos VALUES (?, ?)", stamps)
        self._lock = self._file = -1
        self._plan = _Plan()

    def finished(self, source: Source) -> bool:
        """Whether the file of ``source`` is there, and of the video as it is now; never with ``overwrite``."""
        return not self.overwrite and self._stands(self._name(source))

    def write(self, source: Source, content: str | bytes | None) -> None:
        """Put the file of ``source`` on disk; None: the video failed and has none.

        Raises:
            WriteError: no permission, a full disk; files that were finished before stand.
        """
        name = self._name(source)
        video = self._stamp(packed(name))
        if content is not None:
            write_whole(self.root / name, content)
            try:
                self._append([(packed(name), video)])
            except OSError as problem:
                raise write_error(self.root / PARTIAL, problem) from problem
        elif video is not None and not self._stands(name):
            with contextlib.suppress(OSError):  # what is there is of another video or of other settings
                (self.root / name).unlink()

    def place(self, source: Source) -> Path:
        """Where the file of ``source`` is."""
        return self.root / self._name(source)

    def _name(self, source: Source) -> str:
        return f"{source.relative}{self.suffix}"

    def _stamp(self, name: bytes) -> str | None:
        """That of the video of a file; None: there is no video."""
        row = self._videos.row("SELECT stamp FROM videos WHERE name = ?", (name,))
        return None if row is None or row[0] == "[]" else row[0]

    def _stands(self, name: str) -> bool:
        known = self._plan.video(packed(name))
        return known is not None and known == self._stamp(packed(name)) and (self.root / name).exists()

    def _names(self) -> Iterator[bytes]:
        """Names of all files of this run, sorted."""
        return (name for (name,) in self._videos.pages(_NAMES, b""))

    def __enter__(self) -> Self:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder, _ in groupby((self.root / unpacked(name)).parent for name in self._names()):
                sweep(folder)
            self._lock = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            while (alone := take_lock(self._lock) is not False) is False:
                take_lock(self._lock, shared=True)
                if (self.root / PARTIAL).exists():
                    break
                release_lock(self._lock)  # the one that was there has just ended
                time.sleep(RETRY_SECONDS)
            self._begin(alone=alone)
            if alone:  # others may join from here on
                take_lock(self._lock, shared=True)
            self._file = os.open(self.root / PARTIAL, os.O_RDWR | os.O_APPEND)
            self._check_settings(_Plan.of(self.root))
            if not alone:
                self._append(((name, None) for name in self._begun()), flush=True)
        except OSError as problem:
            self._close()
            raise write_error(self.root, problem) from problem
        except BaseException:
            self._close()
            raise
        return self

    def _begin(self, *, alone: bool) -> None:
        """Take over what the plan says, and name in it every file that this run is going to write."""
        plan = self._plan = _Plan.of(self.root)
        same = plan.settings == self.settings
        if not alone:
            self._check_settings(plan)
        if not self.overwrite:
            self._check_way(plan if same else _Plan())
        if not same:
            plan.change_settings(self.settings)
        if alone:
            for name in self._begun():
                plan.put(name, None)
            write_pieces(self.root / PARTIAL, plan.text())

    def _begun(self) -> Iterator[bytes]:
        """Files that this run is going to write, and that the plan does not name as begun yet."""
        for name in self._names():
            begun = self._plan.knows(name) and self._plan.video(name) is None
            if not begun and (self.overwrite or not self._stands(unpacked(name))):
                yield name

    def _check_settings(self, plan: _Plan) -> None:
        if plan.settings != self.settings:
            raise UsageError(
                "another evcap is writing into this folder with other settings",
                path=self.root,
                hint="wait for it, or choose another -o",
            )

    def _check_way(self, plan: _Plan) -> None:
        """See that every file that is in the place of one of ours is one of ours."""
        for name in self._names():
            path = self.root / unpacked(name)
            if not plan.knows(name) and path.exists():
                raise UsageError(OTHER_RUN, path=path, hint="add --overwrite, or choose another -o")

    def _append(self, lines: Iterable[tuple[bytes, str | None]], *, flush: bool = False) -> None:
        """Add lines; they need not outlive a power cut unless ``flush``: their files are made again then.

        Raises:
            OSError: a full disk.
        """
        size = os.fstat(self._file).st_size
        # after a line that a kill has cut
        start = "\n" if size and os.pread(self._file, 1, size - 1) != b"\n" else ""
        for name, video in lines:
            data = (start + _line(name, video)).encode()
            start = ""
            while data:
                data = data[os.write(self._file, data) :]
            self._plan.put(name, video)
        if flush:
            os.fsync(self._file)

    def _close(self) -> None:
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and take_lock(self._lock):  # nobody else appends
                write_pieces(self.root / PLAN, _Plan.of(self.root).text())
                (self.root / PARTIAL).unlink()
        except (OSError, WriteError):
            pass  # what has grown says the same
        finally:
            self._close()
