"""How engines scale: ``python -m tests.benchmarks.engine_scaling [workers | driver | ray]``.

- ``workers``: 1, 2, 4 and 8 worker processes of the local engine caption demo clips whose backbones are replaced: they
  sleep as a GPU would compute, so that the processors idle for more than half of the time even with eight workers.
  Throughput from the moment when all are loaded, as a share of that many times one worker's; with what of the
  processors was in use. The clips are as many for each worker.
- ``driver``: processor time of the driver a video, where workers answer a constant text at once, one video an exchange
  (a real worker answers several at a time): by simulated workers in this process, whose messages are pickled, by two
  worker processes, and by two Ray actors. Then the number of workers at which the driver is busy all the time.
- ``ray``: two Ray actors on one node against two worker processes, the same cold clips, in turn by blocks of clips;
  start-up apart.
"""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")))

from evcap_cli.captioning import engine_captioner  # noqa: E402
from evcap_cli.captioning.engine_captioner import CaptionWork, EngineCaptioner  # noqa: E402
from evcap_cli.captioning.options import CaptionOptions  # noqa: E402
from evcap_cli.captioning.run import caption_videos  # noqa: E402
from evcap_cli.engines.contract import Answer, Crew, Hand, Orders, Work, Worker  # noqa: E402
from evcap_cli.engines.dispatcher import Dispatcher  # noqa: E402
from evcap_cli.engines.local_crew import LocalCrew  # noqa: E402
from evcap_cli.engines.options import EngineOptions  # noqa: E402
from evcap_cli.errors import VideoError  # noqa: E402
from evcap_cli.features.feed import Feed  # noqa: E402
from evcap_cli.inputs import Source, gather  # noqa: E402
from evcap_cli.output.records import Record  # noqa: E402
from tests.benchmarks.measured import Measured, report  # noqa: E402
from tests.engines.works import CONSTANT, ConstantWork, constant  # noqa: E402
from tests.features.films import make_film  # noqa: E402

LEDGER_SECONDS = 3600
NAMES = ("out.jsonl", "out.srt", "out.vtt")
LIMITS = (1, 5, 30)
"""Seconds that a worker takes for a video, for which the driver's limit is said."""
SMALL_BATCH = 4
"""Videos that a sleeping worker has in hand: workers are to be busy, not far ahead."""


@dataclass(frozen=True)
class SleepingWork(Work[tuple[int, Record]]):
    """Captions of the bundled checkpoint, whose backbones sleep; each record comes with the worker's process.

    Args:
        options: of the captioner. seconds: that the backbones take for a video.
    """

    options: CaptionOptions
    seconds: float

    def open(self, device: str | None) -> Worker[tuple[int, Record]]:
        worker = CaptionWork(replace(self.options, device=device or "cpu")).open(None)
        for kind, backbone in worker.captioner.pipeline.backbones.items():  # type: ignore[attr-defined]
            sleep_in(backbone, self.seconds if kind == "appearance" else 0.0)
        return _SleepingWorker(worker)

    def failed(self, source: Source, problem: VideoError, about: Any) -> tuple[int, Record]:
        raise RuntimeError(problem)


def sleep_in(backbone: Any, seconds: float) -> None:
    """Have ``backbone`` compute its first batch of each shape alone; a row takes a moment's share of ``seconds``."""
    from evcap_cli.features.sampling import MOMENTS

    computed, real = {}, backbone.extract

    def extract(batch: Any) -> Any:
        time.sleep(seconds * len(batch) / MOMENTS)
        shape = tuple(batch.shape)
        if shape not in computed:
            computed[shape] = real(batch)
        return computed[shape]

    backbone.extract = extract


class _SleepingWorker(Worker[tuple[int, Record]]):
    def __init__(self, inside: engine_captioner.CaptionWorker) -> None:
        self.inside, self.identity, self.about = inside, inside.identity, None
        self.appetite = SMALL_BATCH

    def serve(self, feed: Feed[Source]) -> Generator[tuple[int, Record], None, None]:
        yield from ((os.getpid(), record) for record in self.inside.serve(feed))


