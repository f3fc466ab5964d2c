"""Memory and time of large plans: ``python -m tests.benchmarks.plan_memory [--sizes 200 20000] [--constant 1000000]``.

Three measurements, each in a process of its own:

- ``links``: ``caption_videos`` of the bundled checkpoint on links to four demo clips, with a warm cache, into .jsonl,
  .srt, .vtt and .tsv. Links to one file are captioned once: what grows is the driver's own work.
- ``constant``: the same run with a captioner that answers a constant text and opens no video, so that a million videos
  show what the driver itself takes; with ``--flush``, each record is flushed to the disk as in a real run.
- ``journal``: how long a journal of so many records takes to open, and its first and last record to be read.

Time is that after imports and loading. ``--root OTHER`` measures another checkout of evcap, such as an older one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evcap_cli.inputs import Source
    from evcap_cli.output.records import Record
    from tests.benchmarks.measured import Measured

HERE = Path(__file__).parents[2]
LEDGER_SECONDS = 7200
CLIPS = 4
NAMES = ("out.jsonl", "out.srt", "out.vtt", "out.tsv")
A_FOLDER = 1000
"""Videos of a folder."""
SEED = 5


def make_clips(folder: Path) -> list[Path]:
    """Clips of the demo world."""
    from evcap_cli.demo.layout import write_world
    from evcap_cli.demo.make_facts import make_facts

    facts = make_facts(CLIPS, SEED)
    write_world(folder, facts, test_share=1.0)
    return sorted((folder / "videos").rglob("*.mp4"))


def make_links(folder: Path, clips: Sequence[Path], count: int) -> Path:
    """A tree of ``count`` names of these clips."""
    for number in range(count):
        place = folder / f"{number // A_FOLDER:04}"
        if number % A_FOLDER == 0:
            place.mkdir(parents=True)
        (place / f"clip {number:07}.mp4").symlink_to(clips[number % len(clips)])
    return folder


def constant_captioner() -> Any:
    """A captioner that answers a constant text."""
    from evcap_cli.captioning.captioner import Captioner
    from evcap_cli.output.records import Caption, Emotion, Media, Record

    class Constant(Captioner):
        name, digest, lexicon = "constant", "0" * 32, None
        settings = {"checkpoint": "constant"}  # noqa: RUF012

        def __init__(self) -> None:
            pass

        def run(self, sources: Sequence[Source]) -> Generator[Record, None, None]:
            felt = Emotion("joy", 0.7123, ("happily",), {"joy": 0.7123, "surprise": 0.1, "trust": 0.05})
            captions = (Caption(0.0, 5.0, "a dog is happily running across the meadow", -0.4123, felt),)
            media = Media(5.0, "25/1", 320, 180, 0, has_audio=True)
            kinds = {"appearance": "lite-appearance", "motion": "lite-motion", "audio": "lite-audio"}
            made = {"name": self.name, "digest": self.digest}
            for source in sources:
                yield Record(source.given, source.id, "0" * 32, "ok", captions, media, kinds, made)

        def serve(self, feed: Any) -> Any:
            raise NotImplementedError

        _run = serve

    return Constant()


def warm_up(inputs: Path, outputs: Path, captioner: Any) -> None:
    """A run of one video: it loads what runs load late."""
    from evcap_cli.captioning.run import caption_videos

    (outputs / "first").mkdir()
    caption_videos([str(inputs)], [str(outputs / "first" / name) for name in NAMES], captioner=captioner, limit=1)


def run(kind: str, inputs: Path, outputs: Path, *, flush: bool) -> dict[str, float]:
    """One run in this process, after imports and loading."""
    import evcap_cli as evcap
    from evcap_cli.captioning.run import caption_videos

    if not flush:
        os.fsync = os.fstat  # type: ignore[assignment]
    captioner = constant_captioner() if kind == "constant" else evcap.load_captioner("demo")
    warm_up(inputs, outputs, captioner)
    before, begun, used = peak_mib(), time.perf_counter(), time.process_time()
    summary = caption_videos([str(inputs)], [str(outputs / name) for name in NAMES], captioner=captioner)
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    if summary.done != summary.total:
        raise RuntimeError(f"{summary.failed} of {summary.total} videos failed")
    return {"videos": summary.total, "seconds": seconds, "cpu": used, "before": before, "peak": peak_mib()}


def open_journal(count: int, folder: Path) -> dict[str, float]:
    """Write a journal of ``count`` records, and open it."""
    from pathlib import PurePosixPath

    from evcap_cli.inputs import Source
    from evcap_cli.output.journal import RECORDS, Journal

    video = folder / "video.mp4"
    video.write_bytes(b"film")

    def name(number: int) -> str:
        return f"videos/{number // A_FOLDER:04}/clip {number:07}.mp4"

    with Journal(folder / "j", {}) as journal:
        (record,) = constant_captioner().run([Source(video, name(0), PurePosixPath("x"), name(0))])
        journal.add(name(0), video, record)
    line = (folder / "j" / RECORDS).read_text().splitlines()[1]
    with (folder / "j" / RECORDS).open("a") as file:
        file.writelines(line.replace(name(0), name(number)) + "\n" for number in range(1, count))
    before, begun, used = peak_mib(), time.perf_counter(), time.process_time()
    with Journal(folder / "j", {}) as journal:
        seconds, used = time.perf_counter() - begun, time.process_time() - used
        if any(journal.get(name(number), video) is None for number in (0, count - 1)):
            raise RuntimeError("a record is not found again")
    return {"videos": count, "seconds": seconds, "cpu": used, "before": before, "peak": peak_mib()}


def peak_mib() -> float:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process(
    root: Path, arguments: Sequence[object], environment: dict[str, str], module: Path = Path(__file__)
) -> dict[str, float]:
    """What one of the measurements of ``module`` prints, by the evcap of ``root``."""
    path = os.pathsep.join((str(root), str(root / "plugins"), str(HERE)))
    code = "import runpy, sys; sys.argv[0] = sys.argv.pop(1); runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(module), *map(str, arguments)],
        check=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(kind: str, rows: Sequence[dict[str, float]]) -> None:
    """Print measurements of one kind, each against the first."""
    titles = {"seconds": 10, "ms/video": 10, "cpu ms": 9, "peak MiB": 10, "peak x": 8, "time x": 8}
    print(f"{kind:<9}{'videos':>9}" + "".join(f"{title:>{width}}" for title, width in titles.items()))
    for row in rows:
        each, first = 1000 * row["seconds"] / row["videos"], 1000 * rows[0]["seconds"] / rows[0]["videos"]
        print(
            f"{'':<9}{row['videos']:>9.0f}{row['seconds']:>10.2f}{each:>10.3f}{1000 * row['cpu'] / row['videos']:>9.3f}"
            f"{row['peak']:>10.1f}{row['peak'] / rows[0]['peak']:>8.2f}{each / first:>8.2f}",
            flush=True,
        )


WHAT = {
    "links": "links to four demo clips, warm cache, four outputs",
    "constant": "videos, a captioner that answers a constant text",
    "journal": "records of a journal, opened",
}
GOALS = {"links": 1.2}
"""Of peak memory and of the time of each, against the smallest."""


def figures(kind: str, rows: Sequence[dict[str, float]], described: str = "") -> list[Measured]:
    """The last of one kind against the first: peak memory, and time each; ``described``: of other kinds."""
    from tests.benchmarks.measured import Measured  # an older checkout, measured with --root, may not have it

    first, last = rows[0], rows[-1]
    what = f"{last['videos']:,.0f} {described or WHAT[kind]}"
    made = [Measured(f"{kind}/seconds", what, (last["seconds"],), "s", at_most=10.0 if kind == "journal" else None)]
    if len(rows) > 1:
        against = f"{what}, against {first['videos']:,.0f}"
        peaks = f"{last['peak']:.0f} against {first['peak']:.0f} MiB"
        each = (last["seconds"] / last["videos"]) / (first["seconds"] / first["videos"])
        made += [
            Measured(
                f"{kind}/memory",
                f"{against}: peak memory",
                (last["peak"] / first["peak"],),
                at_most=GOALS.get(kind),
                note=peaks,
            ),
            Measured(f"{kind}/time", f"{against}: time of each", (each,), at_most=GOALS.get(kind)),
        ]
    return made


def main() -> None:
    """Measure, or be one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[200, 20_000], help="links to demo clips")
    parser.add_argument("--constant", type=int, nargs="*", default=[200, 20_000, 1_000_000], help="constant text")
    parser.add_argument("--journal", type=int, nargs="*", default=[200, 1_000_000], help="records of a journal")
    parser.add_argument("--flush", action="store_true", help="flush each record to the disk")
    parser.add_argument("--root", type=Path, default=HERE, help="checkout of evcap to measure")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        kind, count, folder = chosen.one[0], int(chosen.one[1]), Path(chosen.one[2])
        measured: Callable[[], dict[str, float]] = lambda: run(  # noqa: E731
            kind, folder / "videos", folder, flush=chosen.flush
        )
        print(json.dumps(open_journal(count, folder) if kind == "journal" else measured()))
        return
    from tests.benchmarks.measured import report

    with tempfile.TemporaryDirectory() as name:
        clips = make_clips(Path(name) / "world")
        environment = {"EVCAP_CACHE_DIR": str(Path(name) / "cache")}
        more = ["--flush"] if chosen.flush else []
        for kind, sizes in (("links", chosen.sizes), ("constant", chosen.constant), ("journal", chosen.journal)):
            rows = []
            for number, count in enumerate([*([CLIPS] if kind == "links" and sizes else []), *sizes]):
                folder = Path(name) / f"{kind}-{count}"
                folder.mkdir()
                if kind != "journal":
                    make_links(folder / "videos", clips, count)
                found = in_a_process(chosen.root, ["--one", kind, count, folder, *more], environment)
                if kind != "links" or number:  # the first fills the cache
                    rows.append(found)
            if rows:
                table(kind, rows)
                report(*figures(kind, rows))


if __name__ == "__main__":
    main()
