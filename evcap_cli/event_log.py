"""``--log-json FILE``: what a run does, for dashboards; one JSON object a line, described by docs/log.schema.json.

Lines are appended, each in one call, so that several runs (the shards of an array) may share a file. A log that cannot
be written any more is given up with one warning: it never ends a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from evcap_cli import console, interrupts, profiling
from evcap_cli.console import Bar
from evcap_cli.errors import UsageError, reason_of
from evcap_cli.version import __version__

PROGRESS_SECONDS: Final = 10.0
"""Between two lines on the progress."""


class EventLog:
    """The log of one run; use as a context manager: the last line is written whatever ends the run.

    Args:
        path: of the file; None: nothing is logged.
        command: that runs, such as "caption".

    Raises:
        UsageError: the file cannot be appended to.
    """

    def __init__(self, path: Path | None, command: str) -> None:
        self.path, self.command = path, command
        self.run = secrets.token_hex(4)
        self._file = -1 if path is None else _opened(path)
        self._progress = time.monotonic()
        self._end: dict[str, Any] = {"exit_code": None}

    def write(self, event: str, **values: Any) -> None:
        """Append one line."""
        if self._file < 0:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"event": event, "time": now, "run": self.run, **values}) + "\n"
        try:
            os.write(self._file, line.encode())
        except OSError as problem:
            console.warn(f"{self.path}: the log ends here ({reason_of(problem)})")
            self._close()

    def begin(self, videos: int, outputs: list[str]) -> None:
        """The plan stands; from here on, stages are timed for the lines on the progress."""
        if self._file >= 0:
            profiling.begin()
        self.write("begin", command=self.command, evcap=__version__, videos=videos, outputs=outputs)

    def record(self, record: Any, bar: Bar) -> None:
        """The video of a record is finished; see ``video``."""
        error = None if record.error is None else dict(record.error)
        self.video(record.path, record.id, bar, seconds=record.duration, error=error, warnings=record.warnings)

    def video(
        self,
        path: str,
        id_: str,
        bar: Bar,
        *,
        seconds: float,
        error: Mapping[str, str] | None,
        warnings: Sequence[str],
    ) -> None:
        """A video is finished; now and then, a line on the progress follows.

        Args:
            path: as given.
            id_: of the video.
            bar: counts it already.
            seconds: of video.
            error: as records have it.
            warnings: texts.
        """
        if self._file < 0:
            return
        status = "ok" if error is None else "failed"
        self.write(
            "video",
            path=path,
            id=id_,
            status=status,
            seconds=round(seconds, 3),
            error=error,
            warnings=list(warnings),
        )
        if time.monotonic() - self._progress >= PROGRESS_SECONDS:
            self._progress = time.monotonic()
            self.progress(bar)

    def progress(self, bar: Bar) -> None:
        """How far the run is, and how fast it goes."""
        pace = bar.pace
        self.write(
            "progress",
            done=pace.done,
            total=pace.total,
            taken_over=pace.before,
            failed=pace.failed,
            seconds=round(pace.took, 3),
            videos_per_second=round(pace.rate, 4),
            video_seconds_per_second=round(pace.video_rate, 4),
            seconds_left=None if pace.left is None else round(pace.left, 1),
            stages={stage: round(seconds, 3) for stage, seconds in profiling.seconds().items()},
        )

    def finish(self, exit_code: int, **values: Any) -> None:
        """What the last line says."""
        self._end = {"exit_code": exit_code, **values}

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = isinstance(problem, KeyboardInterrupt)
        code = interrupts.exit_code() if interrupted else getattr(problem, "exit_code", None)
        if self._end["exit_code"] is None and isinstance(code, int):
            self._end = {"exit_code": code}
        with contextlib.suppress(KeyboardInterrupt):
            self.write("end", **self._end)
        self._close()


def _opened(path: Path) -> int:
    """A descriptor that appends whole lines, also after one that a kill has cut.

    Raises:
        UsageError: it is no file, or cannot be written.
    """
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise UsageError("is not a file, so no log can be kept in it", path=path, hint="name another --log-json")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except (OSError, ValueError) as problem:
        raise UsageError(
            f"no log can be kept there ({reason_of(problem)})", path=path, hint="name another --log-json"
        ) from problem
    size = os.fstat(descriptor).st_size
    if size:
        os.lseek(descriptor, size - 1, os.SEEK_SET)
        if os.read(descriptor, 1) != b"\n":
            os.write(descriptor, b"\n")
    return descriptor
