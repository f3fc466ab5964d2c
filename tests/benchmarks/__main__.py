"""The ledger of all benchmarks: ``python -m tests.benchmarks [--only NAME ...] [--list] [--rounds N] [--write]``.

Runs them one after another on an idle machine; waits up to ten minutes in all until other programs use less than half a
processor, then goes on and marks the figures. Rows go to ``docs/benchmarks.json`` as they come, and with ``--write``
into the table of ``docs/benchmarks.md``. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from evcap_cli.errors import EvcapError
from tests.benchmarks.ledger import DONE, Benchmark, Ledger, find
from tests.benchmarks.ledger_page import write_page
from tests.benchmarks.machine import code_version, load_now, machine_facts
from tests.benchmarks.processes import adopt_orphans, end_children

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WAIT_SECONDS = 600.0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--only", nargs="+", metavar="NAME", help="these, of those that are left out too")
    made.add_argument("--list", action="store_true", help="name the benchmarks and what is there of each; run nothing")
    made.add_argument("--rounds", type=int, help="of each benchmark that has rounds")
    made.add_argument("--again", action="store_true", help="take figures again that are there")
    made.add_argument("--keep-older", action="store_true", help="keep idle figures of other commits, with their names")
    made.add_argument("--limit", type=float, help="seconds a benchmark may take, in place of its own limit")
    made.add_argument("--wait", type=float, default=WAIT_SECONDS, help="seconds in all to wait for an idle machine")
    made.add_argument("--json", type=Path, default=ROOT / "docs" / "benchmarks.json", help="where rows are kept")
    made.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md", help="what --write writes to")
    made.add_argument("--write", action="store_true", help="put the table into the page, after each benchmark")
    made.add_argument(
        "--merge", type=Path, metavar="FILE", help="take in rows of another machine's ledger; run nothing"
    )
    made.add_argument("--render", action="store_true", help="put the rows that are there into the page; run nothing")
    made.add_argument("arguments", nargs="*", metavar="-- ARGUMENT", help="for the one benchmark of --only")
    return made


def main(
    given: Sequence[str] | None = None,
    *,
    folder: Path = HERE,
    make_ledger: Callable[..., Ledger] = Ledger,
    load: Callable[[], float] = load_now,
    end_leftovers: Callable[[], None] | None = None,
) -> int:
    """Run what is to be run; 1 where a benchmark failed."""
    options = parser().parse_args(given)
    benchmarks = find(folder)
    for name in options.only or []:
        if name not in benchmarks:
            parser().error(f"there is no benchmark {name}; --list names them")
    if options.arguments and not options.only:
        parser().error(f"--only {' '.join(options.arguments)} runs some; arguments for one of them come after --")
    if options.arguments and len(options.only) != 1:
        parser().error("arguments after -- need one benchmark of --only that gets them")
    if options.rounds is not None and options.rounds < 1:
        parser().error("--rounds is at least 1")
    try:
        ledger = make_ledger(options.json, machine_facts(), code_version(ROOT), load, options.wait)
        ledger.end_leftovers = end_leftovers
        if options.list:
            for benchmark in benchmarks.values():
                print(describe(benchmark, ledger))
            return 0
        if options.merge:
            print(f"taken in: {', '.join(ledger.merge(options.merge))}")
        if options.render or (options.write and options.merge):
            write_page(options.page, ledger.entries)
        if options.render or options.merge:
            return 0
        if options.write:
            write_page(options.page, ledger.entries)  # a page that can't be written is known before hours of work
        chosen = [benchmarks[name] for name in options.only or benchmarks]
        return run(ledger, [b for b in chosen if options.only or not b.left_out], options)
    except (ValueError, OSError, EvcapError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def describe(benchmark: Benchmark, ledger: Ledger) -> str:
    """Name, what is there, why it is left out, what it is."""
    entry = ledger.entries.get(benchmark.name)
    there = "-"
    if entry is not None:
        there = f"{entry.status} {entry.date[:10]} {entry.code}{', busy' if entry.busy else ''}"
    left_out = f" [left out: {benchmark.left_out}]" if benchmark.left_out else ""
    return f"{benchmark.name:<18}{there:<34}{benchmark.title}{left_out}"


def run(ledger: Ledger, chosen: Sequence[Benchmark], options: argparse.Namespace) -> int:
    """Take each, those without any figures first."""
    failed = []
    todo = []
    for benchmark in chosen:
        rounds = ["--rounds", str(options.rounds)] if options.rounds and benchmark.has_rounds else []
        arguments = [*rounds, *options.arguments]
        if options.again or not ledger.is_taken(benchmark.name, arguments, keep_older=options.keep_older):
            todo.append((benchmark, arguments))
    print(f"{len(todo)} of {len(chosen)} benchmarks to take, rows go to {ledger.path}", flush=True)
    for benchmark, arguments in sorted(todo, key=lambda one: one[0].name in ledger.entries):
        print(f"{benchmark.name} {' '.join(arguments)}".rstrip(), flush=True)
        entry = ledger.take(benchmark, arguments, options.limit or benchmark.limit)
        others = "" if entry.load_of_others is None else f", {entry.load_of_others} processors used by others"
        busy = ": BUSY MACHINE" if entry.busy else ""
        print(f"  {entry.status} in {entry.seconds:.0f} s, load {entry.load_before} before{others}{busy}", flush=True)
        if entry.status != DONE:
            failed.append(benchmark.name)
            print(f"  {entry.error}", flush=True)
        if options.write:
            write_page(options.page, ledger.entries)
    if failed:
        print(f"failed: {', '.join(failed)}; what they said is in {ledger.path}", file=sys.stderr)
    return 1 if failed else 0


def _terminated(*_: object) -> None:
    raise SystemExit(143)  # so that the benchmark that runs is ended


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(main(end_leftovers=end_children if adopt_orphans() else None))
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
