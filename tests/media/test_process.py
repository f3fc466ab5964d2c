"""The decoding process: crashes, hangs, kills and impatient readers leave a typed error and nothing else."""

from __future__ import annotations

import errno
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.errors import DecoderCrashed, DecodeTimeout, OutOfMemory
from evcap_cli.media.decode_plan import DecodedFrame, DecodePlan, FrameRequest
from evcap_cli.media.decode_report import DecodeReport
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.decoder_child import ORPHAN_SECONDS
from evcap_cli.media.frames import Geometry
from tests.media.clips import make_clip, number_in
from tests.media.processes import gone, opened_for_reading, resident_bytes, wait_until_gone, wait_until_idle
from tests.media.reading import run


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "c.mp4", seconds=8, audio=False)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


def every_frame(decoder: Decoder) -> DecodePlan:
    assert decoder.timeline is not None
    return DecodePlan({"all": FrameRequest(Geometry(size=(120, 160)), range(len(decoder.timeline.times)))})


@pytest.mark.slow
def test_a_kill_while_decoding_is_that_files_crash(decoder: Decoder, clip: Path) -> None:
    decoder.open(clip)
    assert decoder.pid is not None
    frames = decoder.decode(every_frame(decoder))
    for _ in range(20):
        next(frames)
    os.kill(decoder.pid, signal.SIGKILL)
    with pytest.raises(DecoderCrashed, match="SIGKILL") as caught:
        list(frames)
    assert caught.value.path == str(clip)
    decoder.open(clip)
    assert len(run(decoder).frames) == 200


@pytest.mark.slow
def test_scripts_import_all_that_decoding_takes_from_one_module(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec("from evcap_cli.media.decoder import *", names)
    with names["Decoder"]() as decoder:
        end = decoder.open(make_clip(tmp_path / "c.mp4", seconds=1)).end
        frame = names["FrameRequest"](Geometry(size=(8, 8)), [3])
        plan = names["DecodePlan"]({"only": frame}, names["AudioRequest"](16000, Fraction(0), end))
        kinds = [type(item) for item in decoder.decode(plan)]
    assert set(kinds) == {names["DecodedFrame"], names["AudioChunk"], names["DecodeReport"]}
    assert kinds.count(names["DecodedFrame"]) == kinds.count(names["DecodeReport"]) == 1


@pytest.mark.slow
def test_a_segfault_is_reported_by_its_name(decoder: Decoder, clip: Path) -> None:
    decoder.open(clip)
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGSEGV)
    with pytest.raises(DecoderCrashed, match="SIGSEGV"):
        list(decoder.decode(every_frame(decoder)))
    with pytest.raises(RuntimeError, match="open a file first"):
        decoder.decode(DecodePlan({}))
    decoder.open(clip)


@pytest.mark.slow
def test_a_child_that_died_between_two_files_is_replaced(decoder: Decoder, clip: Path) -> None:
    decoder.open(clip)
    first = decoder.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert wait_until_gone(first)
    decoder.open(clip)
    assert decoder.pid != first
    assert len(run(decoder, [5]).frames) == 1


