"""What ``--dtype bf16`` gains on this CPU, and what it changes: ``python -m tests.benchmarks.bf16 [PART ...]``.

Parts: ``resnet`` and ``clip`` (ResNet-101, ViT-B/32; random weights, two clips of 30 frames through the runner),
``training`` (a step of EPAN, 128 captions of 128 videos, as the training loop makes it: forward in autocast, losses,
backward), ``search`` (128 videos, beam 5, 15 words, 13,984 words), ``demo`` (captions of a demo world by the bundled
checkpoint, whole ``--dtype bf16`` runs against fp32). One thread, its own processor time, in turn.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from evcap_cli.backbones.contract import FrameInput
from evcap_cli.backbones.loading import load_backbones
from evcap_cli.captioning.checkpoint_captioner import CheckpointCaptioner
from evcap_cli.captioning.options import CaptionOptions
from evcap_cli.demo.layout import write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.devices import bf16_units, mixed_precision, prepare_bf16
from evcap_cli.features.runner import BackboneRunner
from evcap_cli.inputs import gather
from evcap_cli.search.beam_search import beam_search
from tests.benchmarks.beam_search import BEAM
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.systems import random_system
from tests.benchmarks.timing import in_turn, ratios, table
from tests.benchmarks.training_step import random_batch, random_targets

CPU: Final = torch.device("cpu")
FORMATS: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
CLIPS, FRAMES = 2, 30
SEARCH: Final = "bf16 in the search alone"
WORLD_SEED = 5
"""Not the seed of the world that the bundled checkpoint was trained on."""


def features(rounds: int, name: str) -> None:
    """ResNet-101 or CLIP; how alike the features are."""
    backbones = {
        label: load_backbones({"appearance": name}, weights={name: "random:0"}, dtype=dtype)["appearance"]
        for label, dtype in FORMATS.items()
    }
    declared = backbones["fp32"].spec.input
    assert isinstance(declared, FrameInput)
    assert declared.size is not None
    frames = pictures(declared.size)
    found: dict[str, torch.Tensor] = {}

    def run(label: str) -> None:
        found[label] = extracted(backbones[label], frames)

    seconds = in_turn({label: partial(run, label) for label in FORMATS}, rounds, time.process_time)
    alike = torch.cosine_similarity(found["fp32"], found["bf16"], dim=1)
    print(f"{name}\n{table(seconds)}")
    what = f"{name}, {CLIPS} x {FRAMES} frames"
    cosine = tuple(alike.tolist())
    report(
        Measured(f"{name}/time", f"{what}: fp32 against bf16", ratios(seconds, "fp32", "bf16"), at_least=2.5),
        Measured(f"{name}/features", f"{what}: cosine of features of both", (min(cosine),), "", at_least=0.999),
    )


def pictures(size: tuple[int, int]) -> list[Any]:
    """Smooth colour fields, which differ more than noise does."""
    coarse = np.random.default_rng(0).random((CLIPS * FRAMES, 3, 7, 7), dtype=np.float32)
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), size, mode="bicubic").clamp(0, 1)
    return list((fine * 255).to(torch.uint8).movedim(1, -1).contiguous().numpy())


def extracted(backbone: Any, frames: list[Any]) -> torch.Tensor:
    """Rows of the frames, (N, D), as the feature stage gets them."""
    runner: BackboneRunner[int] = BackboneRunner(backbone, batch_size=None, device="cpu", owner=lambda ticket: ticket)
    outcomes = [outcome for frame in frames for outcome in runner.add(0, frame)] + runner.flush(0)
    return torch.stack([outcome.result for outcome in outcomes if outcome.result is not None])


def training(rounds: int, system: str) -> None:
    """A step without the optimiser, which does not depend on the precision."""
    torch.manual_seed(0)
    model = random_system(system).train()
    batch, (inputs, targets) = random_batch(128), random_targets(128, 1)
    total: dict[str, float] = {}

    def step(label: str) -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=label == "bf16"):
            output = model(batch, inputs, targets.clip_index)
        loss = model.losses(output, targets).total
        loss.backward()
        total[label] = float(loss.detach())

    seconds = in_turn({label: partial(step, label) for label in FORMATS}, rounds, time.process_time)
    print(f"training step of {system}\n{table(seconds)}")
    what = f"training step of {system} (128 captions of 128 videos): fp32 against bf16"
    losses = f"loss {total['fp32']:.5f} and {total['bf16']:.5f}"
    report(Measured(f"step/{system}", what, ratios(seconds, "fp32", "bf16"), at_least=2.0, note=losses))


def search(rounds: int, system: str) -> None:
    """The search of prepared clips, with weights as sure of their words as trained ones."""
    torch.manual_seed(0)
    model = random_system(system).eval()
    with torch.inference_mode():
        batch = random_batch(128)
        memory = {}
        for label, dtype in FORMATS.items():
            with mixed_precision(dtype, CPU):
                memory[label] = model.prepare(batch).memory

    def run(label: str) -> None:
        with torch.inference_mode(), mixed_precision(FORMATS[label], CPU):
            beam_search(model, memory[label], BEAM, stop_early=False)

    seconds = in_turn({label: partial(run, label) for label in FORMATS}, rounds, time.process_time)
    print(f"search of {system}\n{table(seconds)}")
    what = f"beam search of {system} (128 videos, beam {BEAM.size}, {BEAM.max_words} words): fp32 against bf16"
    report(Measured(f"search/{system}", what, ratios(seconds, "fp32", "bf16"), at_least=1.6))


def demo(videos: int) -> None:
    """Captions of clips that the bundled checkpoint never saw."""
    with tempfile.TemporaryDirectory() as folder:
        write_world(Path(folder), make_facts(videos, WORLD_SEED))
        sources = gather([str(Path(folder) / "videos")])
        cache = Path(folder) / "cache"
        captions = {}
        for label in ("fp32", "bf16"):
            captioner = CheckpointCaptioner(
                CaptionOptions("demo", device="cpu", dtype=label, cache_dir=cache)  # type: ignore[arg-type]
            )
            captions[label] = [record.captions[0] for record in captioner.run(sources)]
        # the search alone: features of the fp32 run
        captioner = CheckpointCaptioner(CaptionOptions("demo", device="cpu", dtype="fp32", cache_dir=cache))
        captioner.dtype = torch.bfloat16
        captions[SEARCH] = [record.captions[0] for record in captioner.run(sources)]
    for label in ("bf16", SEARCH):
        pairs = list(zip(captions["fp32"], captions[label], strict=True))
        apart = [abs((a.score or 0) - (b.score or 0)) for a, b in pairs if a.text == b.text]
        what = f"demo checkpoint on {len(pairs)} unseen clips, {label} against fp32"
        name = label.replace(" ", "-")
        report(
            Measured(
                f"demo/{name}/same", f"{what}: identical captions", (100 * len(apart) / len(pairs),), "%", at_least=95
            ),
            Measured(f"demo/{name}/score", f"{what}: scores of these apart, at most", (max(apart),), "", at_most=0.02),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help="resnet, clip, training, search, demo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--system", default="", help="of training (epan) and search (fusion)")
    parser.add_argument("--videos", type=int, default=120, help="of the demo world")
    options = parser.parse_args()
    torch.set_num_threads(1)
    prepare_bf16()
    print(f"bf16 matrix units: {bf16_units() or 'none'}; one thread's processor time")
    parts: dict[str, Callable[[], None]] = {
        "resnet": lambda: features(options.rounds, "resnet"),
        "clip": lambda: features(options.rounds, "clip"),
        "training": lambda: training(options.rounds, options.system or "epan"),
        "search": lambda: search(options.rounds, options.system or "fusion"),
        "demo": lambda: demo(options.videos),
    }
    for name in options.parts or parts:
        parts[name]()


if __name__ == "__main__":
    main()
