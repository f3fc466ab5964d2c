"""What ``gpu.py`` measures, a function a part; each yields rows of its table as soon as it has them.

Times on a CUDA device are taken with nothing left to do on it. Nothing is fetched: backbones have random weights of
their real size, captions come from the bundled checkpoint, clips from the demo world.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

Row = dict[str, Any]
NUMBERS: Final = ("fp32", "bf16")
BACKBONES: Final = {
    "resnet": "appearance",
    "clip": "appearance",
    "resnext3d": "motion",
    "r3d": "motion",
    "videomae": "motion",
    "vjepa2": "motion",
    "fasterrcnn": "object",
    "rtdetr": "object",
    "hubert": "audio",
    "wavlm": "audio",
}
"""Name -> stream; the variant that each takes where none is named."""
STREAMS: Final = {"appearance": "clip", "motion": "resnext3d", "object": "rtdetr", "audio": "hubert"}
"""Of the busy share with networks of real size."""
LARGER: Final = 8
"""So many times the batch of a backbone's spec: what larger batches would give."""
SEED: Final = 5


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        device: "cuda", "cuda:1", "cpu".
        workers: decoding processes.
        clips: of the demo world.
        busy_clips: of those, for the busy share with networks of real size.
        seconds: of one measurement of a loop, at most; one round at least.
        searched: videos of a search. captions: of a training step.
        rows: of a backbone's batch; None: as its spec says.
        streams: kind -> backbone, of the busy share with networks of real size.
    """

    device: str
    workers: int
    clips: int = 200
    busy_clips: int = 24
    seconds: float = 2.0
    searched: int = 128
    captions: int = 128
    rows: int | None = None
    streams: Mapping[str, str] = field(default_factory=lambda: STREAMS)


QUICK: Final[Mapping[str, Any]] = {
    "clips": 2,
    "busy_clips": 1,
    "seconds": 0.0,
    "searched": 2,
    "captions": 4,
    "rows": 1,
    "streams": {"appearance": "resnet"},
}
"""It shows that every part works; its figures mean nothing."""


def choose(sizes: Sizes) -> None:
    """Let what names no device run on this one."""
    import torch

    if torch.device(sizes.device).type == "cuda":
        torch.cuda.set_device(sizes.device)


def settled(device: str) -> float:
    """The time, once the device is done."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def rate(work: Callable[[], object], count: int, sizes: Sizes) -> float:
    """Units a second: ``work`` does ``count``, once to warm up and then for ``sizes.seconds``."""
    if sizes.seconds:
        work()
    begun = settled(sizes.device)
    done = 0
    while not done or settled(sizes.device) - begun < sizes.seconds:
        work()
        done += count
    return done / (settled(sizes.device) - begun)


def clips_of(world: Path) -> list[Path]:
    """The clips that were drawn."""
    return sorted((world / "videos").rglob("*.mp4"))


def draw_clips(sizes: Sizes, world: Path) -> Iterator[Row]:
    """The demo world, for the parts that follow."""
    from evcap_cli.demo.layout import write_world
    from evcap_cli.demo.make_facts import make_facts

    begun = time.perf_counter()
    write_world(world, make_facts(sizes.clips, SEED), workers=sizes.workers)
    yield {"clips": sizes.clips, "processes": sizes.workers, "seconds": time.perf_counter() - begun}


# --- captions


def caption_runs(sizes: Sizes, world: Path) -> Iterator[Row]:
    """``caption_videos`` of all clips, cold and warm: on the device in both number formats, and on the CPU in fp32."""
    runs = [(sizes.device, number) for number in NUMBERS] + [("cpu", "fp32")]
    written = []
    for number, (device, dtype) in enumerate(runs):
        folder = world / f"captions-{number}"
        folder.mkdir()
        yield caption_run(sizes, world, folder, device, dtype)
        written.append(captions_in(folder / "cold.jsonl"))
    for (device, dtype), found in zip(runs[:-1], written[:-1], strict=True):
        yield {"run": f"{device} {dtype} against cpu fp32", **compared(found, written[-1])}


