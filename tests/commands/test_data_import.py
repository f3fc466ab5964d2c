"""``evcap data import``: its output and its exit codes, and that ``evcap data check`` takes the root."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.commands.small import evcap

ROWS = "file,caption\ndog.mp4,a dog runs happily\nsea.mp4,the sea\ncat.mp4,a cat\n"


@pytest.fixture(autouse=True)
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("clips")
    folder.mkdir()
    for name in ("dog", "sea", "cat"):
        (folder / f"{name}.mp4").touch()
    return folder


def test_all_imported_is_exit_code_0_with_the_report(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(ROWS)
    assert evcap("data", "import", "a.csv", "--videos", "clips", "-o", "root") == 0
    said = capfd.readouterr()
    assert said.err == "root: 3 captions of 3 videos imported (a table with commas): 2 to train on, 1 to test on\n"
    assert said.out.endswith("Training can start: evcap train --backbone clip --data root\n")
    assert "published:" not in said.out
    assert evcap("data", "check", "root") == 0
    assert capfd.readouterr().out == said.out


@pytest.mark.slow
def test_what_is_left_out_is_named_a_few_of_a_kind_and_exit_code_3(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(ROWS + "".join(f"fish{n}.mp4,a fish\n" for n in range(7)) + "dog.mp4,\n")
    assert evcap("data", "import", "a.csv", "--videos", "clips", "-o", "root") == 3
    lines = capfd.readouterr().err.splitlines()
    assert lines[:5] == [f"warning: a.csv: line {n + 5}: no video fish{n}.mp4 below clips" for n in range(5)]
    assert lines[5] == "warning: and 2 more lines of this kind (-v names all, root/origin.json lists them)"
    assert lines[6] == "warning: a.csv: line 12: the caption is empty"
    assert lines[7].endswith("1 to test on; 8 lines left out")
    assert evcap("data", "import", "a.csv", "--videos", "clips", "-o", "root", "--overwrite", "-v") == 3
    assert sum("no video fish" in line for line in capfd.readouterr().err.splitlines()) == 7


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere.csv"], "nowhere.csv: cannot read (No such file or directory)"),
        (["a.csv", "--videos", "nowhere"], "nowhere: no such video folder"),
        (
            ["a.csv", "--column", "words=caption"],
            "--column words=: there is no role 'words'; the roles are file, caption",
        ),
        (["a.csv", "--column", "start=begin"], "a.csv: has no column 'begin' (--column start=begin)"),
        (["a.csv", "--encoding", "klingon"], "unknown --encoding 'klingon'"),
        (["a.csv", "-o", "a.csv"], "a.csv: is a file, not a folder"),
    ],
)
def test_wrong_calls_are_one_line_and_exit_code_2(
    arguments: list[str], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("a.csv").write_text(ROWS)
    assert evcap("data", "import", *["-o", "root", "--videos", "clips", *arguments]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {why}"), said.err
    assert said.err.count("\n") == 1


def test_the_videos_are_found_next_to_the_file_and_need_no_link_there(clips: Path) -> None:
    Path("root").mkdir()
    clips.rename("root/videos")
    Path("root/videos/a.csv").write_text(ROWS)
    assert evcap("data", "import", "root/videos/a.csv", "-o", "root") == 0
    assert not Path("root/videos").is_symlink()
    assert evcap("data", "check", "root") == 0


def test_other_videos_in_the_place_of_the_link_are_exit_code_2(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(ROWS)
    Path("root/videos").mkdir(parents=True)
    assert evcap("data", "import", "a.csv", "--videos", "clips", "-o", "root") == 2
    assert "root/videos: is there, and is not clips" in capfd.readouterr().err
    shutil.rmtree("root/videos")
    Path("root/videos").symlink_to(Path("nowhere").absolute())
    assert evcap("data", "import", "a.csv", "--videos", "clips", "-o", "root") == 0
    assert Path("root/videos").resolve() == Path("clips").resolve()
