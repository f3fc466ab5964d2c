"""Linked folders and files, the home folder, names that no file can have, and names in any encoding."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from evcap_cli import plugins
from evcap_cli.data.video_files import match_videos
from evcap_cli.errors import UsageError
from evcap_cli.inputs import gather, take_shard
from evcap_cli.output.builtin_writers import register_writers
from evcap_cli.output.output_plan import plan_outputs
from tests.commands.small import start_evcap


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


def given(*inputs: str) -> list[str]:
    return [source.given for source in gather(inputs)]


def link(name: str, target: str) -> None:
    Path(name).symlink_to(target)


def test_linked_folders_are_searched_and_loops_end() -> None:
    touch("store/deep/far.mp4", "top/near.mp4", "other/away.mp4")
    link("top/linked", "../store")
    link("top/again", "../store")
    link("store/back", "../top")
    link("top/self", ".")
    link("top/up", "..")
    expected = ["top/again/deep/far.mp4", "top/linked/deep/far.mp4", "top/near.mp4"]
    # "up" leads to the folder that holds top: its other folders count, the way back to top does not
    up = ["top/up/other/away.mp4", "top/up/store/deep/far.mp4"]
    assert given("top") == [*expected, *up]
    assert given("top/**/*.mp4") == [*expected, *up]
    assert given("t*/**/far.mp4") == [name for name in [*expected, *up] if name.endswith("far.mp4")]


def test_a_pattern_passes_hidden_names_by_and_takes_whole_folders() -> None:
    touch("d/season1/a.mp4", "d/.hidden/b.mp4", "d/x/season1/c.mp4", "d/x/e.txt", "f.mp4")
    assert given("d/**/season1") == ["d/season1/a.mp4", "d/x/season1/c.mp4"]
    assert given("**/*.mp4") == ["d/season1/a.mp4", "d/x/season1/c.mp4", "f.mp4"]
    assert given(f"{Path.cwd()}/**/?.mp4")[-1] == f"{Path.cwd()}/f.mp4"


def test_training_finds_the_videos_that_captioning_finds() -> None:
    touch("store/vid2.mp4", "top/vid1.mp4")
    link("top/linked", "../store")
    link("store/back", "../top")
    assert {path.as_posix() for path in match_videos(["vid1", "vid2"], Path("top")).values()} == set(given("top"))


def test_two_links_to_one_file_are_two_videos_and_one_name_is_one() -> None:
    touch("store/abc")
    Path("set").mkdir()
    link("set/vid1.mp4", "../store/abc")
    link("set/vid2.mp4", "../store/abc")
    assert [
        source.id for source in gather(["set", "set/vid1.mp4", "./set/../set/vid2.mp4", str(Path.cwd() / "set")])
    ] == [
        "vid1",
        "vid2",
    ]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EIO])
def test_a_video_that_the_system_does_not_show_is_left_to_its_record(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As a link into a folder that may not be entered, or to a server that is away."""
    touch("ok/b.mp4", "secret/v.mp4")
    link("ok/v.mp4", "../secret/v.mp4")
    Path("list.txt").write_text("ok/v.mp4\nsecret/v.mp4\n")
    real = {"stat": os.stat, "lstat": os.lstat}

    def closed(name: str) -> Callable[..., os.stat_result]:
        def look(path: str | os.PathLike[str], **options: object) -> os.stat_result:
            parts = Path(path).parts
            if "secret" in parts[:-1] or (name == "stat" and parts[-2:] == ("ok", "v.mp4")):
                raise OSError(number, os.strerror(number), path)
            return real[name](path, **options)

        return look

    for name in real:
        monkeypatch.setattr(os, name, closed(name))
    assert given("ok") == given("ok/*.mp4") == ["ok/b.mp4", "ok/v.mp4"]
    assert given("@list.txt") == given("ok/v.mp4", "secret/v.mp4") == ["ok/v.mp4", "secret/v.mp4"]
    assert plan_outputs(["secret/out.srt"], "srt", plugins.writers()).files[0][0] == Path("secret/out.srt")


def test_the_home_folder_is_meant_wherever_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path.cwd() / "home"
    touch("home/a.mp4", "home/b.mp4", "~c.mp4")
    monkeypatch.setenv("HOME", str(home))
    Path("home/list.txt").write_text("~/a.mp4\n~c.mp4\n")
    assert given("@~/list.txt") == [str(home / "a.mp4"), "~c.mp4"]
    assert given("~/b.mp4") == given("~/b*") == [str(home / "b.mp4")]
    writers = {}
    register_writers(lambda writer: writers.update({writer.suffix: writer}))
    assert plan_outputs(["~/out.srt"], "srt", writers).files[0][0] == home / "out.srt"