def caption_run(sizes: Sizes, world: Path, folder: Path, device: str, dtype: str) -> Row:
    """A captioner loaded, its first clip, and all clips cold and warm.

    Raises:
        RuntimeError: a clip failed, or warm captions are not those of the cold run.
    """
    import evcap_cli as evcap
    from evcap_cli.captioning.run import caption_videos

    begun = settled(device)
    cache = folder / "cache"
    captioner = evcap.load_captioner("demo", device=device, dtype=dtype, workers=sizes.workers, cache_dir=str(cache))
    row: Row = {"run": f"{device} {dtype}", "loading s": settled(device) - begun}
    clips = list(map(str, clips_of(world)))

    def seconds(inputs: Sequence[str], name: str) -> float:
        start = settled(device)
        summary = caption_videos(inputs, [str(folder / name)], captioner=captioner)
        if summary.done != len(inputs):
            raise RuntimeError(f"{summary.failed} of {summary.total} clips failed")
        return settled(device) - start

    if sizes.seconds:  # first calls build plans and tables
        row["first clip s"] = seconds(clips[:1], "first.jsonl")
        remove(cache)
    row["cold s"], row["warm s"] = seconds(clips, "cold.jsonl"), seconds(clips, "warm.jsonl")
    if (folder / "cold.jsonl").read_bytes() != (folder / "warm.jsonl").read_bytes():
        raise RuntimeError("cold and warm captions differ")
    return row | {"videos/s cold": len(clips) / row["cold s"], "videos/s warm": len(clips) / row["warm s"]}


