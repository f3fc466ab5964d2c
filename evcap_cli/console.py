"""The one place that prints: people read stderr, data goes to stdout or files.

Progress is a rich bar on a terminal and a plain line now and then elsewhere, so that batch logs stay short.
``run`` turns exceptions into one line and an exit code; a traceback appears only under ``EVCAP_DEBUG=1``.

Where no command runs, in a script or a notebook, nothing is printed: the same lines go to the logger "evcap_cli".
"""

from __future__ import annotations

import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from evcap_cli import interrupts, standard_streams
from evcap_cli.clocks import elapsed
from evcap_cli.errors import EXIT_NOTHING_DONE, EvcapError, UsageError, WriteError
from evcap_cli.interrupts import check_interrupted
from evcap_cli.pace import Pace
from evcap_cli.paths import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

PLAIN_INTERVAL_SECONDS = 10.0
PIPE_COLUMNS = 250

LIBRARY, QUIET, NORMAL, VERBOSE = -1, 0, 1, 2
_verbosity = LIBRARY
_console: Console | None = None
_copy: Callable[[str], None] | None = None


def set_verbosity(*, quiet: bool = False, verbose: bool = False) -> None:
    """A command begins: quiet keeps errors only; verbose adds ``detail`` lines."""
    global _verbosity
    _verbosity = QUIET if quiet else VERBOSE if verbose else NORMAL


def debug() -> bool:
    """Whether EVCAP_DEBUG requests tracebacks."""
    return os.environ.get("EVCAP_DEBUG", "") not in ("", "0")


def set_up_streams() -> None:
    """Let standard output and error take every name of a file, whatever the locale and PYTHONIOENCODING say.

    Bytes that are not UTF-8 are escaped, as ``data`` does. Standard input is read as bytes where names come from it.
    """
    for stream, encoding in ((sys.stdout, "utf-8"), (sys.stderr, None)):
        if isinstance(stream, io.TextIOWrapper):  # not where it is closed or replaced
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _stderr() -> Console:
    global _console
    if _console is None or _console.file is not sys.stderr:
        from rich.console import Console

        # soft_wrap: a message is one line, however narrow the terminal; markup off: file names may hold brackets
        _console = Console(file=sys.stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)
    return _console


def _line(text: str, style: str | None = None) -> None:
    try:
        if sys.stderr.isatty():
            _stderr().print(_printable(text), style=style)
        else:
            sys.stderr.write(_printable(text) + "\n")
            sys.stderr.flush()
    except OSError:
        pass  # a closed stderr must not end a run whose data is fine


