"""Pretrained backbones of real size, random weights: ``python -m tests.benchmarks.real_backbones [--short]``.

Prints, as ratios of one run: decoding passes a file against the simplest loop over libraries, wall time of the feature
stage against one decoding pass and the pure forwards, appearance of a 1080p clip against a loop that decodes for each
model, rows a second against the bare forward, and on CUDA (``--device cuda --dtype bf16``) the share of wall time that
the device is busy. ``--short`` takes clips of a few frames: it shows that everything runs, its figures mean little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from evcap_cli.backbones.contract import AudioInput, Backbone, ClipInput
from evcap_cli.backbones.loading import load_backbones
from evcap_cli.devices import choose_dtype
from evcap_cli.features.pipeline import FeaturePipeline
from evcap_cli.features.runner import BackboneRunner
from evcap_cli.media.frames import Geometry
from tests.benchmarks.features import plain_pass, run_all, write_clip
from tests.benchmarks.measured import PERCENT, Measured, report
from tests.benchmarks.timing import in_turn, ratios

LEDGER_SECONDS = 10800
STREAMS = {"appearance": "clip", "motion": "resnext3d", "object": "fasterrcnn", "audio": "hubert"}
MEDIA = Path("/work/shared/media")
MOMENTS = 30


class Stage:
    """Loaded backbones on a device, and what their forwards cost."""

    def __init__(self, streams: dict[str, str], device: str, dtype: str) -> None:
        self.device = torch.device(device)
        names = dict.fromkeys(streams.values(), "random:0")
        number = choose_dtype(dtype, self.device)
        self.backbones = load_backbones(streams, weights=names, device=self.device, dtype=number)

    def now(self) -> float:
        """The time, once the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def pipeline(self, *kinds: str, workers: int) -> FeaturePipeline:
        chosen = {kind: self.backbones[kind] for kind in kinds or self.backbones}
        return FeaturePipeline(chosen, cache=None, workers=workers, device=self.device)

    def timed(self, work: Callable[[], object]) -> float:
        begun = self.now()
        work()
        return self.now() - begun

    @contextmanager
    def counted(self):
        """Count the forwards of each backbone by shape, and keep a batch of each."""
        seen: dict[tuple[str, torch.Size], list] = {}
        plain = {kind: backbone.extract for kind, backbone in self.backbones.items()}

        def counting(kind):
            def extract(batch):
                seen.setdefault((kind, batch.shape), [0, batch])[0] += 1
                return plain[kind](batch)

            return extract

        for kind, backbone in self.backbones.items():
            backbone.extract = counting(kind)
        yield seen
        for kind, backbone in self.backbones.items():
            backbone.extract = plain[kind]

    def pure(self, seen) -> dict[str, float]:
        """Seconds of the same forwards on batches that are on the device already; each is run up to three times."""
        spent = dict.fromkeys(self.backbones, 0.0)
        with torch.inference_mode():
            for (kind, _), (count, batch) in seen.items():
                runs = min(count, 3)
                extract = self.backbones[kind].extract
                spent[kind] += self.timed(lambda: [extract(batch) for _ in range(runs)]) * count / runs  # noqa: B023
        return spent


def prepared(picture: Image.Image, backbone: Backbone) -> torch.Tensor:
    """A picture as the libraries' own transforms make it: resized by Pillow, cropped, normalised."""
    wanted = backbone.spec.input
    geometry = Geometry(wanted.size, wanted.short_side, wanted.max_side, wanted.fit, wanted.interpolation)
    height, width = geometry.scaled_size(picture.width, picture.height)
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    down, across = geometry.output_size(picture.width, picture.height)
    top, left = (height - down) // 2, (width - across) // 2
    pixels = torch.from_numpy(resized[top : top + down, left : left + across].copy()).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (wanted.mean, wanted.std))
    return (pixels - mean) / std