def remove(folder: Path) -> None:
    """Empty a cache that is open."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


def captions_in(path: Path) -> dict[str, tuple[tuple[str, ...], tuple[float, ...]]]:
    """Video -> the texts and the scores of its captions."""
    from evcap_cli.output.record_files import iterate_records

    return {
        record.path: (tuple(c.text for c in record.captions), tuple(c.score or 0.0 for c in record.captions))
        for record in iterate_records(path)
    }


def compared(
    found: dict[str, tuple[tuple[str, ...], tuple[float, ...]]],
    expected: dict[str, tuple[tuple[str, ...], tuple[float, ...]]],
) -> Row:
    """Share of videos with identical captions, and the largest difference of scores among those."""
    same = [video for video in expected if found[video][0] == expected[video][0]]
    differences = [abs(a - b) for video in same for a, b in zip(found[video][1], expected[video][1], strict=True)]
    return {
        "videos": len(expected),
        "identical captions": len(same) / len(expected),
        "largest difference of their scores": max(differences, default=None),
    }


# --- how busy the device is


def busy_shares(sizes: Sizes, world: Path) -> Iterator[Row]:
    """Share of a run in which the device runs a kernel or a copy (on a CPU: torch an operator), and the stages."""
    import torch

    import evcap_cli as evcap
    from evcap_cli.backbones.loading import load_backbones
    from evcap_cli.devices import choose_dtype
    from evcap_cli.features.pipeline import FeaturePipeline

    clips = clips_of(world)
    cache = world / "busy-cache"
    captioner = evcap.load_captioner("demo", device=sizes.device, workers=sizes.workers, cache_dir=str(cache))
    if sizes.seconds:
        captioner.caption(clips[0])
        remove(cache)
    for state in ("cold", "warm"):
        yield measured_busy(f"caption, {state}", sizes, clips, lambda: list(captioner.caption_many(clips)))
    device = torch.device(sizes.device)
    for number in NUMBERS:
        backbones = load_backbones(
            sizes.streams,  # type: ignore[arg-type]
            weights=weights_of(sizes.streams.values()),
            device=device,
            dtype=choose_dtype(number, device),
        )
        few = clips[: sizes.busy_clips]

        def features(backbones: Any = backbones, few: Sequence[Path] = few) -> None:
            pipeline = FeaturePipeline(
                backbones, cache=None, workers=sizes.workers, device=device, batch_size=sizes.rows
            )
            for event in pipeline.run(few):
                if getattr(event, "error", None) is not None:
                    raise RuntimeError(str(event.error))

        if sizes.seconds:
            features(few=few[:1])
        yield measured_busy(f"features of {' + '.join(sizes.streams.values())}, {number}", sizes, few, features)


def measured_busy(what: str, sizes: Sizes, clips: Sequence[Path], work: Callable[[], object]) -> Row:
    """A row of ``work`` over ``clips``."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from evcap_cli import profiling

    cuda = torch.device(sizes.device).type == "cuda"
    stages = profiling.begin()
    with profiling.ended(), profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as recorded:
        begun = settled(sizes.device)
        work()
        wall = settled(sizes.device) - begun
        seconds = dict(stages.seconds)
    kind = torch.autograd.DeviceType.CUDA if cuda else torch.autograd.DeviceType.CPU
    events = recorded.profiler.kineto_results.events()  # a hundred times faster than ``recorded.events()``
    spans = [(e.start_ns(), e.start_ns() + e.duration_ns()) for e in events if e.device_type() == kind]
    row: Row = {"run": what, "clips": len(clips), "seconds": wall, "busy": covered(spans) / 1e9 / wall}
    return row | {
        f"{stage} s": seconds.get(stage, 0.0) for stage in ("decoding", "waiting", "copies", "forwards", "search")
    }


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Length of the union of spans, given as (start, end) in any order."""
    whole = until = 0.0
    for number, (start, end) in enumerate(sorted(spans)):
        until = start if number == 0 else until
        whole += max(end - max(start, until), 0.0)
        until = max(until, end)
    return whole


# --- networks


def one_backbone(sizes: Sizes, name: str) -> Iterator[Row]:
    """Rows a second of a backbone, and how far its features in bf16 are from those in fp32."""
    import torch

    from evcap_cli.backbones.loading import load_backbones
    from evcap_cli.devices import choose_dtype
    from evcap_cli.features.runner import BackboneRunner

    device = torch.device(sizes.device)
    features = {}
    for number in NUMBERS:
        kind = BACKBONES[name]
        loaded = load_backbones(
            {kind: name},  # type: ignore[dict-item]
            weights=weights_of([name]),
            device=device,
            dtype=choose_dtype(number, device),
        )
        (backbone,) = loaded.values()
        size = sizes.rows or backbone.spec.batch_size
        rows = random_rows(backbone.spec.input, size)

        def runner(backbone: Any = backbone, size: int = size) -> Any:
            return BackboneRunner(backbone, batch_size=size, device=device, owner=lambda ticket: 0)

        def through_runner(rows: Sequence[Any] = rows, runner: Callable[[], Any] = runner) -> list[Any]:
            used = runner()
            found = [outcome for row in rows for outcome in used.add(0, row)] + used.flush(0)
            if any(outcome.error for outcome in found):
                raise RuntimeError(str(next(outcome.error for outcome in found if outcome.error)))
            return [outcome.result for outcome in found]

        row: Row = {"backbone": name, "numbers": number, "batch": size}
        with torch.inference_mode():
            features[number] = through_runner()
            row["rows/s with pixels and results"] = rate(through_runner, size, sizes)
            batch = runner().prepare(rows)
            row["rows/s forward"] = rate(partial(backbone.extract, batch), size, sizes)
            if sizes.rows is None:
                larger = torch.cat([batch] * LARGER)
                with contextlib.suppress(torch.OutOfMemoryError):
                    row[f"rows/s forward, {LARGER} times the batch"] = rate(
                        partial(backbone.extract, larger), len(larger), sizes
                    )
        if number == NUMBERS[-1]:
            row["1 - least cosine with fp32"] = apart(features[number], features[NUMBERS[0]])
        yield row


def weights_of(names: Iterable[str]) -> dict[str, str]:
    """Random ones of real size; the small networks of ``lite`` have their own."""
    return {name: "random:0" for name in names if not name.startswith("lite-")}


def random_rows(wanted: Any, count: int) -> list[Any]:
    """Pictures, windows or sound that mean nothing, as decoders hand them over."""
    import numpy as np

    from evcap_cli.backbones.contract import AudioInput, ClipInput

    generator = np.random.default_rng(0)
    if isinstance(wanted, AudioInput):
        length = round(wanted.chunk_seconds * wanted.rate)
        return list(generator.normal(0, 0.1, (count, length)).astype(np.float32))
    size = wanted.size or (480, 640)
    window = (wanted.frames,) if isinstance(wanted, ClipInput) else ()
    return list(generator.integers(0, 256, (count, *window, *size, 3), dtype=np.uint8))


def apart(found: Sequence[Any], expected: Sequence[Any]) -> float | None:
    """1 less the least cosine of two results of a row; None for detections, which have no order in common."""
    import torch

    if not all(isinstance(each, torch.Tensor) for each in (*found, *expected)):
        return None
    pairs = [(a.double(), b.double()) for a, b in zip(found, expected, strict=True)]
    return 1 - min(float(torch.cosine_similarity(a, b, dim=-1).min()) for a, b in pairs)


def searches(sizes: Sizes) -> Iterator[Row]:
    """Captions a second of the beam search at the paper's size."""
    import torch

    from evcap_cli.search.beam_search import beam_search
    from tests.benchmarks.beam_search import BEAM, random_clips, random_decoder

    torch.manual_seed(0)
    device = torch.device(sizes.device)
    decoder, encoded = random_decoder().to(device), on_device(random_clips(sizes.searched), device)
    found = {}
    for number in NUMBERS:

        @torch.no_grad()
        def search(number: str = number) -> Any:
            with torch.autocast(device.type, torch.bfloat16, enabled=number == "bf16"):
                return beam_search(decoder, decoder.prepare(encoded), BEAM, stop_early=False)

        found[number] = [hypotheses[0].tokens for hypotheses in search()]
        row: Row = {"numbers": number, "videos": sizes.searched, "beam": BEAM.size}
        row["captions/s"] = rate(search, sizes.searched, sizes)
        if number == NUMBERS[-1]:
            pairs = zip(found[number], found[NUMBERS[0]], strict=True)
            row["captions as in fp32"] = sum(a == b for a, b in pairs) / sizes.searched
        yield row