def workers(counts: Sequence[int], clips: int, seconds: float, rounds: int) -> None:
    """Throughput of several workers, a share of linear."""
    with tempfile.TemporaryDirectory() as name:
        films = [make_film(Path(name) / f"{number}.mp4", frames=40, seed=number) for number in range(8)]
        work = SleepingWork(CaptionOptions("demo", device="cpu", cache=False, workers=1), seconds)
        one: list[float] = []
        print("workers   load s  videos/s          of linear         cores in use  driver ms a video")
        for count in counts:
            rates, used, own, loaded = measured(work, count, [films[n % 8] for n in range(count * clips)], rounds)
            one = one or [statistics.median(rates)]
            shares = [rate / count / one[0] for rate in rates]
            print(
                f"{count:>7}  {loaded:>7.1f}  {spread(rates)}  {spread(shares)}  {spread(used)}  {spread(own)}",
                flush=True,
            )
            what = (
                f"{count} worker processes, backbones that sleep {seconds:g} s a clip, {clips} clips each: throughput"
            )
            report(
                Measured(
                    f"workers/{count}",
                    f"{what} as a share of {count} times one worker's",
                    tuple(shares),
                    "",
                    at_least=0.9 if count > 1 else None,
                    note=f"{statistics.median(used):.2f} of {os.cpu_count()} processors in use",
                )
            )


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def measured(
    work: SleepingWork, count: int, films: Sequence[Path], rounds: int
) -> tuple[list[float], list[float], list[float], float]:
    """Videos a second, cores in use, the driver's milliseconds a video of each round; seconds until all had loaded."""
    crew: LocalCrew[tuple[int, Record]] = LocalCrew(work, ["cpu"] * count)
    crew._threads = {"OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    ready: set[int] = set()

    def until_all_are_ready() -> Iterator[Source]:
        while len(ready) < count:
            yield source_of(films[0])

    rates, used, own = [], [], []
    with closing(Dispatcher(work, crew, timeout=120, wait_seconds=120)) as engine:
        engine.configure()
        for _, (pid, record) in engine.run(until_all_are_ready()):
            ready.add(pid)
            if record.error is not None:
                raise RuntimeError(record.error)
        loaded = time.perf_counter() - begun
        for _ in range(rounds):
            cores, cpu, begun = processor_seconds(ready), time.process_time(), time.perf_counter()
            done = sum(1 for _ in engine.run([source_of(film) for film in films], len(films)))
            took = time.perf_counter() - begun
            if done != len(films):
                raise RuntimeError(f"{done} of {len(films)}")
            rates.append(done / took)
            used.append((processor_seconds(ready) - cores) / took)
            own.append(1000 * (time.process_time() - cpu) / done)
    return rates, used, own, loaded


def processor_seconds(pids: set[int]) -> float:
    """Of this process, of ``pids`` and of their children, those that have ended included."""
    ticks = 0
    children = {*pids}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            if entry.name.isdecimal() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) in pids:
                children.add(int(entry.name))
    for pid in children:
        with suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


def source_of(film: Path) -> Source:
    """One video."""
    return next(iter(gather([str(film)])))


class SimulatedCrew(Crew[Record]):
    """Workers in this process that answer at once: what is left is the driver's own work; messages are pickled."""

    def __init__(self, count: int) -> None:
        self.count = count

    def recruit(self, present: Sequence[Hand[Record]], refused: set[str]) -> list[Hand[Record]]:
        return [_SimulatedHand(f"worker {number}") for number in range(len(present), self.count)]

    def wait(self, hands: Sequence[Hand[Record]], seconds: float) -> list[Hand[Record]]:
        return [hand for hand in hands if hand.ready]  # type: ignore[attr-defined]

    def missing(self) -> str:
        return "nothing is missing"


