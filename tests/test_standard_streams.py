"""Closed or full standard streams neither end a run nor hide how it ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.features.films import make_film

EVCAP = f"{sys.executable} -m evcap_cli"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.slow
def test_a_caption_run_needs_no_stream(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mp4", frames=4)
    done = shell(f"{EVCAP} caption a.mp4 -o out.jsonl --cache-dir cache <&- >&- 2>&-", tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(line)["status"] == "ok"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "cache", "out.jsonl"]


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-"])
@pytest.mark.slow
def test_features_are_extracted_without_a_stream(tmp_path: Path, closed: str) -> None:
    make_film(tmp_path / "a.mp4", frames=4)
    done = shell(f"{EVCAP} extract a.mp4 --appearance lite-appearance --cache-dir cache {closed}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2, "rows, and the report of the video"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "cache"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", ["caption a.mp4 -o -", "caption a.mp4 -o out.srt -o -", "merge in.jsonl -o -", "--version", "plugins"]
)
def test_data_that_cannot_be_written_is_an_error_before_any_work(tmp_path: Path, call: str) -> None:
    make_film(tmp_path / "a.mp4", frames=4)
    (tmp_path / "in.jsonl").touch()
    done = shell(f"{EVCAP} {call} >&-", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: standard output is closed; leave it open, or write to a file\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "in.jsonl"]


@pytest.mark.slow
def test_a_list_from_a_closed_standard_input_is_wrong_usage(tmp_path: Path) -> None:
    done = shell(f"{EVCAP} caption - -o out.srt <&-", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard input: is closed; ")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_and_full_messages_are_none(tmp_path: Path) -> None:
    done = shell(f"{EVCAP} --version >/dev/full", tmp_path)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Exception ignored" not in done.stderr
    assert shell(f"{EVCAP} --version 2>/dev/full", tmp_path).returncode == 0
    assert shell(f"{EVCAP} merge none.jsonl -o out.srt 2>/dev/full", tmp_path).returncode == 2


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_a_run_quietly(tmp_path: Path) -> None:
    done = shell(f"{EVCAP} plugins --json | head -c 1; {EVCAP} --help | head -c 0", tmp_path)
    assert (done.stdout, done.stderr) == ("[", "")


@pytest.mark.slow
def test_commands_to_a_terminal_in_names_are_shown_escaped(tmp_path: Path) -> None:
    name = "\x1b[31m\u202e\u2028.mp4"
    make_film(tmp_path / "a.mp4", frames=4).rename(tmp_path / name)
    for call in ("extract . --dry-run", "caption . -o out.srt --dry-run"):
        first = shell(f"{EVCAP} {call}", tmp_path).stdout.split("\n")[0]
        assert first == "\\x1b[31m\\u202e\\u2028.mp4"
