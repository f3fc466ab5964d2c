"""What familiarity finds, and what it costs: ``python -m tests.benchmarks.familiarity [--checkpoint X] [--real DIR]``.

480 clips of a demo world that the checkpoint never saw (seed 5) against real clips (if there are some) in pieces of ten
seconds, and against demo clips with inverted colours, with noise and as a mosaic of shuffled tiles; and, so that
encoding alone is seen, against demo clips that were only encoded again, which should be like the unseen ones. For each
kind: the share of captions below the threshold (of unseen clips: false alarms), and how well familiarity, and the
distance that it is made of, tell the kind from unseen clips (area under the ROC curve; equal values count half). Then
what a user sees of the real clips, and the time that familiarity takes of captioning without a cache. Videos of
``--folder`` are kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evcap_cli.app import run as evcap
from evcap_cli.captioning.checkpoint_captioner import CheckpointCaptioner
from evcap_cli.captioning.options import CaptionOptions
from evcap_cli.demo.layout import TEST, write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.features.familiarity import Familiarity
from evcap_cli.features.streams import ClipFeatures
from evcap_cli.inputs import gather
from evcap_cli.output.records import UNFAMILIAR
from tests.benchmarks.altered_videos import ALTERATIONS, altered
from tests.benchmarks.measured import PERCENT, Measured, report

LEDGER_SECONDS = 3600
SEED = 5
REAL_SEGMENTS = "fixed:10"
AUROC_GOAL, FALSE_ALARM_GOAL, TIME_GOAL = 0.99, 2.0, 1.0


@dataclass
class Watched:
    """A checkpoint's summary that notes how long its calls take, and with ``notes`` how unusual each clip is."""

    summary: Familiarity
    notes: bool
    seconds: float = 0.0
    distances: list[float] = field(default_factory=list)

    def of(self, clips: Sequence[ClipFeatures]) -> list[float | None]:
        """What the summary says."""
        begun = time.perf_counter()
        found = self.summary.of(clips)
        self.seconds += time.perf_counter() - begun
        if self.notes:
            self.distances += [value for value in self.summary.unusualness(clips) if value is not None]
        return found


@dataclass(frozen=True)
class Found:
    """Familiarity of each caption of some videos, and how unusual each was."""

    familiarity: list[float]
    distances: list[float]

    @property
    def unfamiliar(self) -> int:
        """Captions below the threshold."""
        return sum(value < UNFAMILIAR for value in self.familiarity)


def auroc(higher: Sequence[float], lower: Sequence[float]) -> float:
    """The probability that one of ``higher`` is above one of ``lower``; equal ones count half."""
    above, below = np.asarray(higher)[:, None], np.asarray(lower)[None]
    return float(((above > below) + (above == below) / 2).mean())


def watching(
    checkpoint: str, *, segment: str = "whole", cache: bool = True, notes: bool = True
) -> tuple[CheckpointCaptioner, Watched]:
    """The captioner of a checkpoint, and its summary."""
    captioner = CheckpointCaptioner(CaptionOptions(checkpoint, segment=segment, cache=cache, device="cpu"))
    summary = captioner.checkpoint.familiarity
    if summary is None:
        raise SystemExit(f"{checkpoint} has no familiarity: train it again, with 20 held-out videos or more")
    watched = Watched(summary, notes)
    captioner.checkpoint.familiarity = watched  # type: ignore[assignment]
    return captioner, watched


def measure(captioner: CheckpointCaptioner, watched: Watched, videos: Sequence[Path]) -> Found:
    """Caption ``videos`` and note how familiar each caption's segment is."""
    watched.distances = []
    found: list[float] = []
    for record in captioner.caption_many(videos):
        if record.error is not None:
            raise SystemExit(f"{record.path}: {record.error['message']}")
        found += [caption.familiarity for caption in record.captions if caption.familiarity is not None]
    return Found(found, watched.distances)


def shares_of_time(checkpoint: str, videos: Sequence[Path], rounds: int) -> list[float]:
    """Percent of the time of captioning ``videos`` without a cache that familiarity takes, in each round."""
    captioner, watched = watching(checkpoint, cache=False, notes=False)
    shares = []
    for _ in range(rounds + 1):
        watched.seconds, begun = 0.0, time.perf_counter()
        for _ in captioner.caption_many(videos):
            pass
        shares.append(100 * watched.seconds / (time.perf_counter() - begun))
    return shares[1:]  # the first round is not counted


def report_kind(kind: str, found: Found, unseen: Found) -> None:
    """One kind of videos against the unseen ones."""
    share, count = 100 * found.unfamiliar / len(found.familiarity), len(found.familiarity)
    note = f"{found.unfamiliar} of {count} below the threshold"
    if found is unseen:
        what = f"familiarity, {count} unseen clips of the demo world: captions below the threshold (false alarms)"
        report(Measured("unseen", what, (share,), PERCENT, at_most=FALSE_ALARM_GOAL, note=note))
        return
    by_distance = auroc(found.distances, unseen.distances)
    report(
        Measured(
            kind,
            f"telling {kind} clips from them by familiarity, area under the ROC curve",
            (auroc(unseen.familiarity, found.familiarity),),
            "",
            at_least=AUROC_GOAL if kind == "real" else None,
            note=f"{note}; {by_distance:.4f} by distance",
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row a kind, what a user sees, and the share of time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--real", type=Path, help="folder of real clips")
    parser.add_argument("--folder", type=Path, help="for the videos, which are kept")
    parser.add_argument("--videos", type=int, default=480, help="unseen clips")
    parser.add_argument("--altered", type=int, default=120, help="of them that are altered in each way")
    parser.add_argument("--timed", type=int, default=40, help="of them that are captioned without a cache")
    parser.add_argument("--rounds", type=int, default=3, help="of that")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    given = parser.parse_args(arguments)
    whole = watching(given.checkpoint)
    if given.folder:
        figures(given, given.folder, *whole)
    else:
        with tempfile.TemporaryDirectory() as folder:
            figures(given, Path(folder), *whole)


def figures(given: argparse.Namespace, folder: Path, captioner: CheckpointCaptioner, watched: Watched) -> None:
    """All of them."""
    world = write_world(folder / "world", make_facts(given.videos, SEED), workers=given.workers, test_share=1.0)
    unseen = sorted(world.video(clip) for clip in world.of(TEST))
    some = unseen[:: max(1, -(-len(unseen) // given.altered))]
    begun = time.monotonic()
    first = measure(captioner, watched, unseen)
    report_kind("unseen", first, first)
    if given.real:
        real = [source.path for source in gather([str(given.real)])]
        report_kind("real", measure(*watching(given.checkpoint, segment=REAL_SEGMENTS), real), first)
    for kind in ALTERATIONS:
        report_kind(kind, measure(captioner, watched, altered(some, folder, kind)), first)
    if given.real:
        print("what a user sees of the real clips:", flush=True)
        output = folder / "real.jsonl"
        evcap(["caption", str(given.real), "-c", given.checkpoint, "--segment", REAL_SEGMENTS, "-o", str(output)])
    shares = shares_of_time(given.checkpoint, unseen[: given.timed], given.rounds)
    what = f"what familiarity takes of captioning {given.timed} clips without a cache"
    report(Measured("time", what, tuple(shares), PERCENT, at_most=TIME_GOAL))
    print(f"{time.monotonic() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