class _SimulatedHand(Hand[Record]):
    def __init__(self, place: str) -> None:
        self.name = self.place = place
        self.answers = deque[bytes]()
        self.progress = 0

    @property
    def ready(self) -> bool:
        return bool(self.answers)

    def send(self, orders: Orders) -> None:
        orders = pickle.loads(pickle.dumps(orders))
        answer: Answer[Record] = Answer(orders.version, CONSTANT.settings, CONSTANT)
        answer.results = [(number, constant(source)) for number, source in orders.sources]
        self.progress += len(answer.results)
        answer.progress = self.progress
        self.answers.append(pickle.dumps(answer))

    def answer(self) -> Answer[Record]:
        found: Answer[Record] = pickle.loads(self.answers.popleft())
        return found

    def end(self) -> None:
        pass


def driver(videos: int, rounds: int, simulated: Sequence[int], *, flush: bool, with_ray: bool) -> None:
    """The driver's processor time a video, and the number of workers that keep it busy."""
    kinds = {"2 processes": EngineOptions()}
    kinds |= {f"{count} simulated": EngineOptions() for count in simulated}
    kinds |= {"2 Ray actors": EngineOptions(engine="ray", workers_per_node=2, cpus_per_worker=0.5)} if with_ray else {}
    print(f"{'workers':<16} driver's ms a video   wall ms a video     busy with workers of 1 s, 5 s, 30 s a video")
    with (
        tempfile.TemporaryDirectory() as name,
        patch.object(engine_captioner, "CaptionWork", ConstantWork),
        nullcontext() if flush else patch.object(os, "fsync", os.fstat),
    ):
        folder = Path(name) / "videos"
        for number in range(videos):
            place = folder / f"{number // 1000:04}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"clip {number:06}.mp4").write_bytes(b"film")
        for kind, options in kinds.items():
            used, took = [], []
            for round_ in range(rounds):
                out = Path(name) / f"{kind} {round_}"
                out.mkdir()
                cpu, wall = driven(kind, options, folder, out)
                used.append(1000 * cpu / videos)
                took.append(1000 * wall / videos)
            limits = ", ".join(f"{1000 * seconds / statistics.median(used):,.0f}" for seconds in LIMITS)
            print(f"{kind:<16} {spread(used)}   {spread(took)}   {limits}", flush=True)
            report(
                Measured(
                    f"driver/{kind}",
                    f"the driver's processor time a video, {kind} that answer a constant text, one video an exchange",
                    tuple(used),
                    "ms",
                ),
                Measured(
                    f"driver/limit, {kind}",
                    f"workers of {LIMITS[1]} s a video that keep such a driver busy",
                    tuple(1000 * LIMITS[1] / each for each in used),
                    "",
                    at_least=1000,
                ),
            )


def driven(kind: str, options: EngineOptions, folder: Path, out: Path) -> tuple[float, float]:
    """Processor and wall seconds of one run, after its workers have begun."""
    number, _, name = kind.partition(" ")
    made = (lambda *_: SimulatedCrew(int(number))) if name == "simulated" else engine_captioner.crew_of
    with patch.object(engine_captioner, "crew_of", made):
        device = "cpu" if options.engine == "ray" else "cpu,cpu"
        captioner = EngineCaptioner(CaptionOptions("demo", device=device, cache=False), options)
    with closing(captioner):
        cpu, wall = time.process_time(), time.perf_counter()
        summary = caption_videos([folder], [out / name for name in NAMES], captioner=captioner)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if summary.done != summary.total:
        raise RuntimeError(f"{summary.failed} failed")
    return cpu, wall


