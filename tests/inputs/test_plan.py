"""What the user types becomes a plan, and everything wrong with it is found before any work."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from evcap_cli import plugins
from evcap_cli.errors import UsageError
from evcap_cli.inputs import gather, take_shard
from evcap_cli.output.output_plan import CaptionPlan, check_collisions, plan_outputs


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    passed_by = ("a/notes.txt", ".hidden/z.mp4", "a/.part.mp4", "lost+found/w.mp4", "$RECYCLE.BIN/v.mp4")
    for name in ("b/x.mp4", "a/x.mp4", "a/y.MKV", "ü ñ.mov", *passed_by):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "videos"


def test_a_folder_is_searched_for_videos_only_and_sorted(tree: Path) -> None:
    assert [source.given for source in gather(["videos"])] == [
        "videos/a/x.mp4",
        "videos/a/y.MKV",
        "videos/b/x.mp4",
        "videos/ü ñ.mov",
    ]


def test_ids_are_stems_unless_they_collide(tree: Path) -> None:
    assert [source.id for source in gather(["videos"])] == ["a/x", "y", "b/x", "ü ñ"]


def test_ids_stay_apart_when_only_the_suffix_differs(tree: Path) -> None:
    (tree / "a" / "x.mkv").write_bytes(b"")
    ids = [source.id for source in gather(["videos"])]
    assert len(set(ids)) == len(ids) == 5


def test_a_file_is_taken_whatever_its_suffix_and_never_twice(tree: Path) -> None:
    sources = gather(["videos/a/notes.txt", "videos/a/notes.txt", "videos/a/../a/notes.txt"])
    assert [source.given for source in sources] == ["videos/a/notes.txt"]


def test_globs_are_expanded_by_us_too(tree: Path) -> None:
    assert [s.given for s in gather(["videos/**/x.mp4"])] == ["videos/a/x.mp4", "videos/b/x.mp4"]
    with pytest.raises(UsageError, match="no file matches"):
        gather(["videos/*.webm"])


def test_a_name_that_looks_like_a_glob_is_a_name(tree: Path) -> None:
    (tree / "take[1].mp4").write_bytes(b"")
    assert [s.given for s in gather(["videos/take[1].mp4"])] == ["videos/take[1].mp4"]


def test_lists_come_from_files_and_stdin(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("list.txt").write_text("# mine\nvideos/b/x.mp4\n\nvideos/a\n")
    assert [s.given for s in gather(["@list.txt"])] == ["videos/a/x.mp4", "videos/a/y.MKV", "videos/b/x.mp4"]
    monkeypatch.setattr("sys.stdin", io.StringIO("videos/b/x.mp4\n"))
    assert [s.given for s in gather(["-"])] == ["videos/b/x.mp4"]


def test_a_bad_line_of_a_list_is_named(tree: Path) -> None:
    Path("list.txt").write_text("videos/a\nvideos/nowhere.mp4\n")
    with pytest.raises(UsageError) as caught:
        gather(["@list.txt"])
    assert "list.txt" in str(caught.value)
    assert "line 2" in str(caught.value)
    assert "nowhere.mp4" in str(caught.value)


def test_a_missing_path_is_wrong_usage(tree: Path) -> None:
    with pytest.raises(UsageError, match="no such file") as caught:
        gather(["videos/nowhere"])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_cover_everything_once(tree: Path, count: int) -> None:
    sources = gather(["videos"])
    parts = [take_shard(sources, f"{number}/{count}") for number in range(1, count + 1)]
    assert sorted(s.given for part in parts for s in part) == [s.given for s in sources]


@pytest.mark.parametrize("shard", ["0/2", "3/2", "a/b", "2", "1/0", "-1/2"])
def test_bad_shards_are_refused(tree: Path, shard: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        take_shard(gather(["videos"]), shard)


def test_slurm_shards_follow_the_array(tree: Path) -> None:
    sources = gather(["videos"])
    variables = {"SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "5", "SLURM_ARRAY_TASK_COUNT": "2"}
    second = take_shard(sources, "slurm", {**variables, "SLURM_ARRAY_TASK_ID": "15"})
    assert list(second) == list(sources[1::2])
    with pytest.raises(UsageError, match="sbatch --array"):
        take_shard(sources, "slurm", {})


def test_the_suffix_picks_the_writer(tree: Path) -> None:
    outputs = plan_outputs(["out.srt", "out.JSONL", "-", "tree/"], "vtt", plugins.writers())
    assert [writer.suffix for _, writer in outputs.files] == [".srt", ".jsonl"]
    assert outputs.stdout
    assert outputs.journal == Path("out.srt.partial")
    source = gather(["videos"])[0]
    assert [str(path) for path, _ in outputs.tree_targets(source)] == ["tree/a/x.mp4.vtt"]


def test_the_journal_of_a_folder_without_a_name_of_its_own_lies_next_to_it(tree: Path) -> None:
    above = tree.parent.parent
    expected = {
        ".": above / f"{tree.parent.name}.partial",
        "./": above / f"{tree.parent.name}.partial",
        "..": above.with_name(f"{above.name}.partial"),
        "/": Path("/evcap.partial"),
    }
    assert {name: plan_outputs([name], "srt", plugins.writers()).journal for name in expected} == expected


@pytest.mark.parametrize("name", ["out.doc", "out", "out.srt.gz"])
def test_unknown_suffixes_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="suffix"):
        plan_outputs([name], "srt", plugins.writers())


def test_two_inputs_must_not_share_an_output(tree: Path) -> None:
    plan = CaptionPlan(gather(["videos/a", "videos/b"]), plan_outputs(["tree/"], "srt", plugins.writers()))
    with pytest.raises(UsageError) as caught:
        check_collisions(plan)
    assert "videos/a/x.mp4" in str(caught.value)
    assert "videos/b/x.mp4" in str(caught.value)
    check_collisions(CaptionPlan(gather(["videos"]), plan.outputs))


def test_an_output_must_not_be_an_input(tree: Path) -> None:
    Path("out.srt").symlink_to(tree / "a" / "x.mp4")
    with pytest.raises(UsageError, match="overwritten"):
        check_collisions(CaptionPlan(gather(["videos"]), plan_outputs(["out.srt"], "srt", plugins.writers())))


def test_one_output_named_twice_is_refused(tree: Path) -> None:
    with pytest.raises(UsageError, match="twice"):
        plan_outputs(["out.srt", "./out.srt"], "srt", plugins.writers())
