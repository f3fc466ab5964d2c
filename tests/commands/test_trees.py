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

        patch.setattr("evcap_cli.captioning.Captioning._caption", gone)
        assert again("--overwrite") == 130
    assert again() == 0
    assert evcap("caption", films, "-o", "fresh/", "--cache-dir", warm, "-c", other) == 0
    for path in Path("fresh").rglob("*.srt"):
        assert (Path("tree") / path.relative_to("fresh")).read_bytes() == path.read_bytes()
