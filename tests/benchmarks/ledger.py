"""All benchmarks one after another, each in a process of its own; their rows are kept in a JSON file as they come.

A run that was stopped goes on where it was: what was taken of the same code, on the same machine, while nobody else
used it, is not taken again. A benchmark that fails or runs out of time is named, keeps the rows that it reported, and
the next one follows.
"""

from __future__ import annotations

import ast
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from evcap_experiments.training_process import _stop_with_parent

from evcap_cli.files import write_whole
from tests.benchmarks.machine import busy_seconds
from tests.benchmarks.measured import ROWS, Measured

ROOT = Path(__file__).parents[2]
IDLE_LOAD = 0.5
"""Processors that others may use on a machine that counts as idle."""
LIMIT_SECONDS = 1800.0
STOP_SECONDS = 10.0
SAID_CHARACTERS = 4000
DONE, FAILED, STOPPED = "done", "failed", "stopped"


@dataclass(frozen=True)
class Benchmark:
    """A module that reports figures.

    Args:
        name: of the module.
        title: first line of its docstring.
        left_out: why runs that don't name it leave it out, or nothing.
        limit: seconds that it may take.
        has_rounds: whether it takes ``--rounds``.
    """

    name: str
    title: str
    left_out: str = ""
    limit: float = LIMIT_SECONDS
    has_rounds: bool = False


def find(folder: Path) -> dict[str, Benchmark]:
    """The modules of a folder that are commands, by name; nothing is imported."""
    found = {}
    for path in sorted(folder.glob("[!_]*.py")):
        source = path.read_text("utf-8")
        tree = ast.parse(source)
        if not any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body):
            continue
        constants = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        found[path.stem] = Benchmark(
            path.stem,
            (ast.get_docstring(tree) or "").partition("\n")[0].partition(": ``")[0],
            str(constants.get("LEFT_OUT", "")),
            float(constants.get("LEDGER_SECONDS", LIMIT_SECONDS)),
            '"--rounds"' in source,
        )
    return found


@dataclass(frozen=True)
class Entry:
    """What one run of a benchmark left.

    Args:
        status: ``done``, ``failed`` or ``stopped`` (by whoever ran it).
        rows: reported, as ``Measured.as_json`` writes them.
        error: of a failed one.
        code: commit, and a digest of what is not committed.
        machine: ``machine_facts``.
        date: of its start.
        seconds: that it took.
        arguments: of its command line.
        load_before: processors that were busy just before.
        load_of_others: processors that others used meanwhile, on average; None where the system does not say.
        said: the end of what it printed.
    """

    status: str
    code: str
    machine: dict[str, str]
    date: str
    arguments: list[str]
    load_before: float
    load_of_others: float | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    said: str = ""

    @property
    def busy(self) -> bool:
        """Whether others used the machine before or meanwhile."""
        return max(self.load_before, self.load_of_others or 0.0) >= IDLE_LOAD

    @property
    def measured(self) -> list[Measured]:
        return [Measured.from_json(row) for row in self.rows]