@pytest.mark.parametrize(
    "name", ["", "x" * 300, "clip.mp4 " * 600, "a\0b.mp4", "a\0*.mp4", "a.mp4\nb.mp4", "@" + "x" * 300, "@"]
)
def test_what_no_file_can_be_called_is_wrong_usage(name: str) -> None:
    touch("a.mp4", "b.mp4")
    with pytest.raises(UsageError) as caught:
        gather([name])
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 300


def test_a_list_without_its_sign_is_recognised() -> None:
    touch("a.mp4", "b ü.mp4")
    Path("list.txt").write_text("# mine\na.mp4\n\nb ü.mp4\n")
    with pytest.raises(UsageError, match="is a list of paths") as caught:
        gather(["list.txt"])
    assert "@list.txt" in str(caught.value)
    Path("prose.txt").write_text("a.mp4 is a video\nand this is a text\n")
    touch("empty")
    assert given("prose.txt", "empty") == ["empty", "prose.txt"]


def slurm(tasks: list[int], own: int, step: int = 1) -> list[str]:
    variables = {"MIN": min(tasks), "MAX": max(tasks), "COUNT": len(tasks), "STEP": step, "ID": own}
    environment = {f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in variables.items()}
    return [source.given for source in take_shard(gather(["d"]), "slurm", environment)]


@pytest.mark.parametrize(("tasks", "step"), [([0, 1, 2], 1), ([1, 2], 1), ([0, 3, 6, 9], 3), ([0], 1), ([1], 1)])
def test_the_tasks_of_an_array_share_the_videos(tasks: list[int], step: int) -> None:
    touch(*(f"d/{name}.mp4" for name in "abcdefgh"))
    assert sorted(name for own in tasks for name in slurm(tasks, own, step)) == given("d")


@pytest.mark.parametrize(
    ("tasks", "own", "step"), [([3, 7], 3, 1), ([0, 1, 5], 1, 1), ([0, 2, 3], 2, 2), ([3, 4], 7, 1)]
)
def test_an_array_with_gaps_has_no_known_number_of_parts(tasks: list[int], own: int, step: int) -> None:
    touch("d/a.mp4")
    with pytest.raises(UsageError, match="gaps") as caught:
        slurm(tasks, own, step)
    assert "--shard I/N" in str(caught.value)


def test_a_task_that_is_submitted_again_alone_does_not_take_all_videos() -> None:
    touch("d/a.mp4")
    with pytest.raises(UsageError, match="task 5 was submitted without the others") as caught:
        slurm([5], 5)
    assert "--shard I/N" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", [{"PYTHONIOENCODING": "utf-8:strict"}, {"PYTHONIOENCODING": "ascii:strict"}, {"LC_ALL": "C"}]
)
def test_names_that_are_not_utf8_are_listed_under_any_setting_of_the_streams(
    setting: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("d").mkdir()
    try:
        Path(os.fsdecode(b"d/caf\xe9.mp4")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    touch("d/ü.mp4")
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    Path("list.txt").write_bytes(b"d/caf\xe9.mp4\nd/\xc3\xbc.mp4\n")
    with Path("list.txt").open() as lines:
        run = start_evcap("caption", "-", "-o", "out.srt", "--dry-run", stdin=lines, encoding="utf-8")
        captioned = run.communicate()
    extracted = start_evcap("extract", "d", "--dry-run", encoding="utf-8").communicate()
    for out, err in (captioned, extracted):
        assert out.splitlines()[:2] == ["d/caf\\udce9.mp4", "d/ü.mp4"]
        assert err == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["-", "@list.txt"])
def test_a_list_is_read_where_the_locale_knows_ascii_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("d/ü.mp4")
    Path("list.txt").write_text("d/ü.mp4\n", "utf-8")
    for variable, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")):
        monkeypatch.setenv(variable, value)
    with Path("list.txt").open() as lines:
        run = start_evcap("caption", name, "-o", "out.srt", "--dry-run", stdin=lines)
        out, err = run.communicate()
    assert out.endswith("\n1 video -> out.srt\n")
    assert err == ""
