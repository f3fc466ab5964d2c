"""Forward passes of the convolutional backbones in both memory layouts: ``python -m tests.benchmarks.layouts``.

All of them run with channels last, on every machine, so that features do not depend on where they were computed. This
measures what that gains here, in alternating rounds of processor time with one thread, and how far features move.
"""

from __future__ import annotations

import argparse
import copy
import time
from functools import partial

import torch

from evcap_cli.backbones.contract import ClipInput, FrameInput
from evcap_cli.backbones.loading import load_backbones
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, ratios

BACKBONES = {"resnet": ("appearance", "model"), "r3d": ("motion", "model"), "resnext3d": ("motion", "network")}
"""Name -> kind, and the attribute that holds the network."""


def measure(name: str, rows: int, rounds: int) -> None:
    kind, attribute = BACKBONES[name]
    backbone = load_backbones({kind: name}, weights={name: "random:0"})[kind]  # type: ignore[dict-item, index]
    wanted = backbone.spec.input
    assert isinstance(wanted, FrameInput)
    assert wanted.size is not None
    window = (wanted.frames,) if isinstance(wanted, ClipInput) else ()
    batch = torch.rand(rows, 3, *window, *wanted.size, generator=torch.Generator().manual_seed(0))
    network = getattr(backbone, attribute)
    formats = {"contiguous": torch.contiguous_format, "last": torch.channels_last_3d if window else torch.channels_last}
    networks = {layout: copy.deepcopy(network).to(memory_format=wanted) for layout, wanted in formats.items()}
    outputs: dict[str, torch.Tensor] = {}

    def forward(layout: str) -> None:
        outputs[layout] = networks[layout](batch.contiguous(memory_format=formats[layout]))

    with torch.inference_mode():
        taken = in_turn({layout: partial(forward, layout) for layout in formats}, rounds, clock=time.process_time)
    moved = float((outputs["last"] - outputs["contiguous"]).norm() / outputs["contiguous"].norm())
    what = f"{name} with channels last against torch's own layout, fp32, {rows} rows, processor time of one thread"
    moves = "features of both layouts apart, of their norm"
    report(
        Measured(f"{name}/time", what, ratios(taken, "last", "contiguous")),
        Measured(f"{name}/features", f"{name}: {moves}", (moved,), "", at_most=1e-4),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=sorted(BACKBONES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in BACKBONES:
        if given.only in (None, name):
            measure(name, given.rows, given.rounds)


if __name__ == "__main__":
    main()
