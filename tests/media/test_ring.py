"""Room for frames between the processes: where it is short, less is taken, or another place, or it is waited for."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from evcap_cli.errors import OutOfMemory
from evcap_cli.media import ring
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.frames import Geometry
from tests.media.clips import make_clip, number_in
from tests.media.reading import run

MEGABYTE = 1 << 20


class Room:
    """A place of so many bytes, which several users share."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.free = folder, size

    def __call__(self, size: int) -> IO[bytes]:
        if size > self.free:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.free -= size
        return ring.in_folder(self.folder)(size)


def test_fewer_slots_where_room_is_short(tmp_path: Path) -> None:
    room = Room(tmp_path, 10 * MEGABYTE)
    file, slots = ring.reserve(MEGABYTE, 16, 0, where=[room])
    with file:
        assert slots == 8
        assert os.fstat(file.fileno()).st_size == 8 * MEGABYTE
        assert os.fstat(file.fileno()).st_blocks * 512 >= 8 * MEGABYTE, "really there, not only promised"
    file, slots = ring.reserve(MEGABYTE, 16, 0, where=[room])
    with file:
        assert slots == ring.FEWEST_SLOTS


def test_another_place_where_one_is_full(tmp_path: Path) -> None:
    file, slots = ring.reserve(MEGABYTE, 4, 0, where=[Room(tmp_path, MEGABYTE), Room(tmp_path, 9 * MEGABYTE)])
    with file:
        assert slots == 4


def test_room_is_waited_for(tmp_path: Path) -> None:
    room = Room(tmp_path, 0)
    asked = threading.Event()

    def place(size: int) -> IO[bytes]:
        asked.set()
        return room(size)

    def make_room() -> None:
        asked.wait()
        room.free = 4 * MEGABYTE

    other = threading.Thread(target=make_room)
    other.start()
    file, slots = ring.reserve(MEGABYTE, 4, 60, where=[place])
    other.join()
    with file:
        assert slots == 4


def test_waiting_ends_where_nobody_waits_any_more(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        ring.reserve(MEGABYTE, 4, 1000, lambda: True, where=[Room(tmp_path, 0)])
    with pytest.raises(OSError, match="No space left"):
        ring.reserve(MEGABYTE, 4, 0, where=[Room(tmp_path, 0)])


def test_a_ring_of_huge_frames_is_not_huge(tmp_path: Path) -> None:
    sizes = []

    def place(size: int) -> IO[bytes]:
        sizes.append(size)
        return ring.in_folder(tmp_path)(0)

    for frame, slots in [(100 * MEGABYTE, 2), (20 * MEGABYTE, 12), (400 * MEGABYTE, 2)]:
        file, found = ring.reserve(frame, 16, 0, where=[place])
        file.close()
        assert found == slots
        assert sizes.pop() == slots * frame


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False).returncode
    ):
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_several_decoders_share_a_small_folder(
    small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four rings of 16 frames of 115 KB would take seven megabytes."""
    monkeypatch.setattr(ring, "places", lambda: iter([ring.in_folder(small_folder), ring.in_folder(tmp_path)]))
    clip = make_clip(tmp_path / "c.mp4", seconds=2, audio=False)
    with ExitStack() as open_ones:
        decoders = [open_ones.enter_context(Decoder(timeout=120)) for _ in range(4)]
        for decoder in decoders:
            decoder.open(clip)
            heard = run(decoder, [0], geometry=Geometry(size=(160, 240)))
            assert len(heard.frames) == 1
        for decoder in decoders:
            heard = run(decoder, geometry=Geometry(size=(160, 240)))
            assert [number_in(pixels) for pixels in heard.frames.values()] == list(range(50))


def test_no_room_at_all_is_lack_of_memory_after_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "c.mp4", seconds=0.4, audio=False)
    with Decoder(timeout=120) as decoder:
        decoder.open(clip)
        monkeypatch.setattr(ring, "places", lambda: iter([Room(tmp_path, 0)]))
        decoder.timeout = 0.6
        with pytest.raises(OutOfMemory, match="No space left on device") as caught:
            run(decoder, [1])
        assert caught.value.hint is not None
        monkeypatch.undo()
        decoder.timeout = 120
        assert len(run(decoder, [1]).frames) == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAGAIN])
def test_a_process_is_started_when_there_is_room_for_it(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "c.mp4", seconds=0.4, audio=False)
    left = [3]
    plain = subprocess.Popen

    def popen(*given: object, **more: object) -> object:
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return plain(*given, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", popen)
    with Decoder(timeout=120) as decoder:
        assert len(decoder.open(clip).times) == 10
    left[0] = 1000
    with Decoder(timeout=0.5) as decoder, pytest.raises(OutOfMemory, match="no room for a decoding process"):
        decoder.open(clip)


def test_the_pixels_of_a_view_outlive_a_smaller_ring(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "c.mp4", seconds=0.4, audio=False)
    with Decoder(timeout=120) as decoder:
        decoder.open(clip)
        for side in (32, 64, 48):
            frames = run(decoder, geometry=Geometry(size=(side, side))).frames
            assert all(np.asarray(pixels).shape == (side, side, 3) for pixels in frames.values())
