"""A machine with one GPU, in at most eight minutes: ``python -m tests.benchmarks.gpu --out DIR``.

Cold and warm caption runs of 200 demo clips with their captions against the CPU's, the share of time that the device
is busy, and bf16 and fp32 throughput of each backbone, of search and of training (``gpu_parts.py``). Each part is a
process with a time limit of its own: one that is slow, fails or dies leaves the others their time, and the rows it had.
DIR/gpu.md and DIR/gpu.json are written again after each part.

``--device cpu --quick --limit 300`` shows on any machine that every part works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.benchmarks import gpu_parts
from tests.benchmarks.gpu_parts import Row, Sizes
from tests.benchmarks.measured import Measured, report

ROOT: Final = Path(__file__).parents[2]
LEFT_OUT = "needs a machine with a GPU"


@dataclass(frozen=True)
class Part:
    """Something to measure.

    Args:
        title: above its table.
        seconds: after which its process is ended.
        rows: measures; it is given the sizes and the folder of the demo world.
    """

    title: str
    seconds: float
    rows: Callable[[Sizes, Path], Iterator[Row]]


def _backbone(name: str) -> Part:
    return Part(f"Backbone {name}", 17, lambda sizes, _: gpu_parts.one_backbone(sizes, name))


PARTS: Final[dict[str, Part]] = {
    "clips": Part("Demo clips drawn", 45, gpu_parts.draw_clips),
    "caption": Part("Caption runs of the demo clips", 125, gpu_parts.caption_runs),
    "busy": Part("Share of time that the device is busy", 70, gpu_parts.busy_shares),
    "search": Part("Beam search", 25, lambda sizes, _: gpu_parts.searches(sizes)),
    "training": Part("Training steps", 30, lambda sizes, _: gpu_parts.training_steps(sizes)),
    **{name: _backbone(name) for name in gpu_parts.BACKBONES},
}
"""In the order in which they are measured; the limits add up to less than eight minutes."""


@dataclass
class Result:
    """What a part found.

    Args:
        state: "done", or why it is not.
        seconds: it took.
        rows: of its table.
    """

    state: str
    seconds: float
    rows: list[Row] = field(default_factory=list)


def measured(name: str, seconds: float, command: Sequence[str]) -> Result:
    """Run a part as a process that prints its rows, JSON a line, and end it with its children after ``seconds``."""
    path = os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH"))))
    begun = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        result = Result("done", 0.0)
        try:
            while (line := lines.get(timeout=max(seconds - (time.monotonic() - begun), 0.01))) is not None:
                result.rows.append(json.loads(line))
            if process.wait():
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().splitlines() or ["nothing"]
                result.state = f"failed (exit code {process.returncode}): {said[-1]}"
        except queue.Empty:
            result.state = f"ended at its limit of {seconds:g} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    result.seconds = time.monotonic() - begun
    print(f"{name}: {result.state}, {result.seconds:.1f} s", file=sys.stderr, flush=True)
    return result


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            lines.put(line)
    lines.put(None)


def _end_with_parent() -> None:
    """Whatever ends the parent closes this pipe."""
    sys.stdin.read()
    os._exit(1)


def machine(device: str) -> dict[str, str]:
    """What the figures are taken on.

    Raises:
        SystemExit: there is no such device here.
    """
    cores = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    about = {"device": device, "cores": cores, "system": platform.platform(), "Python": platform.python_version()}
    about |= {name: version(name) for name in ("torch", "evcap")}
    if device == "cpu":
        return about
    code = (
        "import sys, torch; print(torch.cuda.get_device_name(torch.device(sys.argv[1])), torch.version.cuda, sep='\\n')"
    )
    asked = subprocess.run([sys.executable, "-c", code, device], capture_output=True, text=True)
    if asked.returncode:
        said = asked.stderr.strip().splitlines() or ["nothing"]
        raise SystemExit(f"--device {device} does not work here: {said[-1]}; --device cpu --quick tries all parts")
    about["device"], about["CUDA"] = asked.stdout.splitlines()[-2:]
    return about


def markdown(about: dict[str, str], results: dict[str, Result], *, quick: bool) -> str:
    """All tables."""
    lines = ["# evcap on one device", "", "; ".join(f"{name} {value}" for name, value in about.items()) + "."]
    if quick:
        lines += ["", "Made with --quick: it shows that every part works, and the figures mean nothing."]
    for name, result in results.items():
        lines += ["", f"## {PARTS[name].title}", "", f"`{name}`: {result.state}, {result.seconds:.0f} s.", ""]
        lines += table(result.rows)
    return "\n".join(lines).rstrip() + "\n"


def table(rows: Sequence[Row]) -> list[str]:
    """Rows of Markdown; rows with other columns than those before begin another table."""
    lines: list[str] = []
    titles: list[str] = []
    for row in rows:
        if not titles or not set(row) <= set(titles):
            alike = [each for each in rows if set(each) & set(row) - {next(iter(row))}]
            titles = list(dict.fromkeys(title for each in alike for title in each))
            lines += ([""] if lines else []) + ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
        lines.append("| " + " | ".join(shown(row.get(title)) for title in titles) + " |")
    return lines


def shown(value: object) -> str:
    """A cell: four digits of a number."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "" if value is None else str(value)