def simple_loop(
    path: Path, backbone: Backbone, device: torch.device, passes: Counter, *, every_frame: bool = True
) -> None:
    """Features of one stream as a script over libraries gets them: open, decode all, transform, batch, forward.

    Args:
        every_frame: make a picture of each decoded frame, as OpenCV's and torchvision's readers do, and scripts with
            them; otherwise only of those that are used.
    """
    passes[path] += 1
    wanted = backbone.spec.input
    rows: list[torch.Tensor] = []
    with av.open(str(path)) as container:
        if isinstance(wanted, AudioInput):
            if not container.streams.audio:
                return
            resampler = av.AudioResampler("flt", "mono", wanted.rate)
            blocks = [b.to_ndarray()[0] for f in container.decode(audio=0) for b in resampler.resample(f)]
            sound, chunk = np.concatenate(blocks), round(wanted.chunk_seconds * wanted.rate)
            step = chunk - round(wanted.overlap_seconds * wanted.rate)
            begins = [*range(0, len(sound) - chunk, step), max(len(sound) - chunk, 0)]
            rows = [torch.from_numpy(sound[begin : begin + chunk].copy()) for begin in begins]
        else:
            count = sum(packet.dts is not None for packet in container.demux(video=0))
            container.seek(0)
            centres = np.unique(np.linspace(0, count - 1, MOMENTS, dtype=int))
            if backbone.spec.kind == "object":
                centres = np.unique(np.clip(centres[1::3, None] + np.arange(-1, 2), 0, count - 1))
            length = wanted.frames if isinstance(wanted, ClipInput) else 1
            windows = np.clip(centres[:, None] + np.arange(length) - length // 2, 0, count - 1)
            used, kept = set(windows.flatten().tolist()), {}
            for number, frame in enumerate(container.decode(video=0)):
                if every_frame or number in used:
                    picture = frame.to_image()
                    if number in used:
                        kept[number] = prepared(picture, backbone)
            last = max(kept)
            shown = [[kept[min(number, last)] for number in window] for window in windows.tolist()]
            rows = [torch.stack(window, 1) if isinstance(wanted, ClipInput) else window[0] for window in shown]
    dtype = getattr(torch, str(backbone.dtype).removeprefix("torch."))
    with torch.inference_mode():
        for at in range(0, len(rows), backbone.spec.batch_size):
            answer = backbone.extract(torch.stack(rows[at : at + backbone.spec.batch_size]).to(device, dtype))
            if isinstance(answer, torch.Tensor):
                answer.cpu()


def whole_stage(stage: Stage, paths: Sequence[Path], workers: int) -> None:
    """All streams: passes, and wall time against its parts."""
    with stage.counted() as seen:
        pipeline = stage.pipeline(workers=workers)
        wall = stage.timed(lambda: run_all(pipeline, paths))
    decoding = plain_pass(paths)
    pure = stage.pure(seen)
    loop: Counter[Path] = Counter()
    for backbone in stage.backbones.values():
        plain, backbone.extract = backbone.extract, lambda batch: None  # the passes count, not the forwards
        for path in paths:
            simple_loop(path, backbone, stage.device, loop, every_frame=False)
        backbone.extract = plain
    print(f"\nall streams of {len(paths)} clips, {workers} workers")
    print(f"one PyAV pass       {decoding:8.2f} s")
    for kind, spent in pure.items():
        forwards = sum(count for (of, _), (count, _) in seen.items() if of == kind)
        print(f"pure {kind:14} {spent:8.2f} s   {forwards} forwards")
    parts = decoding + sum(pure.values())
    print(f"feature stage       {wall:8.2f} s   pass and forwards {parts:8.2f} s")
    names = ", ".join(backbone.spec.name for backbone in stage.backbones.values())
    what = f"feature stage, {names} of real size, {len(paths)} clips, {stage.device}"
    passes = f"of the simplest loop {max(loop.values())}"
    report(
        Measured("stage", f"{what}, against one decoding pass and the forwards", (wall / parts,), at_most=1.05),
        Measured("passes", "decoding passes a file", (max(pipeline.passes.values()),), "", at_most=1.0, note=passes),
    )


def appearance_alone(stage: Stage, path: Path, seconds: float, rounds: int) -> None:
    """One 1080p clip, appearance only, against scripts that decode it for this model alone."""
    backbone = stage.backbones["appearance"]
    taken = in_turn(
        {
            "evcap": lambda: run_all(stage.pipeline("appearance", workers=1), [path]),
            "decode-per-model": lambda: simple_loop(path, backbone, stage.device, Counter()),
            "frugal": lambda: simple_loop(path, backbone, stage.device, Counter(), every_frame=False),
        },
        rounds,
        clock=stage.now,
    )
    what = (
        f"appearance of {seconds:.0f} s of 1080p: a loop that decodes for this model and makes a picture of each frame"
    )
    frugal = "the same with a loop that makes only the pictures it uses"
    report(
        Measured("appearance", f"{what}, against ours", ratios(taken, "decode-per-model", "evcap"), at_least=2.0),
        Measured("frugal", frugal, ratios(taken, "frugal", "evcap")),
    )


def bare_forward(stage: Stage, kind: str, batches: int, rounds: int) -> None:
    """Rows a second of the runner, pixels in and checked features out, against the bare forward."""
    backbone = stage.backbones[kind]
    wanted, size = backbone.spec.input, backbone.spec.batch_size
    shape = (*((wanted.frames,) if isinstance(wanted, ClipInput) else ()), *wanted.size, 3)
    rows = list(np.random.default_rng(0).integers(0, 256, (size, *shape), dtype=np.uint8))

    def through_runner() -> None:
        runner = BackboneRunner(backbone, batch_size=None, device=stage.device, owner=lambda ticket: 0)
        for number in range(batches):
            for row in rows:
                runner.add(number, row)
        runner.flush(0)

    with torch.inference_mode():
        batch = BackboneRunner(backbone, batch_size=None, device=stage.device, owner=id).prepare(rows)

        def bare() -> None:
            for _ in range(batches):
                backbone.extract(batch)

        taken = in_turn({"runner": through_runner, "bare": bare}, rounds, clock=stage.now)
    speed = batches * size / min(taken["runner"])
    what = f"{backbone.spec.name}, the bare forward against pixels through the runner, wall time, {stage.device}"
    report(
        Measured(
            f"forward/{kind}", what, ratios(taken, "bare", "runner"), at_least=0.95, note=f"{speed:.1f} rows/s at best"
        )
    )


def busy_share(stage: Stage, paths: Sequence[Path], workers: int) -> None:
    """Share of wall time in which the device runs a kernel or a copy."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        wall = stage.timed(lambda: run_all(stage.pipeline(workers=workers), paths))
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in recorded.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    busy, until = 0.0, 0.0
    for start, end in spans:
        busy += max(end - max(start, until), 0.0)
        until = max(until, end)
    what = f"share of the wall time that {stage.device} is busy, {len(paths)} clips"
    report(Measured("busy", what, (busy / 1e4 / wall,), PERCENT, at_least=90.0, note=f"{wall:.1f} s in all"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--streams", nargs="+", choices=[*STREAMS], default=[*STREAMS])
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    begun = time.perf_counter()
    stage = Stage({kind: STREAMS[kind] for kind in given.streams}, given.device, given.dtype)
    print(
        f"{', '.join(STREAMS[kind] for kind in given.streams)} on {given.device}, {given.dtype}, random weights, ",
        end="",
    )
    print(f"loaded in {time.perf_counter() - begun:.1f} s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm, large = folder / "warm.mp4", folder / "large.mp4"
        write_clip(warm, 0.2, (320, 320), 0, fps=5)
        seconds, rounds = (2.0, 1) if given.short else (25.0, 3)
        if given.short:
            paths = [folder / f"{number}.mp4" for number in range(2)]
            for number, path in enumerate(paths):
                write_clip(path, 0.4, (320, 320), number, fps=5)
        else:
            paths = [p for p in (MEDIA / "flipping_a_pancake.mkv", MEDIA / "nasa_13013.mp4") if p.exists()]
            for number in range(2 - len(paths)):
                paths.append(folder / f"{number}.mp4")
                write_clip(paths[-1], 12, (480, 360), number)
        run_all(stage.pipeline(workers=1), [warm])  # first calls choose kernels
        whole_stage(stage, paths, given.workers)
        if "appearance" in stage.backbones:
            write_clip(large, seconds, (1920, 1080), 0)
            appearance_alone(stage, large, seconds, rounds)
        print()
        for kind in ("appearance", "motion"):
            if kind in stage.backbones:
                bare_forward(stage, kind, 1 if given.short else 4, rounds)
        if stage.device.type == "cuda":
            busy_share(stage, list(paths) * (1 if given.short else 16), given.workers)


if __name__ == "__main__":
    main()