def read(path: Path) -> dict[str, Entry]:
    """Entries by benchmark; none where the file is not there.

    Raises:
        ValueError: it is no ledger.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))["benchmarks"]
        return {name: Entry(**entry) for name, entry in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no ledger ({error}); move it away to begin a new one") from error


@dataclass
class Ledger:
    """Runs benchmarks and keeps what they report.

    Args:
        path: the JSON file.
        machine: of this run.
        code: of this run.
        load: tells how many processors are busy, and takes a while for it.
        patience: seconds in all that are spent waiting for an idle machine.
        package: of the modules.
        places: of ``PYTHONPATH``, before that of this process.
        busy: processor seconds that the machine has spent; None where nobody knows.
        end_leftovers: called after each benchmark.
        clock: seconds, for waiting.
    """

    path: Path
    machine: dict[str, str]
    code: str
    load: Callable[[], float]
    patience: float
    package: str = __package__
    places: Sequence[Path] = (ROOT, ROOT / "plugins")
    busy: Callable[[], float | None] = busy_seconds
    end_leftovers: Callable[[], None] | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.entries = read(self.path)

    def is_taken(self, name: str, arguments: Sequence[str], *, keep_older: bool = False) -> bool:
        """Whether an idle figure of this machine is there, of this code unless ``keep_older``."""
        entry = self.entries.get(name)
        return (
            entry is not None
            and entry.status == DONE
            and not entry.busy
            and entry.machine == self.machine
            and entry.arguments == list(arguments)
            and (keep_older or entry.code == self.code)
        )

    def wait(self) -> float:
        """The load once it is low, or once patience is over."""
        while True:
            begun = self.clock()
            load = self.load()
            if load < IDLE_LOAD or self.patience <= 0:
                return load
            self.patience -= max(self.clock() - begun, 1e-3)

    def take(self, benchmark: Benchmark, arguments: Sequence[str], limit: float) -> Entry:
        """Run a benchmark; its entry is on disk after each row, and at the end.

        Raises:
            KeyboardInterrupt: passed on, with all processes of the benchmark ended and its rows kept.
        """
        load = self.wait()
        now = datetime.now().astimezone().isoformat(timespec="minutes")
        entry = Entry(STOPPED, self.code, self.machine, now, list(arguments), round(load, 2))
        with tempfile.TemporaryDirectory(prefix="ledger-") as name:
            folder = Path(name)
            rows, output = folder / "rows.jsonl", folder / "output.txt"
            begun, busy, own = time.monotonic(), self.busy(), _children_seconds()
            error = ""
            with output.open("wb") as said:
                process = self._start(benchmark.name, arguments, folder, said)
                try:
                    while process.poll() is None and not error:
                        with suppress(subprocess.TimeoutExpired):
                            process.wait(1.0)
                        entry = self._with_rows(benchmark, entry, rows)
                        if process.poll() is None and time.monotonic() - begun > limit:
                            error = f"not done after {limit:g} s"
                finally:
                    _end(process)
                    if self.end_leftovers:
                        self.end_leftovers()
                    entry = self._with_rows(benchmark, entry, rows)
            seconds, text = time.monotonic() - begun, output.read_text("utf-8", "replace")
            others = None
            if busy is not None:
                spent = (self.busy() or busy) - busy - (_children_seconds() - own)
                others = round(max(spent, 0.0) / seconds, 2)
        error = error or _fault(process.returncode, text, entry)
        entry = replace(
            entry,
            status=FAILED if error else DONE,
            error=error,
            seconds=round(seconds, 1),
            load_of_others=others,
            said=text[-SAID_CHARACTERS:],
        )
        self._keep(benchmark.name, entry)
        return entry

    def merge(self, path: Path) -> list[str]:
        """Take in what a ledger on another machine kept; the names of its benchmarks.

        Raises:
            ValueError: ``path`` is no ledger, or not there.
        """
        if not path.exists():
            raise ValueError(f"{path} is not there; --merge needs the JSON file of another ledger")
        found = read(path)
        for name, entry in found.items():
            self._keep(name, entry)
        return list(found)

    def _start(self, name: str, arguments: Sequence[str], folder: Path, said: BinaryIO) -> subprocess.Popen[bytes]:
        (folder / "cache").mkdir()
        places = [*map(str, self.places), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(places),
            "EVCAP_CACHE_DIR": str(folder / "cache"),  # what earlier runs kept must not be found
            ROWS: str(folder / "rows.jsonl"),
        }
        return subprocess.Popen(
            [sys.executable, "-m", f"{self.package}.{name}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # so that all of its processes can be ended
            preexec_fn=_stop_with_parent(),
        )

    def _with_rows(self, benchmark: Benchmark, entry: Entry, path: Path) -> Entry:
        """The entry with the rows so far, kept if there are new ones."""
        lines = path.read_text("utf-8").split("\n")[:-1] if path.exists() else []
        if len(lines) == len(entry.rows):
            return entry
        for line in lines[len(entry.rows) :]:
            print(f"  {Measured.from_json(json.loads(line))}", flush=True)
        entry = replace(entry, rows=[json.loads(line) for line in lines])
        self._keep(benchmark.name, entry)
        return entry

    def _keep(self, name: str, entry: Entry) -> None:
        self.entries[name] = entry
        found = {name: asdict(self.entries[name]) for name in sorted(self.entries)}
        write_whole(self.path, json.dumps({"benchmarks": found}, indent=1, ensure_ascii=False) + "\n")


def _fault(code: int, text: str, entry: Entry) -> str:
    """What is wrong with a benchmark that ended by itself, or nothing."""
    if code:
        last = next((line.strip() for line in reversed(text.split("\n")) if line.strip()), "it said nothing")
        return f"exit code {code}: {last[:300]}"
    return "" if entry.rows else "it reported no figures"


def _children_seconds() -> float:
    """Processor seconds of ended children and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a benchmark that runs, and whatever else of its session is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            if number == signal.SIGKILL:
                return
