"""What is no regular file is refused at once: nobody waits for a pipe that nobody writes to."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from evcap_cli.backbones.identity import file_digest
from evcap_cli.errors import DataError, OpenFailed
from evcap_cli.reading.regular import check_regular, open_regular, read_regular


@pytest.fixture(params=["pipe", "link to a pipe", "device", "socket", "folder"])
def special(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    path = tmp_path / "film.mp4"
    if request.param == "folder":
        path.mkdir()
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    elif request.param == "socket":
        monkeypatch.chdir(tmp_path)  # names of sockets are short
        socket.socket(socket.AF_UNIX).bind("film.mp4")
    else:
        os.mkfifo(tmp_path / "pipe" if "link" in request.param else path)
        if "link" in request.param:
            path.symlink_to("pipe")
    return path, request.param.rpartition(" ")[2]


def test_special_files_are_refused_without_waiting(special: tuple[Path, str]) -> None:
    path, kind = special
    for read in (open_regular, read_regular, check_regular):
        with pytest.raises(DataError, match=f"is a {kind}, not a file") as caught:
            read(path)
        assert caught.value.path == str(path)
    with pytest.raises(OpenFailed, match=kind):
        file_digest(path)


def test_a_file_is_read_through_a_link_and_up_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 2000)
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 2000) == b"x" * 2000
    with pytest.raises(DataError, match="larger"):
        read_regular(tmp_path / "link", 1999)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