def training_steps(sizes: Sizes) -> Iterator[Row]:
    """Captions a second of whole steps at the paper's size: forward, losses, backward, clipping, Adam."""
    import torch

    from evcap_cli.network.losses import losses
    from evcap_cli.systems.fusion import Fusion
    from evcap_cli.training.acceleration import make_accelerator
    from tests.benchmarks.training_step import CONFIG, random_batch, random_targets

    per_clip = 4
    cuda = torch.device(sizes.device).type == "cuda"
    for number in NUMBERS:
        torch.manual_seed(0)
        accelerator = make_accelerator("cuda" if cuda else "cpu", number)
        device = accelerator.device
        model = Fusion(CONFIG, torch.rand(CONFIG.categories, CONFIG.words) < 0.1).train()
        batch = on_device(random_batch(sizes.captions // per_clip), device)
        inputs, targets = (on_device(part, device) for part in random_targets(sizes.captions, per_clip))
        wrapped, optimiser = accelerator.prepare(model, torch.optim.Adam(model.parameters(), lr=1e-4, fused=True))

        def step(
            wrapped: Any = wrapped,
            optimiser: Any = optimiser,
            accelerator: Any = accelerator,
            given: tuple[Any, Any, Any] = (batch, inputs, targets),
        ) -> float:
            features, words, wanted = given
            optimiser.zero_grad(set_to_none=True)
            loss = losses(wrapped(features, words, wanted.clip_index), wanted, CONFIG.loss)
            accelerator.backward(loss.total)
            accelerator.clip_grad_norm_(wrapped.parameters(), 5.0)
            optimiser.step()
            return float(loss.total.detach())

        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        row: Row = {"numbers": number, "captions a step": sizes.captions, "first loss": step()}
        row["captions/s"] = rate(step, sizes.captions, sizes)
        if cuda:
            row["peak GB of the device"] = torch.cuda.max_memory_allocated(device) / 1e9
        yield row


def on_device(value: Any, device: Any) -> Any:
    """A tensor, or a dataclass of tensors, on ``device``."""
    import dataclasses

    import torch

    if isinstance(value, torch.Tensor):
        return value.to(device)
    if not dataclasses.is_dataclass(value):
        return value
    moved = {each.name: on_device(getattr(value, each.name), device) for each in dataclasses.fields(value)}
    return dataclasses.replace(value, **moved)  # type: ignore[type-var]
