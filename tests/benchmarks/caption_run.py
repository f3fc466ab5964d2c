"""``evcap caption`` as a whole against its parts: ``python -m tests.benchmarks.caption_run [--clips 20] [--rounds 3]``.

Clips of the demo world, the bundled checkpoint, an empty cache and a full one. Cold is judged by the time after
imports against one PyAV pass over all files and the bare work of backbones and captioner on the same threads; warm by
whole processes, imports included. All are taken in turn, so that a noisy neighbour slows all of them alike.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from evcap_cli.app import SPINS
from evcap_cli.captioning.checkpoint_captioner import CLIPS_A_BATCH, CheckpointCaptioner
from evcap_cli.captioning.options import CaptionOptions
from evcap_cli.demo.layout import write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.features.events import SegmentReady
from evcap_cli.features.pipeline import FeaturePipeline
from tests.benchmarks.features import Forwards, plain_pass
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import ratios, table

ROOT = Path(__file__).parents[2]
SEED = 5
CODE = """
import sys, time
import av, torch, safetensors.torch
import evcap_cli.captioning.run, evcap_cli.captioning.checkpoint_captioner, evcap_cli.features.pipeline
import evcap_cli.checkpoints.checkpoint, evcap_cli.search.beam_search
import evcap_backbones.lite.appearance, evcap_backbones.lite.motion, evcap_backbones.lite.objects
import evcap_backbones.lite.audio
from evcap_cli import app
begun = time.perf_counter()
code = app.run(sys.argv[1:])
print(time.perf_counter() - begun)
sys.exit(code)
"""


def run_process(videos: Path, out: Path, cache: Path) -> tuple[float, float]:
    """Seconds of one ``evcap caption`` in a fresh process: as a whole, and after imports."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
    arguments = ["caption", str(videos), "-o", str(out), "--cache-dir", str(cache), "-q"]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        check=True,
        env={**os.environ, "PYTHONPATH": path, "GOMP_SPINCOUNT": SPINS},  # as ``app.main`` does
        capture_output=True,
        text=True,
    )
    return time.perf_counter() - begun, float(done.stdout.splitlines()[-1])


class Bare:
    """The work of backbones and captioner without everything around it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.engine = CheckpointCaptioner(CaptionOptions(cache=False))
        backbones = self.engine.pipeline.backbones
        events = self._segments(paths[:1])  # first calls build plans and tables
        self.forwards = Forwards(backbones)
        events = self._segments(paths)
        self.batches = [events[at : at + CLIPS_A_BATCH] for at in range(0, len(events), CLIPS_A_BATCH)]

    def _segments(self, paths: Sequence[Path]) -> list[SegmentReady]:
        pipeline = FeaturePipeline(self.engine.pipeline.backbones, cache=None, workers=1)
        return [event for event in pipeline.run(paths) if isinstance(event, SegmentReady)]

    def backbones(self) -> float:
        return sum(self.forwards.alone().values())

    def captioner(self) -> float:
        begun = time.perf_counter()
        for batch in self.batches:
            self.engine._caption(batch)
        return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = write_world(folder / "world", make_facts(given.clips, SEED))
        paths = [world.video(clip) for clip in world.facts]
        bare = Bare(paths)
        rows: dict[str, list[float]] = {}
        for _ in range(given.rounds):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            cold, cold_after = run_process(folder / "world" / "videos", folder / "cold.jsonl", folder / "cache")
            warm, warm_after = run_process(folder / "world" / "videos", folder / "warm.jsonl", folder / "cache")
            if (folder / "cold.jsonl").read_bytes() != (folder / "warm.jsonl").read_bytes():
                raise SystemExit("cold and warm captions differ")
            taken = {
                "one PyAV pass": plain_pass(paths),
                "backbones alone": bare.backbones(),
                "captioner alone": bare.captioner(),
                "cold, after imports": cold_after,
                "cold, whole process": cold,
                "warm, after imports": warm_after,
                "warm, whole process": warm,
            }
            for title, seconds in taken.items():
                rows.setdefault(title, []).append(seconds)
    rows["parts"] = [sum(times) for times in zip(*(rows[part] for part in list(rows)[:3]), strict=True)]
    print(table(rows))
    parts = "time after imports against one PyAV pass, the backbones and the captioner alone"
    report(
        Measured(
            "cold",
            f"`evcap caption`, {given.clips} demo clips, cold: {parts}",
            ratios(rows, "cold, after imports", "parts"),
            at_most=1.15,
        ),
        Measured(
            "warm",
            "the same, warm: whole process against whole process, imports included, times faster",
            ratios(rows, "cold, whole process", "warm, whole process"),
            at_least=3.0,
        ),
    )


if __name__ == "__main__":
    main()
