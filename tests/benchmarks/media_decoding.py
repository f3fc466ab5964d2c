"""Decoding against plain PyAV: ``python -m tests.benchmarks.media_decoding [--rounds 3]``.

Prints, for 30 moments of a 30-second clip (480p, key frames every 250 and every 30 frames), our sparse pass beside a
plain pass to the last moment and a seek for every moment, in one process; then what a child process costs beside the
same work done here: its start, its pipe and its ring. Times are those of the processor, of this process and its
children: they hold on a machine that others use at the same time.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from evcap_cli.media.decode_plan import DecodePlan, FrameRequest
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.frames import Fitter, Geometry, requested_frames
from evcap_cli.media.packets import Skipped
from evcap_cli.media.scan import open_video
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, ratios, table

GEOMETRY = Geometry(size=(224, 224))
MOMENTS = 30


def write_clip(path: Path, gop: int, seconds: int = 30, size: tuple[int, int] = (848, 480), fps: int = 25) -> Path:
    """A texture that wanders under grain: work for a decoder."""
    generator = np.random.default_rng(0)
    width, height = size
    texture = generator.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    grain = generator.integers(0, 12, (8, *texture.shape), dtype=np.uint8)
    options = {"preset": "superfast", "g": str(gop), "keyint_min": str(gop), "sc_threshold": "0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = texture.shape[1], texture.shape[0], "yuv420p"
        for number in range(seconds * fps):
            picture = np.roll(texture, (number, number * 3), (0, 1)) // 2 + grain[number % 8]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def moments(count: int) -> list[int]:
    """The middles of thirty equal parts."""
    return [(2 * i + 1) * count // (2 * MOMENTS) for i in range(MOMENTS)]


def ours(path: Path) -> None:
    """Open and fetch, in this process."""
    opened = open_video(path)
    fitter = Fitter(GEOMETRY, opened.timeline.info)
    found = [
        fitter(frame) for _, frame in requested_frames(opened, moments(len(opened.timeline.times)), Skipped(), str)
    ]
    opened.file.close()
    assert len(found) == MOMENTS


def plain(path: Path, *, everything_resized: bool = False) -> None:
    """One pass from the start, the frames wanted resized as ``frame.reformat`` does it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        wanted = set(moments(stream.frames))
        last = max(wanted)
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted or everything_resized:
                frame.reformat(224, 224, "rgb24").to_ndarray()
            if number == last:
                return


def seek_each(path: Path) -> None:
    """A seek for every moment."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        for number in moments(stream.frames):
            target = int(number / (stream.average_rate * stream.time_base))
            container.seek(target, stream=stream)
            for frame in container.decode(stream):
                if frame.pts >= target:
                    frame.reformat(224, 224, "rgb24").to_ndarray()
                    break


def fresh_child(path: Path, *, everything: bool = False) -> None:
    """The same as ``ours`` by a decoder of its own; ``everything``: all frames cross."""
    with Decoder() as decoder:
        count = len(decoder.open(path).times)
        wanted = list(range(count)) if everything else moments(count)
        for _ in decoder.decode(DecodePlan({"only": FrameRequest(GEOMETRY, wanted)})):
            pass


def empty_child(path: Path) -> None:
    """A child's start and end."""
    with Decoder() as decoder:
        decoder.open(path)


def processor_seconds() -> float:
    """User and system time of this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        for gop in (250, 30):
            path = write_clip(Path(folder) / f"{gop}.mp4", gop)
            alternatives: dict[str, Callable[[], object]] = {
                "sparse, ours": lambda path=path: ours(path),  # type: ignore[misc]
                "plain pass to the last moment": lambda path=path: plain(path),  # type: ignore[misc]
                "a seek for every moment": lambda path=path: seek_each(path),  # type: ignore[misc]
                "ours through a fresh child": lambda path=path: fresh_child(path),  # type: ignore[misc]
            }
            seconds = in_turn(alternatives, rounds, processor_seconds)
            print(f"\n{MOMENTS} moments of 30 s at 480p, a key frame every {gop}")
            print(table(seconds))
            what = f"{MOMENTS} moments of 30 s at 480p, a key frame every {gop}, processor time: sparse decoding"
            child = "the same through a fresh decoding process against this one"
            report(
                Measured(
                    f"{gop}/plain",
                    f"{what} against a plain pass to the last moment",
                    ratios(seconds, "sparse, ours", "plain pass to the last moment"),
                ),
                Measured(
                    f"{gop}/seek",
                    f"{what} against a seek for every moment",
                    ratios(seconds, "sparse, ours", "a seek for every moment"),
                ),
                Measured(f"{gop}/child", child, ratios(seconds, "ours through a fresh child", "sparse, ours")),
            )
        short = write_clip(Path(folder) / "short.mp4", 30, seconds=10)
        seconds = in_turn(
            {
                "plain pass, every frame resized": lambda: plain(short, everything_resized=True),
                "every frame through a child": lambda: fresh_child(short, everything=True),
                "a child that opens the file": lambda: empty_child(short),
            },
            rounds,
            processor_seconds,
        )
        print("\nEvery frame of 10 s at 480p")
        print(table(seconds))
        what = (
            "every frame of 10 s at 480p through a fresh decoding process, its start included, against plain PyAV and"
        )
        times = ratios(seconds, "every frame through a child", "plain pass, every frame resized")
        report(Measured("every-frame", f"{what} FFmpeg's scaler, processor time", times))


if __name__ == "__main__":
    main()
