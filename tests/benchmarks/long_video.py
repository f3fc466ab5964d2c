"""Peak memory by length: ``python -m tests.benchmarks.long_video [--segment fixed:10] [--minutes 10 120] [--caption]``.

The same minute of picture and sound, repeated without encoding it again, goes through the feature stage. Its backbones
are as wide as ResNet, 3D-ResNeXt, Faster R-CNN and HuBERT but compute little; segments are dropped as they come.
With ``--caption`` the demo checkpoint captions the files instead. Prints the peak of each process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av

from tests.benchmarks.features import write_clip
from tests.benchmarks.measured import Measured, report

LEDGER_SECONDS = 3600
WIDTHS = {"appearance": 2048, "motion": 2048, "object": 1024, "audio": 768}


def repeat_film(source: Path, target: Path, times: int) -> None:
    """Picture and sound of ``source`` ``times`` over, without encoding them again."""
    with av.open(str(target), "w") as out:
        with av.open(str(source)) as first:
            streams = [out.add_stream_from_template(stream) for stream in first.streams]
            # a tenth of a second more: priming and rounding never make a time stamp run back
            seconds = 0.1 + max(float(stream.duration * stream.time_base) for stream in first.streams)
        for turn in range(times):
            with av.open(str(source)) as container:
                for packet in container.demux():
                    if packet.dts is not None:
                        shift = round(turn * seconds / packet.time_base)
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = streams[packet.stream_index]
                        out.mux(packet)


def wide_backbones() -> Mapping[Any, Any]:
    """One of each kind: a mean of its input, as many times over as its width."""
    import torch

    from evcap_cli.backbones.contract import AudioInput, Backbone, BackboneSpec, ClipInput, Detections, FrameInput

    class Wide(Backbone):
        def load(self, weights: str | None, device: Any, dtype: Any) -> None:
            pass

        def extract(self, batch: Any) -> Any:
            if self.spec.kind == "audio":
                steps = batch[:, : batch.shape[1] // 320 * 320].unflatten(1, (-1, 320)).mean(2)
                return steps[..., None].expand(-1, -1, self.spec.dim).contiguous()
            means = batch.flatten(1).mean(1)
            if self.spec.kind == "object":
                boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0], [16.0, 16.0, 32.0, 32.0]])
                return [Detections(boxes, torch.ones(2), mean.expand(2, self.spec.dim)) for mean in means]
            return means[:, None].expand(-1, self.spec.dim).contiguous()

    inputs = {
        "appearance": FrameInput(size=(64, 64)),
        "motion": ClipInput(size=(32, 32), frames=16),
        "object": FrameInput(size=(64, 64)),
        "audio": AudioInput(rate=16000, chunk_seconds=10.0, overlap_seconds=1.0),
    }
    specs = [BackboneSpec(f"wide-{kind}", kind, WIDTHS[kind], "1", inputs[kind]) for kind in inputs]  # type: ignore[arg-type]
    backbones: dict[Any, Any] = {spec.kind: type(spec.name, (Wide,), {"spec": spec})() for spec in specs}
    for backbone in backbones.values():
        backbone.load(None, torch.device("cpu"), torch.float32)
    return backbones


def run_alone(path: Path, segment: str, caption: bool) -> None:
    """Run one file and print the peaks of this process and of the decoding one."""
    from evcap_cli.features import reading_threads as module
    from evcap_cli.features.events import SegmentReady
    from evcap_cli.features.pipeline import FeaturePipeline

    children = [0]

    class Decoder(module.Decoder):
        def _close(self) -> None:
            if self.pid is not None:
                children.append(peak(str(self.pid)))
            super()._close()

    module.Decoder = Decoder  # type: ignore[misc]
    begun, count = time.perf_counter(), 0
    if caption:
        from evcap_cli.captioning.checkpoint_captioner import CheckpointCaptioner
        from evcap_cli.captioning.options import CaptionOptions
        from evcap_cli.inputs import Source

        engine = CheckpointCaptioner(CaptionOptions(segment=segment, cache=False, workers=1))
        for record in engine.run([Source(path, str(path), path.stem, Path(path.name))]):
            count = len(record.captions)
    else:
        for event in FeaturePipeline(wide_backbones(), cache=None, segmentation=segment, workers=1).run([path]):
            if isinstance(event, SegmentReady):
                count += 1
            elif event.error is not None:
                raise SystemExit(str(event.error))
    found = {"segments": count, "own": peak("self"), "decoder": max(children)}
    print(json.dumps({**found, "seconds": round(time.perf_counter() - begun)}))


def peak(process: str) -> int:
    """Most resident megabytes so far."""
    return int(Path(f"/proc/{process}/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, nargs=2, default=(10, 120))
    parser.add_argument("--segment", default="fixed:10")
    parser.add_argument("--caption", action="store_true")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        run_alone(given.alone, given.segment, given.caption)
        return
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        minute = Path(folder) / "minute.mp4"
        write_clip(minute, 60, (160, 120), 0)
        for minutes in given.minutes:
            path = Path(folder) / f"{minutes}.mp4"
            repeat_film(minute, path, minutes)
            options = ["--segment", given.segment, *(["--caption"] if given.caption else [])]
            command = [sys.executable, "-m", "tests.benchmarks.long_video", "--alone", str(path), *options]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            peaks.append(found["own"] + found["decoder"])
            print(f"{minutes:4} min: {found}, together {peaks[-1]} MB")
    short, long = given.minutes
    work = "the demo checkpoint" if given.caption else "streams 2048, 2048, 1024 and 768 wide"
    what = f"peak memory, {long} minutes against {short} with sound, `{given.segment}`, {work}"
    report(Measured("memory", what, (peaks[1] / peaks[0],), at_most=1.15, note=f"{peaks[1]} against {peaks[0]} MB"))


if __name__ == "__main__":
    main()