@pytest.mark.slow
def test_a_file_that_never_answers_times_out(tmp_path: Path, clip: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with Decoder(timeout=120) as decoder:
        decoder.open(clip)
        decoder.timeout = 0.5
        child = decoder.pid
        assert child is not None
        with pytest.raises(DecodeTimeout, match=r"no progress for 0\.5 seconds"):
            decoder.open(tmp_path / "pipe.mp4")
        assert wait_until_gone(child)
        decoder.timeout = 120
        decoder.open(clip)
        assert len(run(decoder, [7]).frames) == 1


@pytest.mark.slow
def test_a_hang_while_decoding_times_out(clip: Path) -> None:
    with Decoder(timeout=120) as decoder:
        decoder.open(clip)
        child = decoder.pid
        assert child is not None
        frames = decoder.decode(every_frame(decoder))
        for _ in range(10):
            next(frames)
        os.kill(child, signal.SIGSTOP)
        decoder.timeout = 0.5
        with pytest.raises(DecodeTimeout):
            list(frames)
        assert wait_until_gone(child)


class Patience:
    """A process that notes how long its reader would wait for each message."""

    def __init__(self, process: Any) -> None:
        self.process, self.timeouts = process, list[float]()

    def receive(self, timeout: float) -> Any:
        self.timeouts.append(timeout)
        return self.process.receive(timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.process, name)


@pytest.mark.slow
def test_a_slow_reader_is_not_a_hang(clip: Path) -> None:
    with Decoder(timeout=120) as decoder:
        decoder.open(clip)
        frames = decoder.decode(every_frame(decoder))
        next(frames)
        patience = Patience(decoder._process)
        decoder._process = patience  # type: ignore[assignment]
        assert sum(isinstance(item, DecodedFrame) for item in frames) == 199
    assert set(patience.timeouts) == {120}, "the time between two steps of the reader is not taken off"


@pytest.mark.slow
def test_pixels_are_the_readers_own(decoder: Decoder, clip: Path) -> None:
    decoder.open(clip)
    *frames, report = decoder.decode(every_frame(decoder))
    assert report == DecodeReport(seen=200)
    assert [number_in(frame.pixels) for frame in frames if isinstance(frame, DecodedFrame)] == list(range(200))


@pytest.mark.slow
def test_a_child_whose_reader_pauses_waits_and_keeps_little(decoder: Decoder, clip: Path) -> None:
    """Two hundred frames of 0.9 MB: a child that decoded on would have to keep them somewhere."""
    decoder.open(clip)
    assert decoder.pid is not None
    before = resident_bytes(decoder.pid)
    frames = decoder.decode(DecodePlan({"all": FrameRequest(Geometry(size=(480, 640)), range(200))}))
    next(frames)
    wait_until_idle(decoder.pid)
    assert resident_bytes(decoder.pid) - before < 60 << 20
    assert sum(isinstance(item, DecodedFrame) for item in frames) == 199


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2, 30])
def test_a_pass_that_is_left_early_does_not_disturb_the_next(decoder: Decoder, clip: Path, after: int) -> None:
    decoder.open(clip)
    child = decoder.pid
    for _ in range(3):
        frames = decoder.decode(every_frame(decoder))
        for _ in range(after):
            next(frames)
        frames.close()  # type: ignore[attr-defined]
    assert decoder.pid == child
    heard = run(decoder)
    assert [number_in(pixels) for pixels in heard.frames.values()] == list(range(200))


@pytest.mark.slow
def test_a_pass_that_was_never_begun_is_none(decoder: Decoder, clip: Path) -> None:
    decoder.open(clip)
    decoder.decode(every_frame(decoder))
    assert decoder.passes == 0
    assert len(run(decoder).frames) == 200


@pytest.mark.slow
def test_frames_the_video_does_not_have_are_refused(decoder: Decoder, clip: Path) -> None:
    decoder.open(clip)
    with pytest.raises(ValueError, match="frame 200 of a video of 200 frames"):
        run(decoder, [0, 200])
    assert len(run(decoder, [199]).frames) == 1


@pytest.mark.slow
def test_the_child_leaves_ctrl_c_to_its_parent(decoder: Decoder, clip: Path) -> None:
    decoder.open(clip)
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGINT)
    assert len(run(decoder).frames) == 200


@pytest.mark.slow
def test_a_decoder_outlives_the_thread_that_started_it(decoder: Decoder, clip: Path) -> None:
    thread = threading.Thread(target=decoder.open, args=(clip,))
    thread.start()
    thread.join()
    time.sleep(2 * ORPHAN_SECONDS)  # the child looks for its parent: too short a wait would pass
    assert len(run(decoder).frames) == 200


