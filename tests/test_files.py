"""Whole files: what a killed writer leaves is removed by the next one, what a living one writes is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evcap_cli import console, files
from evcap_cli.errors import WriteError
from evcap_cli.files import WholeFile, sweep, temporary_folder, write_whole
from tests.commands.small import ROOT

WRITER = """
import sys, time
from pathlib import Path
from evcap_cli.files import WholeFile, temporary_folder
if sys.argv[1] == "folder":
    with temporary_folder() as folder:
        print(folder, flush=True)
        sys.stdin.read()
else:
    file = WholeFile(Path(sys.argv[1]))
    file.temporary.write_bytes(b"half of it")
    print(file.temporary, flush=True)
    sys.stdin.read()
    file.commit()
"""


@contextmanager
def writer(what: object, **environment: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that has begun to write, and the name it writes under; it ends when its input does."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(what)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().rstrip("\n"))


@pytest.mark.slow
def test_the_next_writer_removes_what_a_kill_left_and_nothing_else(tmp_path: Path) -> None:
    own = (".notes.txt.tmp", ".out.srt.swp", ".x.12-3.tmp", "out.srt.12-0123456701234567.tmp")
    for name in own:
        (tmp_path / name).write_text("mine")
    with writer(tmp_path / "out.srt") as (living, unfinished), writer(tmp_path / "out.srt") as (killed, left):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.read_bytes() == b"half of it"
        console.run(lambda: write_whole(tmp_path / "another.jsonl", "whole"))
        assert not left.exists()
        assert unfinished.read_bytes() == b"half of it"
        assert living.stdin is not None
        living.stdin.close()
        assert living.wait() == 0
    assert {path.name for path in tmp_path.iterdir()} == {*own, "another.jsonl", "out.srt"}
    assert (tmp_path / "out.srt").read_bytes() == b"half of it"


def test_a_process_that_has_the_number_of_a_dead_one_changes_nothing(tmp_path: Path) -> None:
    """As in containers, where every run may be process 1."""
    with writer(tmp_path / "out.srt") as (killed, left):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    for number in (os.getpid(), os.getppid(), 1):
        reused = left.with_name(left.name.replace(f".{killed.pid}-", f".{number}-"))
        left.rename(reused)
        left = reused
        assert sweep(tmp_path) == len(b"half of it")
        left.write_bytes(b"half of it")


def test_files_of_another_machine_are_left_alone_while_they_may_grow(tmp_path: Path) -> None:
    unknown = tmp_path / ".a.srt.7-0123456789abcdef.tmp"
    unknown.write_bytes(b"half")
    assert sweep(tmp_path) == 0
    assert unknown.exists()
    os.utime(unknown, (0, 0))
    assert sweep(tmp_path) == 4
    assert not unknown.exists()


def test_a_disk_without_locks_is_written_to_and_nothing_fresh_is_removed_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    begun = WholeFile(tmp_path / "out.srt")
    sweep(tmp_path)
    begun.temporary.write_bytes(b"whole")
    begun.commit()
    assert (tmp_path / "out.srt").read_bytes() == b"whole"


def test_a_link_that_looks_like_a_leftover_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    link = tmp_path / f".out.srt.7-{files._machine()}01234567.tmp"
    link.symlink_to("precious")
    sweep(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_file_taken_for_left_behind_before_it_was_locked_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, early = files.take_lock, []

    def late(descriptor: int) -> bool | None:
        if not early:
            early.extend(tmp_path.iterdir())
            early[0].unlink()
        return lock(descriptor)

    monkeypatch.setattr(files, "take_lock", late)
    write_whole(tmp_path / "out.srt", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out.srt"]


def test_a_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with writer("folder", TMPDIR=str(tmp_path)) as (killed, left):
        (left / "inside").write_text("x")
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert left.parent == tmp_path

    def another() -> None:
        with temporary_folder() as folder:
            assert list(tmp_path.iterdir()) == [folder]

    assert console.run(another) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot write"):
        write_whole(tmp_path / "file" / "out.srt", "")
