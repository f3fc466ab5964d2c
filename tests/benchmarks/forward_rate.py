"""Rows a second through the runner against the bare network: ``python -m tests.benchmarks.forward_rate``.

The runner is given pixels and gives back checked features; the bare network is the library's (for 3D-ResNeXt-101 the
plain network, as defined) and is given one batch, prepared beforehand, over and over. ``real_backbones.py`` compares
with our own forward instead. On a CPU the clock is processor time, with one thread: other work does not disturb it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from evcap_cli.backbones.contract import Backbone, ClipInput, FrameInput
from evcap_cli.backbones.loading import load_backbones
from evcap_cli.features.runner import BackboneRunner
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, ratios

Forward = Callable[[torch.Tensor], torch.Tensor]


def bare_resnext3d() -> Forward:
    """The network without folded batch norms, memory as torch lays it out."""
    from evcap_backbones.resnext3d_network import ResNeXt3D

    from evcap_cli.backbones.weights import seeded

    with seeded(0):
        return ResNeXt3D().eval()


def bare_clip() -> Forward:
    """open_clip's own call; text tower and all."""
    import open_clip

    model = open_clip.create_model("ViT-B-32-quickgelu").eval()
    return lambda batch: model.encode_image(batch)


def measure(kind: str, backbone: Backbone, bare: Forward, batches: int, rounds: int, device: torch.device) -> None:
    wanted, size = backbone.spec.input, backbone.spec.batch_size
    assert isinstance(wanted, FrameInput)
    window = (wanted.frames,) if isinstance(wanted, ClipInput) else ()
    rows = list(np.random.default_rng(0).integers(0, 256, (size, *window, *wanted.size, 3), dtype=np.uint8))

    def settled() -> float:
        if device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(device)
        return time.perf_counter()

    def through_runner() -> None:
        runner = BackboneRunner(backbone, batch_size=size, device=device, owner=lambda ticket: ticket)
        for number in range(batches):
            for row in rows:
                runner.add(number, row)
        for number in range(batches):
            runner.flush(number)

    with torch.inference_mode():
        batch = BackboneRunner(backbone, batch_size=size, device=device, owner=lambda ticket: ticket).prepare(rows)
        batch = batch.contiguous()

        def bare_forward() -> None:
            for _ in range(batches):
                bare(batch)

        taken = in_turn({"runner": through_runner, "bare": bare_forward}, rounds, clock=settled)
    speed = batches * size / min(taken["runner"])
    what = f"{backbone.spec.name}, the bare network's time against that through the runner, batches of {size}, {device}"
    report(
        Measured(
            backbone.spec.name, what, ratios(taken, "bare", "runner"), at_least=0.95, note=f"{speed:.1f} rows/s at best"
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["appearance", "motion"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(given.device)
    bare = {"motion": ("resnext3d", bare_resnext3d), "appearance": ("clip", bare_clip)}
    for kind, (name, make) in bare.items():
        if given.only not in (None, kind):
            continue
        network = make()
        if isinstance(network, torch.nn.Module):
            network.to(device)
        backbones = load_backbones({kind: name}, weights={name: "random:0"}, device=device)
        measure(kind, backbones[kind], network, given.batches, given.rounds, device)


if __name__ == "__main__":
    main()