@pytest.mark.slow
@pytest.mark.parametrize("used", [False, True])
def test_closing_from_another_thread_ends_a_wait(used: bool, tmp_path: Path, clip: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    decoder = Decoder(timeout=120)
    if used:
        decoder.open(clip)
    kept: list[int] = []

    def close() -> None:
        kept.append(opened_for_reading(tmp_path / "pipe.mp4"))
        decoder.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(DecoderCrashed):
        decoder.open(tmp_path / "pipe.mp4")
    closer.join()
    os.close(kept[0])
    assert decoder.pid is None


@pytest.mark.slow
def test_the_child_is_light(decoder: Decoder, clip: Path) -> None:
    decoder.open(clip)
    maps = Path(f"/proc/{decoder.pid}/maps").read_text()
    assert "libavcodec" in maps
    assert "torch" not in maps
    assert "cv2" not in maps


@pytest.mark.slow
def test_nothing_is_left_open(clip: Path) -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    with Decoder() as warm:
        warm.open(clip)
    before = descriptors()
    for _ in range(3):
        with Decoder() as decoder:
            decoder.open(clip)
            run(decoder, [1])
            child = decoder.pid
        assert child is not None
        assert wait_until_gone(child)
    assert descriptors() <= before


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAGAIN])
def test_a_process_is_started_when_there_is_room_for_it(
    number: int, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [3]
    plain = subprocess.Popen

    def popen(*given: object, **more: object) -> object:
        if failures[0]:
            failures[0] -= 1
            raise OSError(number, os.strerror(number))
        return plain(*given, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", popen)
    with Decoder(timeout=120) as decoder:
        assert len(decoder.open(clip).times) == 200
    failures[0] = 1000
    with Decoder(timeout=0.5) as decoder, pytest.raises(OutOfMemory, match="no room for a decoding process"):
        decoder.open(clip)


ORPHAN = """
import sys, time
from pathlib import Path
from evcap_cli.media.decode_plan import DecodePlan, FrameRequest
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.frames import Geometry
decoder = Decoder(timeout=600)
if sys.argv[2] != "pipe":
    decoder.open(sys.argv[1])
    frames = decoder.decode(DecodePlan({"all": FrameRequest(Geometry(size=(480, 640)), range(100))}))
    next(frames)
    print(decoder.pid, flush=True)
    time.sleep(600)
import threading
threading.Thread(target=decoder.open, args=(sys.argv[1],), daemon=True).start()
while decoder.pid is None:
    time.sleep(0.01)
print(decoder.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["frames", "pipe"])
def test_a_killed_parent_leaves_no_process_and_no_memory(where: str, clip: Path, tmp_path: Path) -> None:
    path = clip
    if where == "pipe":
        path = tmp_path / "pipe.mp4"
        os.mkfifo(path)
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    with subprocess.Popen(
        [sys.executable, str(script), str(path), where],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        kept = opened_for_reading(path) if where == "pipe" else None
        assert not gone(child)
        shared = [line for line in Path(f"/proc/{child}/maps").read_text().splitlines() if " rw-s " in line]
        assert all(line.endswith(" (deleted)") for line in shared), "nothing of it has a name that could stay"
        parent.kill()
    assert wait_until_gone(child)
    if kept is not None:
        os.close(kept)


@pytest.mark.slow
def test_a_module_beside_the_videos_is_not_run(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    trap = "from pathlib import Path\nPath(__file__).with_suffix('.sprung').touch()\nraise SystemExit\n"
    for name in ("av", "numpy", "mmap", "evcap_cli"):
        (tmp_path / "videos" / f"{name}.py").write_text(trap)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom evcap_cli.media.decoder import Decoder\n"
        "with Decoder() as decoder:\n    print(len(decoder.open(sys.argv[1]).times))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(clip)],
        cwd=tmp_path / "videos",
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout.strip() == "200"
    assert not list((tmp_path / "videos").glob("*.sprung"))


DECODING = """
import resource
import numpy as np
from evcap_cli.media.decoder_memory import _keep_blocks_apart

_keep_blocks_apart(False)
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.ones(1 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_decoder_keeps_room_for_pictures_whatever_the_user_chose_for_models() -> None:
    """8 MiB eight times over: the system would give them anew, page by page."""
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "131072"}
    done = subprocess.run(
        [sys.executable, "-c", DECODING], env=environment, capture_output=True, text=True, check=True, timeout=100
    )
    assert int(done.stdout) < 16
