"""The feature stage against its parts: ``python -m tests.benchmarks.features [--clips 20] [--seconds 5] [--rounds 3]``.

Wall times, in turn: one plain PyAV pass over all files, the pure forwards of the same rows, the pipeline cold and warm.
Then the peak of a 10-minute 1080p file against that of a 10-second one: ``--memory`` only that, ``--times`` not that.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from evcap_cli.features.pipeline import FeaturePipeline
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import ratios, table


def write_clip(path: Path, seconds: float, size: tuple[int, int], seed: int, fps: int = 25) -> None:
    """Something that moves and sounds: H.264 and AAC."""
    generator = np.random.default_rng(seed)
    width, height = size
    texture = generator.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = texture.shape[1], texture.shape[0], "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="stereo")
        for number in range(int(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(texture, number * 3, 1)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        sound = generator.normal(0, 0.1, (2, int(seconds * 44100))).astype(np.float32)
        for at in range(0, sound.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, at : at + 1024]), "fltp", "stereo")
            block.sample_rate, block.pts, block.time_base = 44100, at, Fraction(1, 44100)
            container.mux(audio.encode(block))
        container.mux(audio.encode())


def repeat_clip(source: Path, target: Path, times: int) -> None:
    """The picture of ``source`` ``times`` over, without encoding it again."""
    with av.open(str(target), "w") as out, av.open(str(source)) as first:
        stream = out.add_stream_from_template(first.streams.video[0])
        length = first.streams.video[0].duration
        for turn in range(times):
            with av.open(str(source)) as container:
                for packet in container.demux(container.streams.video[0]):
                    if packet.dts is not None:
                        packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                        packet.stream = stream
                        out.mux(packet)


def plain_pass(paths: Sequence[Path]) -> float:
    """Seconds of decoding all pictures and sound of ``paths`` once, nothing else."""
    start = time.perf_counter()
    for path in paths:
        with av.open(str(path)) as container:
            for stream in (*container.streams.video, *container.streams.audio):
                stream.thread_type = "AUTO"
            for _ in container.decode():
                pass
    return time.perf_counter() - start


class Forwards:
    """Counts what backbones are given while a pipeline runs, to time the same forwards alone afterwards.

    As a context it leaves the backbones as they were.
    """

    def __init__(self, backbones) -> None:
        self.examples: dict[tuple[str, tuple[int, ...]], list] = {}
        self.plain = [(backbone, backbone.extract) for backbone in backbones.values()]
        for kind, backbone in backbones.items():
            backbone.extract = self._counting(kind, backbone.extract)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        for backbone, extract in self.plain:
            backbone.extract = extract

    def _counting(self, kind, plain):
        def extract(batch):
            self.examples.setdefault((kind, tuple(batch.shape)), [0, batch, plain])[0] += 1
            return plain(batch)

        return extract

    def alone(self) -> dict[str, float]:
        """Seconds of the forwards of each kind, nothing else."""
        import torch

        pure: dict[str, float] = {}
        with torch.inference_mode():
            for (kind, _), (count, batch, plain) in self.examples.items():
                start = time.perf_counter()
                plain(batch)
                pure[kind] = pure.get(kind, 0.0) + count * (time.perf_counter() - start)
        return pure


def measure(paths: Sequence[Path], preset: str, workers: int, rounds: int) -> None:
    from evcap_cli.backbones.loading import load_backbones
    from evcap_cli.backbones.presets import backbone_addresses
    from evcap_cli.features.cache import FeatureCache

    backbones = load_backbones(backbone_addresses(preset))
    run_all(FeaturePipeline(backbones, cache=None, workers=1), paths[:1])  # first calls build plans and tables
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            taken, cache = {"one PyAV pass": plain_pass(paths)}, FeatureCache(Path(folder))
            with Forwards(backbones) as forwards:
                for name in ("cold", "warm"):
                    begun = time.perf_counter()
                    run_all(FeaturePipeline(backbones, cache=cache, workers=workers), paths)
                    taken[name] = time.perf_counter() - begun
            taken |= {f"pure {kind}": spent for kind, spent in forwards.alone().items()}
        taken["pass and forwards"] = sum(spent for name, spent in taken.items() if name not in ("cold", "warm"))
        for name, spent in taken.items():
            seconds.setdefault(name, []).append(spent)
    print(f"{len(paths)} clips, preset {preset}, {workers} workers")
    print(table(seconds))
    what = f"feature stage, cold, {len(paths)} clips, `{preset}` backbones, against one decoding pass and the forwards"
    report(
        Measured("cold", what, ratios(seconds, "cold", "pass and forwards"), at_most=1.2),
        Measured("warm", "the same warm: times faster than cold", ratios(seconds, "cold", "warm"), at_least=20.0),
    )


def run_all(pipeline: FeaturePipeline, paths: Sequence[Path]) -> None:
    """Run the feature stage; a video that fails would make every figure meaningless."""
    for event in pipeline.run(paths):
        if getattr(event, "error", None) is not None:
            raise SystemExit(str(event.error))


def _resident(pid: int) -> int:
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(fields["VmRSS"].split()[0])
    except (OSError, KeyError, ValueError):
        return 0


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                found += [int(child), *_children(int(child))]
        except OSError:
            continue
    return found


def _run_alone(path: Path, preset: str) -> None:
    from evcap_cli.backbones.loading import load_backbones
    from evcap_cli.backbones.presets import backbone_addresses

    run_all(FeaturePipeline(load_backbones(backbone_addresses(preset)), cache=None, workers=1), [path])


def peak_megabytes(path: Path, preset: str) -> float:
    """Peak resident memory of a process that extracts ``path``, its children included."""
    process = multiprocessing.get_context("spawn").Process(target=_run_alone, args=(path, preset))
    process.start()
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.is_alive():
            pids = [process.pid, *_children(process.pid)]
            peak = max(peak, sum(_resident(pid) for pid in pids))
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.join()
    watcher.join()
    if process.exitcode:
        raise SystemExit(f"extraction of {path} failed")
    return peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="nothing but peak memory")
    parser.add_argument("--times", action="store_true", help="everything but peak memory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not given.memory:
            paths = [folder / f"{number:03}.mp4" for number in range(given.clips)]
            for number, path in enumerate(paths):
                write_clip(path, given.seconds, tuple(given.size), number)
            measure(paths, given.preset, given.workers, given.rounds)
        if given.times:
            return
        write_clip(folder / "short.mp4", 10, (1920, 1080), 0)
        repeat_clip(folder / "short.mp4", folder / "long.mp4", 60)
        short, long = (peak_megabytes(folder / f"{which}.mp4", given.preset) for which in ("short", "long"))
        what = f"peak memory of the feature stage, 10 minutes of 1080p against 10 seconds, `{given.preset}`"
        report(Measured("memory", what, (long / short,), at_most=1.5, note=f"{long:.0f} against {short:.0f} MB"))


if __name__ == "__main__":
    main()
