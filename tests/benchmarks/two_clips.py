"""ResNet-101 and CLIP of two clips of 30 frames, run as a whole: ``python -m tests.benchmarks.two_clips [--rounds 3]``.

The feature stage, decoding and pictures included, against the forwards of the same batches by the library's network in
its fastest memory layout, and against a plain loop over the libraries: decode, resize with Pillow, one batch a clip.
fp32, random weights, one thread, processor time of this process and of the decoding ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from evcap_cli.backbones.contract import Backbone, FrameInput
from evcap_cli.backbones.loading import load_backbones
from evcap_cli.features.pipeline import FeaturePipeline
from tests.benchmarks.features import Forwards, run_all, write_clip
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.media_decoding import processor_seconds
from tests.benchmarks.real_backbones import simple_loop
from tests.benchmarks.timing import in_turn, ratios, table

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
CPU = torch.device("cpu")


def resnet() -> Any:
    """Torchvision's own."""
    import torchvision

    network = torchvision.models.resnet101()
    network.fc = torch.nn.Identity()
    return network.eval()


def clip() -> Any:
    """open_clip's own, its picture tower."""
    import open_clip

    return open_clip.create_model("ViT-B-32-quickgelu").visual.eval()


LIBRARY = {"resnet": resnet, "clip": clip}


def measure(name: str, paths: list[Path], rounds: int) -> None:
    """One backbone."""
    backbone: Backbone = load_backbones({"appearance": name}, weights={name: "random:0"})["appearance"]
    assert isinstance(backbone.spec.input, FrameInput)
    pipeline = partial(FeaturePipeline, {"appearance": backbone}, cache=None, workers=1)
    with Forwards({"appearance": backbone}) as seen:
        run_all(pipeline(), paths)
    batches = [batch for count, batch, _ in seen.examples.values() for _ in range(count)]
    network = LIBRARY[name]()
    plain: Any = SimpleNamespace(spec=backbone.spec, dtype=torch.float32, extract=network)

    def loop() -> None:
        network.to(memory_format=torch.contiguous_format)
        for path in paths:
            simple_loop(path, plain, CPU, Counter(), every_frame=False)

    def forwards(layout: torch.memory_format) -> None:
        network.to(memory_format=layout)
        with torch.inference_mode():
            for batch in batches:
                network(batch.contiguous(memory_format=layout))

    works: dict[str, Callable[[], object]] = {"evcap": lambda: run_all(pipeline(), paths), "plain loop": loop}
    works |= {f"forwards, {layout}": partial(forwards, order) for layout, order in LAYOUTS.items()}
    seconds = in_turn(works, rounds, processor_seconds)
    print(f"{name}, {len(paths)} clips, {sum(map(len, batches))} rows in {len(batches)} batches\n{table(seconds)}")
    fastest = min((f"forwards, {layout}" for layout in LAYOUTS), key=lambda key: sum(seconds[key]))
    what = f"feature stage of `{name}`, two clips of 30 frames, decoding included, processor time of one thread"
    report(
        Measured(
            f"{name}/forwards",
            f"{what}, against the library's forwards of the same batches in the fastest layout",
            ratios(seconds, "evcap", fastest),
            at_most=1.03,
            note=fastest.partition(", ")[2],
        ),
        Measured(
            f"{name}/loop", "the same against a plain loop over the libraries", ratios(seconds, "evcap", "plain loop")
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a clip")
    parser.add_argument("--only", choices=sorted(LIBRARY))
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.mp4" for number in range(2)]
        for number, path in enumerate(paths):
            write_clip(path, given.seconds, (320, 240), number)
        for name in LIBRARY:
            if given.only in (None, name):
                measure(name, paths, given.rounds)


if __name__ == "__main__":
    main()
