"""A kill, Ctrl-C or a full disk at any moment: outputs are whole or absent, and the same command ends the same."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evcap_cli.captioning import checkpoint_captioner
from tests.commands.small import evcap, fork_evcap

Call = Callable[..., int]
ONE_AT_A_TIME = 1


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A video is finished as soon as it can be, so that there is something to keep."""
    monkeypatch.setattr(checkpoint_captioner, "CLIPS_A_BATCH", ONE_AT_A_TIME)


def contents(*roots: Path) -> dict[str, bytes]:
    files = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*.srt"))]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("way", [("-o", "out.srt", "-o", "out.jsonl"), ("-o", "tree/")], ids=["files", "tree"])
@pytest.mark.slow
def test_killed_at_several_moments_the_rerun_ends_with_the_same_bytes(
    films: Path, caption: Call, checkpoint: Path, warm: Path, way: tuple[str, ...]
) -> None:
    assert caption(films, *way) == 0
    outputs = [Path("tree")] if "tree/" in way else [Path("out.srt"), Path("out.jsonl")]
    undisturbed = contents(*outputs)
    for path in (*outputs, *Path("tree").rglob("*")):
        if path.is_file():
            path.unlink()
    arguments = ("caption", films, *way, "-c", checkpoint, "--no-cache", "--workers", "1")
    marks = {
        "the journal or tree is begun": lambda: any(Path().glob("*.partial/records.jsonl")) or Path("tree").exists(),
        "something is finished": lambda: kept() > 0,
        "more is finished": lambda: kept() > 2,
    }
    for mark in marks.values():
        process = fork_evcap(*arguments)
        while not mark() and process.running():
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.end()
        for name, content in contents(*(path for path in outputs if path.exists())).items():
            assert content == undisturbed[name], "an output exists only whole"
    assert caption(films, *way) == 0
    assert contents(*outputs) == undisturbed
    assert not [path.name for path in Path().rglob("*") if path.name.endswith((".tmp", ".partial"))]


def kept() -> int:
    """Finished videos in the journal or the tree."""
    lines = sum(path.read_bytes().count(b"\n") - 1 for path in Path().glob("*.partial/records.jsonl"))
    return lines + len(list(Path().glob("tree/**/*.srt")))


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
    ids=["ctrl-c", "term", "hup"],
)
@pytest.mark.parametrize("whom", ["it", "its group"])
@pytest.mark.slow
def test_a_signal_is_one_line_an_exit_code_and_resumes(
    films: Path, caption: Call, checkpoint: Path, number: signal.Signals, code: int, whom: str
) -> None:
    """A batch system signals all processes of a job, decoding ones too: no video may fail of it."""
    arguments = ("caption", films, "-o", "out.srt", "-c", checkpoint, "--no-cache", "--workers", "1")
    process = fork_evcap(*arguments)
    while not Path("out.srt.partial/records.jsonl").exists() and process.running():
        time.sleep(0.01)
    os.kill(process.pid, number) if whom == "it" else os.killpg(process.pid, number)
    found, out, err = process.end()
    assert (found, out) == (code, "")
    assert [line.startswith("interrupted") for line in err.splitlines()] == [True], err
    assert not Path("out.srt").exists()
    assert b'"failed"' not in Path("out.srt.partial/records.jsonl").read_bytes()
    assert caption(films, "-o", "out.srt") == 0
    assert caption(films, "-o", "undisturbed.srt") == 0
    assert Path("out.srt").read_bytes() == Path("undisturbed.srt").read_bytes()


@pytest.mark.slow
def test_ctrl_c_says_what_is_kept(
    films: Path, caption: Call, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = checkpoint_captioner.CheckpointCaptioner._record
    seen = []

    def stopping(*arguments: object) -> object:
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return made(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_captioner.CheckpointCaptioner, "_record", stopping)
        assert caption(films, "-o", "out.jsonl", "-q") == 130
    told = capfd.readouterr().err
    assert told == "interrupted: 2 videos finished, kept in out.jsonl.partial; run the same command to go on\n"
    assert caption(films, "-o", "out.jsonl") == 0
    assert "(2 from an earlier run)" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("way", [("-o", "small/out.srt", "-o", "small/out.jsonl"), ("-o", "small/tree/")])
def test_a_full_disk_keeps_what_is_finished_and_the_rerun_goes_on(
    films: Path, caption: Call, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], way: tuple[str, ...]
) -> None:
    """Every write after the first few fails, as on a disk that ran full."""
    flush, room = os.fsync, [4]

    def full(descriptor: int) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        flush(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert caption(films, *way) == 3
    errors = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("captioning:")]
    assert len(errors) == 1, errors
    assert "cannot write (No space left on device); free space" in errors[0]
    assert not Path("small/out.srt").exists()
    assert caption(films, *way) == 0
    # a line that was written but not flushed may count as well
    assert re.search(r"\([34] from an earlier run\)", capfd.readouterr().err)
    assert evcap("cache", "verify") == 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_really_full(
    films: Path, caption: Call, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if made.returncode:
        pytest.skip("this place lets nobody mount")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(b"0" * (56 << 10))
        assert caption(films, "-o", disk / "out.jsonl") in (1, 3)
        told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(told) == 1
        assert "No space left on device" in told[0]
        assert not (disk / "out.jsonl").exists()
        ballast.unlink()
        assert caption(films, "-o", disk / "out.jsonl") == 0
        assert caption(films, "-o", "there.jsonl") == 0
        assert (disk / "out.jsonl").read_bytes() == Path("there.jsonl").read_bytes()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
