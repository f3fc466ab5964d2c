"""A journal survives being cut anywhere, and speaks only for the same settings and files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from evcap_cli.errors import UsageError, WriteError
from evcap_cli.output.journal import RECORDS, Journal
from tests.output.test_formats import a_failure, a_record


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.mp4" for name in "abc"]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def fill(folder: Path, videos: list[Path]) -> None:
    with Journal(folder, {"beam": 5}) as journal:
        for path in videos:
            journal.add(path.name, path, a_record(path.name))


def test_what_was_added_is_there_again(tmp_path: Path, videos: list[Path]) -> None:
    fill(tmp_path / "out.partial", videos)
    with Journal(tmp_path / "out.partial", {"beam": 5}) as journal:
        assert [journal.get(p.name, p) for p in videos] == [a_record(p.name) for p in videos]
        journal.finish()
    assert not (tmp_path / "out.partial").exists()


def test_cut_anywhere_only_whole_lines_count(tmp_path: Path, videos: list[Path]) -> None:
    folder = tmp_path / "out.partial"
    fill(folder, videos)
    data = (folder / RECORDS).read_bytes()
    ends = [number + 1 for number, byte in enumerate(data) if byte == 10]
    for cut in [*range(0, len(data), 37), *ends, *(end - 1 for end in ends)]:
        (folder / RECORDS).write_bytes(data[:cut])
        with Journal(folder, {"beam": 5}) as journal:
            whole = sum(end <= cut for end in ends) - 1
            assert sum(journal.get(p.name, p) is not None for p in videos) == max(whole, 0)
            for path in videos:
                if journal.get(path.name, path) is None:
                    journal.add(path.name, path, a_record(path.name))
        with Journal(folder, {"beam": 5}) as journal:
            assert all(journal.get(p.name, p) == a_record(p.name) for p in videos)


def test_other_settings_start_anew(tmp_path: Path, videos: list[Path]) -> None:
    fill(tmp_path / "out.partial", videos)
    with Journal(tmp_path / "out.partial", {"beam": 1}) as journal:
        assert journal.get("a.mp4", videos[0]) is None


def test_a_changed_video_is_done_again(tmp_path: Path, videos: list[Path]) -> None:
    fill(tmp_path / "out.partial", videos)
    videos[0].write_bytes(b"another film")
    with Journal(tmp_path / "out.partial", {"beam": 5}) as journal:
        assert journal.get("a.mp4", videos[0]) is None
        assert journal.get("b.mp4", videos[1]) is not None


def test_two_runs_do_not_share_an_output(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "out.partial", {}),
        pytest.raises(UsageError, match="another evcap"),
        Journal(tmp_path / "out.partial", {}),
    ):
        pass


def test_failures_are_kept_as_well(tmp_path: Path, videos: list[Path]) -> None:
    with Journal(tmp_path / "out.partial", {}) as journal:
        journal.add("b.mp4", videos[1], a_failure())
    with Journal(tmp_path / "out.partial", {}) as journal:
        assert journal.get("b.mp4", videos[1]) == a_failure()


def test_a_full_disk_is_one_line_and_keeps_what_stood(
    tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out.partial"
    with Journal(folder, {}) as journal:
        journal.add("a.mp4", videos[0], a_record("a.mp4"))
        with monkeypatch.context() as patch:

            def full(_: int) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr("os.fsync", full)
            with pytest.raises(WriteError, match="No space left"):
                journal.add("b.mp4", videos[1], a_record("b.mp4"))
    with Journal(folder, {}) as journal:
        assert journal.get("a.mp4", videos[0]) is not None


def test_a_record_damaged_on_disk_costs_its_video_only(tmp_path: Path, videos: list[Path]) -> None:
    fill(tmp_path / "out.partial", videos)
    path = tmp_path / "out.partial" / RECORDS
    data = path.read_bytes()
    with Journal(tmp_path / "out.partial", {"beam": 5}) as journal:
        assert list(journal.keys()) == ["a.mp4", "b.mp4", "c.mp4"]
        path.write_bytes(data.replace(b'"path": "b.mp4"', b'"path": 0000000'))
        with pytest.raises(WriteError, match=r"record of b\.mp4 was changed on disk"):
            journal.read("b.mp4")
    with Journal(tmp_path / "out.partial", {"beam": 5}) as journal:
        found = [journal.get(path.name, path) for path in videos]
        assert found == [a_record("a.mp4"), None, a_record("c.mp4")]
        assert journal.read("b.mp4") is None


def test_names_that_are_no_unicode_and_names_to_escape_are_found_again(tmp_path: Path, videos: list[Path]) -> None:
    names = ["\udcff.mp4", 'a "b" \\ c\n.mp4', "é🙂.mp4", "\ue000.mp4"]
    for _ in range(2):
        with Journal(tmp_path / "out.partial", {}) as journal:
            assert list(journal.keys()) in ([], sorted(names))
            for name in names:
                assert journal.get(name, videos[0]) in (None, a_record(name))
                journal.add(name, videos[0], a_record(name))
                assert journal.read(name) == a_record(name)


def test_where_a_file_system_has_no_locks_it_is_written_without(
    tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refused)
    fill(tmp_path / "out.partial", videos)
    with Journal(tmp_path / "out.partial", {"beam": 5}) as journal:
        assert journal.get("a.mp4", videos[0]) == a_record("a.mp4")
