"""The plan of a mirrored tree: who writes into it, what is finished in it, and kills at any moment."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath

import pytest

from evcap_cli.errors import UsageError
from evcap_cli.inputs import Source
from evcap_cli.output import trees
from evcap_cli.output.trees import LOCK, PARTIAL, PLAN, Tree

SETTINGS = {"beam": 5}


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    found = []
    for name in "abc":
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(name.encode())
        found.append(Source(path, path.as_posix(), PurePosixPath("in", path.name), name))
    return found


def tree(root: Path, sources: list[Source], *, overwrite: bool = False, **settings: object) -> Tree:
    return Tree(root, ".srt", {**SETTINGS, **settings}, sources, overwrite=overwrite)


def fill(root: Path, sources: list[Source], text: str = "text", **settings: object) -> list[str]:
    """One run over ``sources``; returns the ids of the videos it had to do."""
    done = []
    with tree(root, sources, **settings) as one:  # type: ignore[arg-type]
        for source in sources:
            if not one.finished(source):
                one.write(source, text)
                done.append(source.id)
    return done


def test_what_stands_is_finished_until_the_video_changes(tmp_path: Path, sources: list[Source]) -> None:
    root = tmp_path / "tree"
    assert fill(root, sources) == ["a", "b", "c"]
    assert fill(root, sources) == []
    sources[1].path.write_bytes(b"another")
    (root / "in" / "c.mp4.srt").unlink()
    assert fill(root, sources) == ["b", "c"]


def test_a_video_that_changes_while_it_is_captioned_is_done_again(tmp_path: Path, sources: list[Source]) -> None:
    with tree(tmp_path / "tree", sources) as one:
        sources[0].path.write_bytes(b"changed now")
        one.write(sources[0], "of the old bytes")
    assert fill(tmp_path / "tree", sources) == ["a", "b", "c"]


def test_other_settings_wait_and_the_same_settings_join(tmp_path: Path, sources: list[Source]) -> None:
    root = tmp_path / "tree"
    with tree(root, sources[:2]) as first:
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="another evcap is writing into this folder with other settings"):
                tree(root, sources[2:], beam=1, overwrite=overwrite).__enter__()
        first.write(sources[0], "text")
        with tree(root, sources[2:]) as second:  # as a job array's next shard
            second.write(sources[2], "text")
            first.write(sources[1], "text")
    assert fill(root, sources) == []
    assert fill(tmp_path / "other", sources) == ["a", "b", "c"]
    assert not (root / PARTIAL).exists()
    assert (root / PLAN).read_bytes() == (tmp_path / "other" / PLAN).read_bytes(), "however many runs it took"


def test_other_settings_are_refused_and_with_overwrite_take_nothing_over(tmp_path: Path, sources: list[Source]) -> None:
    root = tmp_path / "tree"
    fill(root, sources)
    with pytest.raises(UsageError, match="was written by another run"):
        fill(root, sources, beam=1)
    assert fill(root, sources[:1], beam=1, overwrite=True) == ["a"]
    assert fill(root, sources, beam=1) == ["b", "c"]


def test_a_kill_between_any_two_writes_ends_as_a_run_never_disturbed(
    tmp_path: Path, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that replaces another one's files: none of the old may be taken for new."""

    class Killed(BaseException):
        pass

    writes = [0]

    def counting(real):  # type: ignore[no-untyped-def]
        def write(*given, **named):  # type: ignore[no-untyped-def]
            if writes[0] == 0:
                raise Killed
            writes[0] -= 1
            return real(*given, **named)

        return write

    fill(tmp_path / "whole", sources, "new", beam=1)
    undisturbed = {path.name: path.read_bytes() for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    moment, killed = 0, True
    while killed:
        root = tmp_path / f"killed-{moment}"
        fill(root, sources, "old")
        with monkeypatch.context() as patch:
            patch.setattr(trees, "write_whole", counting(trees.write_whole))
            patch.setattr(trees.os, "write", counting(trees.os.write))
            writes[0], killed = moment, False
            try:
                fill(root, sources, "new", beam=1, overwrite=True)
            except Killed:
                killed = True
        # before its first write the run was none
        fill(root, sources, "new", beam=1, overwrite=moment == 0)
        assert {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()} == undisturbed
        moment += 1
    assert moment > 2 * len(sources)


@pytest.mark.slow
def test_what_has_grown_cut_anywhere_costs_work_only(tmp_path: Path, sources: list[Source]) -> None:
    root, whole = tmp_path / "tree", b""
    with suppress(KeyboardInterrupt), tree(root, sources) as one:
        for source in sources:
            one.write(source, "text")
        whole = (root / PARTIAL).read_bytes()
        raise KeyboardInterrupt
    assert not (root / PLAN).exists(), "an output exists only whole"
    begun = whole.index(b"\n", whole.rindex(b"null")) + 1
    for cut in range(begun, len(whole)):
        (root / PARTIAL).write_bytes(whole[:cut] + b"\n[[[\n" * (cut % 2))
        (root / PLAN).unlink(missing_ok=True)
        left = 3 - whole[begun:cut].count(b"\n") - (cut % 2 and whole[cut : cut + 1] == b"\n")
        assert len(fill(root, sources)) == left
        assert fill(root, sources) == []
        assert not (root / PARTIAL).exists()


def test_a_disk_without_locks_has_trees_too(
    tmp_path: Path, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "take_lock", lambda *_, **__: None)
    assert fill(tmp_path / "tree", sources) == ["a", "b", "c"]
    assert fill(tmp_path / "tree", sources) == []
    with pytest.raises(UsageError, match="was written by another run"):
        fill(tmp_path / "tree", sources, beam=1)


def test_nothing_stays_open(tmp_path: Path, sources: list[Source]) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(tree(tmp_path / str(number), sources))
    (tmp_path / "0" / "in").mkdir()
    (tmp_path / "0" / "in" / "d.mp4.srt").write_text("mine")
    with pytest.raises(UsageError):
        fill(tmp_path / "0", [Source(sources[0].path, "d", PurePosixPath("in/d.mp4"), "d")])
    assert descriptors() <= before
    assert (tmp_path / "0" / LOCK).exists()
