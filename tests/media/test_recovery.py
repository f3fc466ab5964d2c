"""A child that is gone at an awkward moment: the file at hand pays for it, no other does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from evcap_cli.errors import DecoderCrashed, DecodeTimeout
from evcap_cli.media.decode_plan import AudioRequest, DecodePlan, FrameRequest
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.frames import Geometry
from tests.media.clips import make_clip
from tests.media.processes import opened_for_reading
from tests.media.reading import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "c.mp4", seconds=4)


def plan(count: int = 100, sound: bool = False) -> DecodePlan:
    request = FrameRequest(Geometry(short_side=120, fit="keep"), range(count))
    return DecodePlan({"only": request}, AudioRequest(16000, 0, 4) if sound else None)  # type: ignore[arg-type]


def children() -> set[int]:
    mine = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and b"evcap_cli.media.decoder_child" in line and fields[0] != "Z":
                mine.add(int(entry.name))
    return mine


@pytest.fixture
def decoder() -> Iterator[tuple[Decoder, int]]:
    """A decoder and the number of its process."""
    before = children()
    with Decoder(timeout=120) as one:
        one._start()
        yield one, one._running().pid  # its command line may not be there yet, for ``children``
    assert not children() - before


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before decode", "before open"])
def test_a_kill_between_two_calls(decoder: tuple[Decoder, int], clip: Path, when: str) -> None:
    one, pid = decoder
    one.open(clip)
    os.kill(pid, signal.SIGKILL)
    if when == "before decode":
        with pytest.raises(DecoderCrashed):
            list(one.decode(plan()))
    assert len(one.open(clip).times) == 100
    assert len(run(one, [3, 70]).frames) == 2


@pytest.mark.slow
def test_a_fresh_child_that_dies_while_opening_is_that_files_crash(tmp_path: Path, clip: Path) -> None:
    fifo = tmp_path / "pipe.mp4"
    os.mkfifo(fifo)
    with Decoder(timeout=120) as one:

        def kill() -> None:
            kept = opened_for_reading(fifo)
            assert one.pid is not None
            os.kill(one.pid, signal.SIGKILL)
            os.close(kept)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(DecoderCrashed, match="SIGKILL"):
            one.open(fifo)
        killer.join()
        assert len(one.open(clip).times) == 100


@pytest.mark.slow
def test_a_child_that_stops_while_decoding_times_out(decoder: tuple[Decoder, int], clip: Path) -> None:
    one, pid = decoder
    one.open(clip)
    stream = one.decode(plan())
    next(stream)
    os.kill(pid, signal.SIGSTOP)
    one.timeout = 1
    with pytest.raises(DecodeTimeout):
        for _ in stream:
            pass
    one.timeout = 120
    assert len(one.open(clip).times) == 100


@pytest.mark.slow
def test_an_error_of_the_reader_ends_the_pass(decoder: tuple[Decoder, int], clip: Path) -> None:
    one, _ = decoder
    one.open(clip)

    def read() -> None:
        with closing(one.decode(plan())) as stream:
            next(stream)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()
    assert len(run(one).frames) == 100


@pytest.mark.slow
def test_closing_twice_and_using_it_again(clip: Path) -> None:
    one = Decoder(timeout=120)
    one.close()
    one.open(clip)
    one.close()
    one.close()
    assert len(one.open(clip).times) == 100
    one.close()
    with pytest.raises(RuntimeError, match="open"):
        next(one.decode(plan()))


@pytest.mark.slow
def test_no_descriptor_is_lost_over_many_crashes(clip: Path) -> None:
    with Decoder(timeout=120) as one:
        one.open(clip)
        run(one, [0])
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(4):
            assert one.pid is not None
            os.kill(one.pid, signal.SIGKILL)
            with pytest.raises(DecoderCrashed):
                run(one, [0])
            one.open(clip)
            run(one, [0])
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