def _printable(text: str) -> str:
    """File names may hold bytes that no encoding knows, line feeds and terminal commands: show all of them escaped."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return _escaped(text, "\t").encode(encoding, "backslashreplace").decode(encoding)


def _escaped(text: str, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in kept or "\ud800" <= sign <= "\udfff" else repr(sign)[1:-1]
        for sign in text
    )


def copy_lines(write: Callable[[str], None] | None) -> None:
    """Hand each line for people to ``write`` as well, progress and those of ``-v`` included; None: no more."""
    global _copy
    _copy = write


def _copied(text: str) -> None:
    if _copy is not None:
        _copy(_escaped(text, "\t"))


def data(text: str) -> None:
    """Lines of data on standard output, as they are and as UTF-8 wherever it goes."""
    standard_streams.write_data(text.encode("utf-8", "backslashreplace"))


def answer(text: str) -> None:
    """One line on standard output for people; line ends and commands to a terminal in it are shown escaped."""
    data(_escaped(text, "\t") + "\n")


def answer_table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table on standard output: as wide as the terminal, or as wide as it gets for a program."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    terminal = standard_streams.output_is_terminal()
    width = None if terminal else PIPE_COLUMNS  # a pipe has no width to keep to
    text = io.StringIO()
    Console(file=text, width=width, force_terminal=terminal, markup=False, highlight=False, emoji=False).print(table)
    data(text.getvalue())


def noun(count: int, one: str, several: str | None = None) -> str:
    """The noun that goes with a number of things: "video" or "videos"; ``several`` where no s makes it."""
    return one if count == 1 else f"{one}s" if several is None else several


def counted(count: int, one: str, several: str | None = None) -> str:
    """A number of things: "1 video", "2 videos", or "1 entry", "2 entries"."""
    return f"{count} {noun(count, one, several)}"


def listed(names: Sequence[str], most: int | None) -> str:
    """The first ``most`` of some names, "a, b, ..."; None: all of them."""
    shown = ", ".join(names[:most])
    return shown if most is None or len(names) <= most else f"{shown}, ..."


def _log(level: str, text: str) -> None:
    """Hand a line to the program that uses evcap as a library, which decides what to do with it."""
    import logging  # here: every call of evcap loads this module

    logger = logging.getLogger("evcap_cli")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # else Python prints lines that nobody requested
    getattr(logger, level)(text)


def info(text: str) -> None:
    """A line that normal runs show."""
    _copied(text)
    if _verbosity == LIBRARY:
        _log("info", text)
    if _verbosity >= NORMAL:
        _line(text)


def notice(text: str) -> None:
    """A line that quiet runs show too, and that is no error: how a run was ended from outside."""
    _copied(text)
    _line(text)


def detail(text: str) -> None:
    """A line for ``-v``."""
    _copied(text)
    if _verbosity == LIBRARY:
        _log("debug", text)
    if _verbosity >= VERBOSE:
        _line(text, "dim")


def warn(text: str) -> None:
    """Something went less well than requested; the run goes on."""
    _copied(f"warning: {text}")
    if _verbosity == LIBRARY:
        _log("warning", text)
    if _verbosity >= NORMAL:
        _line(f"warning: {text}", "yellow")


def error(problem: EvcapError | str) -> None:
    """One line, printed in quiet runs too."""
    _copied(f"error: {problem}")
    if _verbosity == LIBRARY:
        _log("error", str(problem))
        return
    _line(f"error: {problem}", "red")


class Bar:
    """What ``progress`` hands out; this one shows nothing."""

    def __init__(
        self, total: int | None = None, label: str = "", unit: str = "video", units: str | None = None
    ) -> None:
        self.pace = Pace(total)
        self.label, self.unit, self.units, self.note = label, unit, units, ""
        self._copied = time.monotonic()

    def advance(self, n: int = 1, note: str = "", *, seconds: float = 0.0, failed: bool = False) -> None:
        """Count more units.

        Args:
            n: how many.
            note: shown next to the bar.
            seconds: of video.
            failed: whether they failed.
        """
        check_interrupted()
        self.pace.add(n, seconds, failed=failed)
        self.note = note or self.note
        self._show(n, note)
        if _copy is not None and time.monotonic() - self._copied >= PLAIN_INTERVAL_SECONDS:
            self._copied = time.monotonic()
            _copied(self.line())

    def take_over(self, count: int) -> None:
        """So many units in all are there from an earlier run; they say nothing of the pace."""
        more = count - self.pace.before
        if more:
            self.pace.take_over(count)
            self._show(more, "")

    def line(self) -> str:
        """How far the work has come, in words."""
        pace = self.pace
        count = f"{pace.done}" if pace.total is None else f"{pace.done}/{pace.total}"
        units = noun(pace.total or pace.done, self.unit, self.units)
        more = pace.text(noun(2, self.unit, self.units))
        return (
            f"{self.label}: {count} {units} in {elapsed(pace.took)}"
            + (f", {more}" if more else "")
            + (f"  {self.note}" if self.note else "")
        )

    def _show(self, n: int, note: str) -> None:
        """Show that ``n`` more are done."""

    def describe(self, label: str) -> None:
        """Change the label."""
        self.label = label


class _Plain(Bar):
    """A line at most every ten seconds, and one at the end if any was printed before."""

    def __init__(self, total: int | None, label: str, unit: str, units: str | None) -> None:
        super().__init__(total, label, unit, units)
        self.last = time.monotonic()
        self.printed = False

    def _show(self, n: int, note: str) -> None:  # noqa: ARG002  all that are done are shown
        if time.monotonic() - self.last >= PLAIN_INTERVAL_SECONDS:
            self.show()

    def show(self) -> None:
        self.last, self.printed = time.monotonic(), True
        _line(self.line())


class _Rich(Bar):
    def __init__(
        self, total: int | None, label: str, unit: str, units: str | None, progress: Progress, task: TaskID
    ) -> None:
        super().__init__(total, label, unit, units)
        self.progress, self.task = progress, task

    def _show(self, n: int, note: str) -> None:
        failed = f", {self.pace.failed} failed" if self.pace.failed else ""
        rates = self.pace.rates(noun(2, self.unit, self.units)) + failed
        self.progress.update(self.task, advance=n, note=_printable(note), rates=rates)

    def describe(self, label: str) -> None:
        super().describe(label)
        self.progress.update(self.task, description=label)


@contextmanager
def progress(total: int | None, label: str, unit: str = "video", units: str | None = None) -> Iterator[Bar]:
    """Show how far long work has come: a bar on a terminal, a line now and then elsewhere, nothing when quiet."""
    with _shown(total, label, unit, units) as bar:
        yield bar
        _copied(bar.line())


@contextmanager
def _shown(total: int | None, label: str, unit: str, units: str | None) -> Iterator[Bar]:
    if _verbosity <= QUIET:
        yield Bar(total, label, unit, units)
        return
    if not sys.stderr.isatty():
        plain = _Plain(total, label, unit, units)
        yield plain
        if plain.printed:
            plain.show()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(noun(2 if total is None else total, unit, units)),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[rates]}"),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=_stderr(), transient=True) as bars:
        task = bars.add_task(label, total=total, note="", rates="")
        yield _Rich(total, label, unit, units, bars, task)


def run(main: Callable[[], object]) -> int:
    """Call ``main`` and return the exit code; errors become one line on stderr.

    An ``EvcapError`` gives its own exit code, Ctrl-C 130, SIGTERM and SIGHUP 143, a full disk or a closed pipe a write
    error, anything else 1 with a line that says how to see more.
    """
    standard_streams.replace_closed()
    with interrupts.handled():
        try:
            _undisguised(main)
        except KeyboardInterrupt:
            notice("interrupted")
            return interrupts.exit_code()
        except BrokenPipeError:
            standard_streams.drop_output()  # its reader went away: the interpreter's last flush must be silent
            return EXIT_NOTHING_DONE
        except Exception as problem:
            if debug():
                raise
            return _report(problem)
    return 0


def _undisguised(main: Callable[[], object]) -> None:
    """Call ``main``; what a signal broke is not reported as an error of its own."""
    try:
        main()
    except Exception:
        check_interrupted()
        raise


def _report(problem: Exception) -> int:
    """Print the line of an error; returns the exit code."""
    if isinstance(problem, MemoryError):
        error("out of memory; try a smaller --batch-size or fewer --workers")
        return EXIT_NOTHING_DONE
    if isinstance(problem, OSError) and problem.errno == errno.ENAMETOOLONG:
        name = shown(os.fsdecode(problem.filename or ""))
        problem = UsageError("no such file or folder: the name is too long for one", path=name, hint="check the path")
    elif isinstance(problem, OSError):
        cause = problem.strerror or str(problem)
        problem = WriteError(cause, path=problem.filename, hint="check space and permissions")
    if isinstance(problem, EvcapError):
        error(problem)
        return problem.exit_code
    error(f"unexpected {type(problem).__name__}: {problem}; run again with EVCAP_DEBUG=1 and report the traceback")
    return EXIT_NOTHING_DONE
