"""Captions on a simulated Ray cluster while workers are killed and nodes come and go: the bytes of one machine.

``python -m tests.benchmarks.ray_faults --clips 300``: three nodes of one CPU, simulated here.
At a fifth and at three fifths of the clips a worker is killed (-9), at two fifths a node is removed without grace and
soon after another is added. Prints both times, what was done to the cluster, and whether outputs and processes are as
they should be; ends with code 1 where they are not.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")))

import evcap_cli as evcap  # noqa: E402
from evcap_cli.captioning.engine_captioner import open_captioner  # noqa: E402
from evcap_cli.captioning.options import CaptionOptions  # noqa: E402
from evcap_cli.engines.options import EngineOptions  # noqa: E402
from tests.benchmarks.measured import Measured, report  # noqa: E402
from tests.engines.works import assert_same_outputs  # noqa: E402
from tests.features.films import make_film  # noqa: E402

LEFT_OUT = "simulates a cluster, whose processes need the machine"
STORE_BYTES = 80 << 20
NAMES = ("out.jsonl", "out.srt", "out.vtt")


def processes(name: str) -> set[int]:
    """Those whose command line has ``name`` in it."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and name.encode() in (entry / "cmdline").read_bytes().replace(b"\0", b" "):
                found.add(int(entry.name))
    return found


def decoders_of(workers: set[int]) -> set[int]:
    """Decoding processes of these workers."""
    found = set()
    for pid in processes("evcap_cli.media.decoder_child"):
        with suppress(OSError, ValueError, IndexError):
            if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) in workers:
                found.add(pid)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--frames", type=int, default=40, help="of the longest clip")
    clips = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), clips.clips, clips.frames)


def measure(folder: Path, count: int, frames: int) -> int:
    """The run on one machine, and the one that is disturbed."""
    import ray
    from ray.cluster_utils import Cluster

    alone, many = folder / "alone", folder / "many"
    for each in (folder / "clips", alone, many):
        each.mkdir()
    for number in range(count):
        make_film(folder / "clips" / f"{number:04}.mp4", frames=frames // 2 + number % (frames // 2), seed=number)
    options = CaptionOptions("demo", device="cpu", cache=False, workers=1)
    start = time.perf_counter()
    with closing(open_captioner(options, EngineOptions())) as captioner:
        loaded = time.perf_counter()
        evcap.caption_videos([folder / "clips"], [alone / name for name in NAMES], captioner=captioner)
    print(f"local: {loaded - start:.1f} s to load, {time.perf_counter() - loaded:.1f} s for {count} clips")

    store = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=store)
    nodes = [cluster.add_node(**store) for _ in range(2)]
    cluster.connect()
    seen: list[str] = []
    decoders: set[int] = set()
    killed: set[int] = set()

    def disturb(record: evcap.Record) -> None:
        seen.append(record.path)
        workers = processes("ray::RayWorker")
        decoders.update(decoders_of(workers))
        if len(seen) in (count // 5, 3 * count // 5):
            victim = min(workers - killed)
            killed.add(victim)
            os.kill(victim, signal.SIGKILL)
            print(f"  {len(seen)} clips done: worker {victim} killed")
        if len(seen) == 2 * count // 5:
            cluster.remove_node(nodes[0], allow_graceful=False)
            print(f"  {len(seen)} clips done: a node removed")
        if len(seen) == 2 * count // 5 + 2:
            cluster.add_node(**store)
            print(f"  {len(seen)} clips done: a node added")

    start = time.perf_counter()
    with closing(open_captioner(options, EngineOptions(engine="ray", wait_seconds=120))) as captioner:
        loaded = time.perf_counter()
        summary = evcap.caption_videos(
            [folder / "clips"], [many / name for name in NAMES], captioner=captioner, on_record=disturb
        )
    print(f"Ray: {loaded - start:.1f} s to the first worker, {time.perf_counter() - loaded:.1f} s for {count} clips")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (
        processes("ray::RayWorker") or any(Path(f"/proc/{d}").exists() for d in decoders)
    ):
        time.sleep(0.2)
    left = len(processes("ray::RayWorker")) + sum(Path(f"/proc/{pid}").exists() for pid in decoders)
    ray.shutdown()
    cluster.shutdown()
    for name in NAMES:
        assert_same_outputs(alone / name, many / name)
    once = sorted(seen) == sorted(set(seen)) and len(seen) == count
    lines = [(folder / "out.jsonl").read_text().splitlines() for folder in (alone, many)]
    for one, other in [pair for pair in zip(*lines, strict=True) if pair[0] != pair[1]][:3]:
        print(f"alone: {one}\nmany:  {other}")
    print(f"captioned {summary.done} of {count}, each announced once: {once}")
    other = sum(one != two for one, two in zip(*lines, strict=True))
    print(f"outputs are the same; records with another last digit of a score: {other}")
    print(f"processes left of workers and their decoders: {left}")
    what = f"captions of {count} clips on a simulated Ray cluster while workers are killed and nodes come and go"
    report(
        Measured("same", f"{what}: clips captioned and announced once", (100.0 * once,), "%", at_least=100.0),
        Measured("left", "processes left of workers and their decoders", (left,), "", at_most=0.0),
    )
    return 0 if once and not left else 1


if __name__ == "__main__":
    sys.exit(main())