def figures(results: Mapping[str, Result]) -> Iterator[Measured]:
    """Every measured number, for the ledger."""
    for part, result in results.items():
        for row in result.rows:
            which = " ".join(value for value in row.values() if isinstance(value, str))
            for title, value in row.items():
                if isinstance(value, float):
                    yield Measured(
                        f"{part}/{which}/{title}", f"{PARTS[part].title}, {which}: {title}", (value,), unit=""
                    )


def write(out: Path, about: dict[str, str], results: dict[str, Result], *, quick: bool) -> None:
    """Both files, each whole."""
    from evcap_cli.files import write_whole

    values = {"machine": about, "quick": quick, "parts": {name: asdict(result) for name, result in results.items()}}
    write_whole(out / "gpu.json", json.dumps(values, indent=1) + "\n")
    write_whole(out / "gpu.md", markdown(about, results, quick=quick))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all parts, or be one of them; 1 where a part is not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu-benchmark"), help="folder of gpu.md and gpu.json")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 16), help="decoding processes")
    parser.add_argument("--clips", type=int, default=Sizes.clips, help="of the demo world")
    parser.add_argument("--quick", action="store_true", help="as little as shows that every part works")
    parser.add_argument("--only", nargs="+", choices=[*PARTS], metavar="PART", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--limit", type=float, help="seconds of each part, in place of its own")
    parser.add_argument("--part", nargs=2, metavar=("NAME", "WORLD"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    more = gpu_parts.QUICK if given.quick else {"clips": given.clips}
    sizes = Sizes(given.device, given.workers, **more)  # type: ignore[arg-type]
    if given.part:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        gpu_parts.choose(sizes)
        for row in PARTS[given.part[0]].rows(sizes, Path(given.part[1])):
            print(json.dumps(row), flush=True)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the part under way ends, too
    chosen = [name for name in PARTS if given.only is None or name in given.only]
    if given.only and {"caption", "busy"} & set(chosen) and "clips" not in chosen:
        chosen.insert(0, "clips")
    about = machine(given.device)
    results: dict[str, Result] = {}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as world:
        for name in chosen:
            command = [sys.executable, "-m", "tests.benchmarks.gpu", "--device", given.device, "--part", name, world]
            command += ["--workers", str(given.workers), "--clips", str(given.clips)] + ["--quick"] * given.quick
            results[name] = measured(name, given.limit or PARTS[name].seconds, command)
            write(given.out, about, results, quick=given.quick)
    report(*figures(results))
    print(f"{time.monotonic() - begun:.0f} s in all; {given.out / 'gpu.md'}", file=sys.stderr)
    return 0 if all(result.state == "done" for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
