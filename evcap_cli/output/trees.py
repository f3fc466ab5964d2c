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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from typing_extensions import TypedDict

from evcap_cli.errors import UsageError, WriteError
from evcap_cli.files import release_lock, sweep, take_lock, write_error, write_whole
from evcap_cli.output.journal import stamp
from evcap_cli.reading.typed import NotOfType, json_line

if TYPE_CHECKING:
    from evcap_cli.inputs import Source

PLAN: Final = ".evcap-plan.jsonl"
PARTIAL: Final = ".evcap-plan.partial"
LOCK: Final = ".evcap-plan.lock"
RETRY_SECONDS: Final = 0.05
OTHER_RUN: Final = "was written by another run (another checkpoint, other settings) or by hand"


class Line(TypedDict):
    """What is said of a file of the tree; ``video`` is None from when it is begun until it stands."""

    file: str
    video: list[int] | None


@dataclass
class _Plan:
    """What is known of one tree."""

    settings: str = ""
    lines: dict[str, list[int] | None] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> _Plan:
        """Take over whole lines; one that a kill has cut costs its file only."""
        try:
            first, *others = path.read_bytes().split(b"\n")[:-1] or [b""]
        except FileNotFoundError:
            return cls()
        plan = cls(first.decode("utf-8", "replace"))
        for line in others:
            with contextlib.suppress(NotOfType):
                entry = json_line(Line, line)
                plan.lines[entry["file"]] = entry["video"]
        return plan

    @classmethod
    def of(cls, root: Path) -> _Plan:
        """The plan with what the runs since then, or one that was stopped, have added."""
        plan, more = cls.read(root / PLAN), cls.read(root / PARTIAL)
        if not more.settings:
            return plan
        if more.settings != plan.settings:
            plan = cls(more.settings, dict.fromkeys(plan.lines))
        plan.lines.update(more.lines)
        return plan

    def text(self) -> str:
        """The same for the same finished files, however many runs it took."""
        return f"{self.settings}\n" + "".join(_line(name, self.lines[name]) for name in sorted(self.lines))


def _line(file: str, video: list[int] | None) -> str:
    return json.dumps({"file": file, "video": video}) + "\n"


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
        self.stamps = {self._name(source): stamp(source.path) for source in sources}
        self._lock = self._file = -1
        self._lines: dict[str, list[int] | None] = {}
        self._begun: dict[str, list[int] | None] = {}

    def finished(self, source: Source) -> bool:
        """Whether the file of ``source`` is there, and of the video as it is now; never with ``overwrite``."""
        return not self.overwrite and self._stands(self._name(source))

    def write(self, source: Source, content: str | bytes | None) -> None:
        """Put the file of ``source`` on disk; None: the video failed and has none.

        Raises:
            WriteError: no permission, a full disk; files that were finished before stand.
        """
        name = self._name(source)
        if content is not None:
            write_whole(self.root / name, content)
            try:
                self._append({name: self.stamps[name]})
            except OSError as problem:
                raise write_error(self.root / PARTIAL, problem) from problem
        elif self.stamps[name] and not self._stands(name):
            with contextlib.suppress(OSError):  # what is there is of another video or of other settings
                (self.root / name).unlink()

    def place(self, source: Source) -> Path:
        """Where the file of ``source`` is."""
        return self.root / self._name(source)

    def _name(self, source: Source) -> str:
        return f"{source.relative}{self.suffix}"

    def _stands(self, name: str) -> bool:
        known = self._lines.get(name)
        return bool(known) and known == self.stamps[name] and (self.root / name).exists()

    def __enter__(self) -> Self:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in {(self.root / name).parent for name in self.stamps}:
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
            if self._begun:
                self._append(self._begun, flush=True)
        except OSError as problem:
            self._close()
            raise write_error(self.root, problem) from problem
        except BaseException:
            self._close()
            raise
        return self

    def _begin(self, *, alone: bool) -> None:
        """Take over what the plan says, and name in it every file that this run is going to write."""
        plan = _Plan.of(self.root)
        same = plan.settings == self.settings
        if not alone:
            self._check_settings(plan)
        if not self.overwrite:
            self._check_way(plan if same else _Plan())
        if not same:
            # what earlier runs wrote is made again as soon as a run of these settings comes by it
            plan = _Plan(self.settings, dict.fromkeys(plan.lines))
        self._lines = plan.lines
        begun = [name for name in self.stamps if self.overwrite or not self._stands(name)]
        self._begun = {name: None for name in begun if plan.lines.get(name, [0])}
        if alone:
            plan.lines.update(self._begun)
            self._begun = {}
            write_whole(self.root / PARTIAL, plan.text())

    def _check_settings(self, plan: _Plan) -> None:
        if plan.settings != self.settings:
            raise UsageError(
                "another evcap is writing into this folder with other settings",
                path=self.root,
                hint="wait for it, or choose another -o",
            )

    def _check_way(self, plan: _Plan) -> None:
        """See that every file that is in the place of one of ours is one of ours."""
        for name in self.stamps:
            path = self.root / name
            if name not in plan.lines and path.exists():
                raise UsageError(OTHER_RUN, path=path, hint="add --overwrite, or choose another -o")

    def _append(self, lines: Mapping[str, list[int] | None], *, flush: bool = False) -> None:
        """Add lines; they need not outlive a power cut unless ``flush``: their files are made again then.

        Raises:
            OSError: a full disk.
        """
        text = "".join(_line(name, video) for name, video in lines.items())
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            text = "\n" + text  # after a line that a kill has cut
        data = text.encode()
        while data:
            data = data[os.write(self._file, data) :]
        if flush:
            os.fsync(self._file)
        self._lines.update(lines)

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
                write_whole(self.root / PLAN, _Plan.of(self.root).text())
                (self.root / PARTIAL).unlink()
        except (OSError, WriteError):
            pass  # what has grown says the same
        finally:
            self._close()