def against_ray(clips: int, block: int, frames: int) -> None:
    """Two Ray actors against two worker processes, by turns."""
    engines = {
        "local": ("cpu,cpu", EngineOptions()),
        "ray": ("cpu", EngineOptions(engine="ray", workers_per_node=2, cpus_per_worker=1)),
    }
    with tempfile.TemporaryDirectory() as name:
        films = [
            make_film(Path(name) / f"{number:04}.mp4", frames=frames // 2 + number % (frames // 2), seed=number)
            for number in range(clips)
        ]
        opened: dict[str, EngineCaptioner] = {}
        started: dict[str, float] = {}
        taken: dict[str, list[float]] = {each: [] for each in engines}
        try:
            for each, (device, options) in engines.items():
                begun = time.perf_counter()
                captioner = EngineCaptioner(CaptionOptions("demo", device=device, cache=False, workers=1), options)
                first = started[each] = time.perf_counter() - begun
                opened[each] = captioner
                # all workers are there, and each has seen a video
                timed_block(captioner, films[:block], Path(name) / f"{each} first")
                whole = time.perf_counter() - begun
                print(f"{each:<6} {first:5.1f} s until the first worker was loaded, {whole:.1f} s with a first block")
            for start in range(0, clips, block):
                order = list(opened) if start // block % 2 == 0 else list(opened)[::-1]
                for each in order:
                    out = Path(name) / f"{each} {start}"
                    taken[each].append(timed_block(opened[each], films[start : start + block], out))
                same = [(Path(name) / f"{each} {start}" / "out.srt").read_bytes() for each in opened]
                if same[0] != same[1]:
                    raise RuntimeError("the outputs differ")
        finally:
            for captioner in opened.values():
                captioner.close()
    for each, seconds in taken.items():
        print(
            f"{each:<6} {sum(seconds):6.1f} s for {clips} cold clips in blocks of {block}: {spread(seconds)} s a block"
        )
    report(
        Measured(
            "ray/local",
            f"two Ray workers on one node against two worker processes, {clips} cold clips in blocks of {block}",
            tuple(many / one for one, many in zip(taken["local"], taken["ray"], strict=True)),
            at_most=1.15,
            note=f"{sum(taken['ray']) / sum(taken['local']):.2f}x of all blocks together",
        ),
        Measured("ray/start", "seconds until the first Ray worker was loaded", (started["ray"],), "s"),
        Measured("local/start", "seconds until the first of two worker processes was loaded", (started["local"],), "s"),
    )


def timed_block(captioner: EngineCaptioner, films: Sequence[Path], out: Path) -> float:
    """Seconds for these clips."""
    out.mkdir()
    begun = time.perf_counter()
    summary = caption_videos([str(film) for film in films], [out / name for name in NAMES], captioner=captioner)
    took = time.perf_counter() - begun
    if summary.done != len(films):
        raise RuntimeError(f"{summary.failed} failed")
    return took


def main() -> int:
    """Measure what is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("workers", "driver", "ray"), help="all of them by default")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--clips", type=int, default=32, help="of `workers`, for each of them")
    parser.add_argument("--seconds", type=float, default=2.5, help="that replaced backbones take for a video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=4000, help="of `driver`")
    parser.add_argument("--simulated", type=int, nargs="*", default=[2, 100, 1000, 2000])
    parser.add_argument("--flush", action="store_true", help="of `driver`: flush each record to the disk")
    parser.add_argument("--no-ray", action="store_true", help="measure nothing with Ray")
    parser.add_argument("--cold", type=int, default=200, help="clips of `ray`")
    parser.add_argument("--block", type=int, default=20, help="clips of a turn of `ray`")
    parser.add_argument("--frames", type=int, default=120, help="of the longest clip of `ray`")
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with_ray = not chosen.no_ray and find_spec("ray") is not None
    what = (chosen.what,) if chosen.what else ("workers", "driver", "ray")
    if "workers" in what:
        workers(chosen.workers, chosen.clips, chosen.seconds, chosen.rounds)
    if "driver" in what:
        driver(chosen.videos, chosen.rounds, chosen.simulated, flush=chosen.flush, with_ray=with_ray)
    if "ray" in what and with_ray:
        against_ray(chosen.cold, chosen.block, chosen.frames)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return 0


if __name__ == "__main__":
    from tests.benchmarks import engine_scaling  # workers find its classes there

    sys.exit(engine_scaling.main())
