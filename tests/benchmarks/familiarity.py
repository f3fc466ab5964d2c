"""What familiarity finds, and what it costs: ``python -m tests.benchmarks.familiarity --checkpoint X --real DIR``.

480 clips of a demo world that the checkpoint never saw (seed 5) against real clips in pieces of ten seconds, and
against demo clips with inverted colours, with noise and as a mosaic of shuffled tiles; and, so that encoding alone is
seen, against demo clips that were only encoded again, which should be like the unseen ones. For each kind: the share of
captions below the threshold (of unseen clips: false alarms), and how well familiarity, and the distance that it is made
of, tell the kind from unseen clips (area under the ROC curve; equal values count half). Then what a user sees of the
real clips, and the time that familiarity takes of captioning without a cache. Videos are drawn into ``--folder`` once.
"""

from __future__ import annotations

import argparse
import statistics
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

SEED = 5
REAL_SEGMENTS = "fixed:10"
AUROC_GOAL, FALSE_ALARM_GOAL, TIME_GOAL = 0.99, 0.02, 0.01


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
class Measured:
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


def measure(captioner: CheckpointCaptioner, watched: Watched, videos: Sequence[Path]) -> Measured:
    """Caption ``videos`` and note how familiar each caption's segment is."""
    watched.distances = []
    found: list[float] = []
    for record in captioner.caption_many(videos):
        if record.error is not None:
            raise SystemExit(f"{record.path}: {record.error['message']}")
        found += [caption.familiarity for caption in record.captions if caption.familiarity is not None]
    return Measured(found, watched.distances)


def shares_of_time(checkpoint: str, videos: Sequence[Path], rounds: int) -> list[float]:
    """The part of the time of captioning ``videos`` without a cache that familiarity takes, in each round."""
    captioner, watched = watching(checkpoint, cache=False, notes=False)
    shares = []
    for _ in range(rounds + 1):
        watched.seconds, begun = 0.0, time.perf_counter()
        for _ in captioner.caption_many(videos):
            pass
        shares.append(watched.seconds / (time.perf_counter() - begun))
    return shares[1:]  # the first round is not counted


def print_row(kind: str, found: Measured, unseen: Measured) -> None:
    """One kind of videos against the unseen ones."""
    count = len(found.familiarity)
    share = f"{found.unfamiliar:4} of {count:4} unfamiliar ({100 * found.unfamiliar / count:5.1f} %)"
    if found is unseen:
        print(f"{kind:<18}{share}: false alarms, goal at most {100 * FALSE_ALARM_GOAL:.0f} %")
        return
    by_share = auroc(unseen.familiarity, found.familiarity)
    by_distance = auroc(found.distances, unseen.distances)
    goal = f", goal at least {AUROC_GOAL}" if kind == "real" else ""
    print(f"{kind:<18}{share}, AUROC {by_share:.4f} by familiarity{goal}, {by_distance:.4f} by distance")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row a kind, what a user sees, and the share of time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--real", type=Path, required=True, help="folder of real clips")
    parser.add_argument("--folder", type=Path, default=Path("familiarity"), help="for the videos, which are kept")
    parser.add_argument("--videos", type=int, default=480, help="unseen clips")
    parser.add_argument("--altered", type=int, default=120, help="of them that are altered in each way")
    parser.add_argument("--timed", type=int, default=40, help="of them that are captioned without a cache")
    parser.add_argument("--rounds", type=int, default=3, help="of that")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    given = parser.parse_args(arguments)
    whole = watching(given.checkpoint)
    world = write_world(given.folder / "world", make_facts(given.videos, SEED), workers=given.workers, test_share=1.0)
    unseen = sorted(world.video(clip) for clip in world.of(TEST))
    some = unseen[:: max(1, -(-len(unseen) // given.altered))]
    real = [source.path for source in gather([str(given.real)])]
    begun = time.monotonic()

    first = measure(*whole, unseen)
    print_row("unseen", first, first)
    print_row("real", measure(*watching(given.checkpoint, segment=REAL_SEGMENTS), real), first)
    for kind in ALTERATIONS:
        print_row(kind, measure(*whole, altered(some, given.folder, kind)), first)
    print("what a user sees of the real clips:", flush=True)
    output = given.folder / "real.jsonl"
    evcap(["caption", str(given.real), "-c", given.checkpoint, "--segment", REAL_SEGMENTS, "-o", str(output)])
    shares = shares_of_time(given.checkpoint, unseen[: given.timed], given.rounds)
    print(
        f"familiarity takes {100 * statistics.median(shares):.3f} % of captioning without a cache"
        f" ({100 * min(shares):.3f} to {100 * max(shares):.3f}, {given.rounds} rounds of {given.timed} clips),"
        f" goal under {100 * TIME_GOAL:.0f} %"
    )
    print(f"{time.monotonic() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
