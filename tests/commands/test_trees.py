"""``-o DIR/``: a mirrored tree that skips what is finished, and only that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.small import evcap, save_checkpoint

Call = Callable[..., int]


def stamps(root: Path) -> dict[str, int]:
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in root.rglob("*.srt")}


@pytest.mark.slow
def test_the_input_tree_is_mirrored_and_finished_files_are_skipped(
    films: Path, caption: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    (films / "deep" / "er").mkdir(parents=True)
    (films / "e.mp4").rename(films / "deep" / "er" / "e.mp4")
    assert caption(films, "-o", "tree/") == 0
    names = {"a.mp4.srt", "b.mp4.srt", "c.mp4.srt", "d.mp4.srt", "deep/er/e.mp4.srt"}
    before = stamps(Path("tree"))
    assert set(before) == names
    capfd.readouterr()
    assert caption(films, "-o", "tree/") == 0
    assert "captioned 5 of 5 videos (5 from an earlier run): tree/" in capfd.readouterr().err
    assert stamps(Path("tree")) == before
    Path("tree/b.mp4.srt").unlink()
    os.utime(films / "c.mp4")
    assert caption(films, "-o", "tree/") == 0
    after = stamps(Path("tree"))
    assert {name for name in names if after[name] != before[name]} == {"b.mp4.srt", "c.mp4.srt"}


@pytest.mark.slow
def test_a_tree_of_other_settings_is_not_mixed_with(
    films: Path, caption: Call, warm: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert caption(films, "-o", "tree/", "--limit", "2") == 0
    other = save_checkpoint(tmp_path / "other", seed=1)
    for way in (("-c", other), ("-c", other, "-o", "out.jsonl")):
        assert evcap("caption", films, "-o", "tree/", "--cache-dir", warm, *way) == 2
        assert "tree/a.mp4.srt: was written by another run" in capfd.readouterr().err
    assert evcap("caption", films, "-o", "tree/", "--cache-dir", warm, "-c", other, "--overwrite") == 0
    texts = {path.read_text() for path in Path("tree").rglob("*.srt")}
    assert caption(films, "-o", "first/") == 0
    assert texts.isdisjoint(path.read_text() for path in Path("first").rglob("*.srt"))


@pytest.mark.slow
def test_overwriting_that_was_cut_short_does_not_leave_old_files_for_new(
    films: Path, caption: Call, warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run's files must not count as the second's because the second began."""
    other = save_checkpoint(tmp_path / "other", seed=1)
    assert caption(films, "-o", "tree/") == 0

    def again(*more: object) -> int:
        return evcap("caption", films, "-o", "tree/", "--cache-dir", warm, "-c", other, *more)

    with monkeypatch.context() as patch:

        def gone(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("evcap_cli.captioning.checkpoint_captioner.CheckpointCaptioner._caption", gone)
        assert again("--overwrite") == 130
    assert again() == 0
    assert evcap("caption", films, "-o", "fresh/", "--cache-dir", warm, "-c", other) == 0
    for path in Path("fresh").rglob("*.srt"):
        assert (Path("tree") / path.relative_to("fresh")).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_video_replaced_by_an_older_file_is_captioned_again(films: Path, caption: Call) -> None:
    assert caption(films, "-o", "tree/") == 0
    assert caption(films / "b.mp4", "-o", "alone.srt") == 0
    (films / "b.mp4").replace(films / "a.mp4")
    os.utime(films / "a.mp4", (1, 1))
    before = stamps(Path("tree"))
    assert caption(films, "-o", "tree/") == 0
    after = stamps(Path("tree"))
    assert [name for name in after if after[name] != before[name]] == ["a.mp4.srt"]
    assert Path("tree/a.mp4.srt").read_bytes() == Path("alone.srt").read_bytes()


@pytest.mark.slow
def test_a_video_replaced_by_one_that_fails_keeps_no_caption_of_the_old_one(films: Path, caption: Call) -> None:
    assert caption(films, "-o", "tree/") == 0
    (films / "b.mp4").write_bytes(b"no video")
    assert caption(films, "-o", "tree/") == 3
    assert "b.mp4.srt" not in stamps(Path("tree"))


@pytest.mark.slow
def test_a_clock_that_jumps_back_changes_nothing(films: Path, caption: Call, capfd: pytest.CaptureFixture[str]) -> None:
    """Files of the tree are then older than their videos and than the plan."""
    assert caption(films, "-o", "tree/") == 0
    for path in Path("tree").rglob("*"):
        os.utime(path, (1, 1))
    before = stamps(Path("tree"))
    capfd.readouterr()
    assert caption(films, "-o", "tree/") == 0
    assert "(5 from an earlier run)" in capfd.readouterr().err
    assert stamps(Path("tree")) == before


@pytest.mark.slow
def test_what_a_user_changed_is_kept_and_what_a_user_put_there_is_in_the_way(
    films: Path, caption: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("tree").mkdir()
    Path("tree/b.mp4.srt").write_text("by hand")
    assert caption(films, "-o", "tree/") == 2
    assert "tree/b.mp4.srt: was written by another run" in capfd.readouterr().err
    assert stamps(Path("tree")).keys() == {"b.mp4.srt"}
    assert caption(films / "a.mp4", "-o", "tree/") == 0
    assert caption(films, "-o", "tree/") == 2
    assert Path("tree/b.mp4.srt").read_text() == "by hand"
    assert caption(films, "-o", "tree/", "--overwrite") == 0
    assert Path("tree/b.mp4.srt").read_text() != "by hand"
    Path("tree/c.mp4.srt").write_text("corrected")
    assert caption(films, "-o", "tree/") == 0
    assert Path("tree/c.mp4.srt").read_text() == "corrected"


@pytest.mark.slow
def test_two_trees_of_one_run_are_both_brought_up_to_date(films: Path, caption: Call) -> None:
    ways = ("-o", "one/", "-o", "two/", "-o", "out.jsonl")
    assert caption(films, "-o", "one/") == 0
    assert caption(films, *ways[:4]) == 0
    assert caption(films, *ways) == 0
    texts = [{path.name: path.read_bytes() for path in Path(root).rglob("*.srt")} for root in ("one", "two")]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 5
    assert Path("one/.evcap-plan.jsonl").read_bytes() == Path("two/.evcap-plan.jsonl").read_bytes()
