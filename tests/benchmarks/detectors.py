"""Objects of thirty frames by each detector: ``python -m tests.benchmarks.detectors [--frames N]``.

Real sizes, random weights, the same frames for all, each brought to the size that its detector wants beforehand.
Prints processor seconds a frame on one thread and the ratio to Faster R-CNN. Random weights find nothing with some
confidence: score thresholds are 0, so that as many boxes are kept of a frame as ever are.
Short batches are filled: only numbers of frames that all batches divide (6, 12, ...) compare fairly.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from evcap_cli.backbones.contract import Backbone, FrameInput
from evcap_cli.backbones.loading import load_backbones
from evcap_cli.features.runner import BackboneRunner
from evcap_cli.media.frames import Geometry
from tests.backbones.natural import natural_pictures
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, ratios
from tests.media.clips import Pixels

LEDGER_SECONDS = 3600
REFERENCE = "fasterrcnn"
DETECTORS = (REFERENCE, "rtdetr", "rtdetr:PekingU/rtdetr_v2_r50vd")
SIZE = (640, 360)
GOAL = 1 / 8


def resized(pictures: Sequence[Pixels], backbone: Backbone) -> list[Pixels]:
    """Frames of the size that the backbone declares."""
    declared = backbone.spec.input
    assert isinstance(declared, FrameInput)
    geometry = Geometry(declared.size, declared.short_side, declared.max_side, declared.fit, declared.interpolation)
    height, width = geometry.scaled_size(*SIZE)
    images = (Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR) for picture in pictures)
    return [np.asarray(image) for image in images]


def work(backbone: Backbone, rows: Sequence[Pixels]) -> Callable[[], None]:
    """Objects of all rows, in batches as evcap runs them."""

    def through_runner() -> None:
        runner = BackboneRunner(backbone, batch_size=None, device="cpu", owner=lambda ticket: 0)
        with torch.inference_mode():
            found = [outcome for number, row in enumerate(rows) for outcome in runner.add(number, row)]
            found += runner.flush(0)
        assert len(found) == len(rows)
        assert all(outcome.error is None for outcome in found)

    return through_runner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=DETECTORS[1:], default=list(DETECTORS[1:]))
    given = parser.parse_args()
    torch.set_num_threads(1)
    pictures = natural_pictures(given.frames, SIZE)
    works = {}
    for address in (REFERENCE, *given.only):
        options = {address: {"score_threshold": "0"}}
        loaded = load_backbones({"object": address}, weights={address: "random:0"}, options=options)["object"]
        works[address] = work(loaded, resized(pictures, loaded))
    taken = in_turn(works, given.rounds, clock=time.process_time)
    for address, seconds in taken.items():
        print(f"{address:32} {min(seconds) / given.frames:6.2f} s a frame")
    for address in given.only:
        what = f"objects of {given.frames} frames, `{address}` against Faster R-CNN, processor time of one thread"
        report(Measured(address.rpartition("/")[2], what, ratios(taken, address, REFERENCE), at_most=GOAL))


if __name__ == "__main__":
    main()
