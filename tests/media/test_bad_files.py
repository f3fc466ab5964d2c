"""Files that are no video, or none that can be read, end in a typed error of theirs; any name is a file name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from evcap_cli.errors import DecodeFailed, NoVideoStream, OpenFailed, VideoError
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.media_file import _cannot_open
from tests.media.clips import cut, make_clip
from tests.media.reading import run


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


def text(folder: Path) -> Path:
    path = folder / "text.mp4"
    path.write_text("this is not a video\n" * 500)
    return path


def empty(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def cut_before_index(folder: Path) -> Path:
    return cut(make_clip(folder / "whole.mp4", seconds=1), folder / "cut.mp4", 0.6)


def cut_in_the_head(folder: Path) -> Path:
    path = folder / "head.mkv"
    path.write_bytes(make_clip(folder / "whole.mkv", seconds=1).read_bytes()[:40])
    return path


def sound_only(folder: Path) -> Path:
    return make_clip(folder / "sound.mp4", seconds=1, video=False)


def header_only(folder: Path) -> Path:
    with av.open(str(folder / "none.mp4"), "w", options={"movflags": "empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return folder / "none.mp4"


def folder_itself(folder: Path) -> Path:
    return folder


def nowhere(folder: Path) -> Path:
    return folder / "nowhere.mp4"


def playlist(folder: Path) -> Path:
    make_clip(folder / "other.ts", seconds=1)
    path = folder / "list.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n")
    return path


def joining_list(folder: Path) -> Path:
    make_clip(folder / "other.ts", seconds=1)
    path = folder / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile other.ts\n")
    return path


def all_zeros_inside(folder: Path) -> Path:
    data = bytearray(make_clip(folder / "whole.mp4", seconds=1, audio=False).read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path = folder / "zeros.mp4"
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (text, OpenFailed, "not a video file"),
        (empty, OpenFailed, "empty"),
        (cut_before_index, OpenFailed, "cut before its index"),
        (cut_in_the_head, OpenFailed, "cut or damaged"),
        (sound_only, NoVideoStream, "no picture"),
        (header_only, NoVideoStream, "empty"),
        (folder_itself, OpenFailed, "folder"),
        (nowhere, OpenFailed, "no such file"),
        (playlist, OpenFailed, "video"),
        (joining_list, OpenFailed, "video"),
        (all_zeros_inside, DecodeFailed, "no frame"),
    ],
)
def test_a_bad_file_has_its_error_and_the_next_one_is_fine(
    make: Callable[[Path], Path], error: type[VideoError], words: str, tmp_path: Path, decoder: Decoder
) -> None:
    path = make(tmp_path)
    with pytest.raises(error, match=words) as caught:
        decoder.open(path)
    assert type(caught.value) is error
    assert caught.value.path == str(path)
    assert caught.value.hint
    decoder.open(make_clip(tmp_path / "good.mp4", seconds=0.4))
    assert len(run(decoder).frames) == 10


def test_a_file_that_may_not_be_read() -> None:
    # a process of the superuser may read anything: the system's refusal is handed in
    assert "permission" in str(_cannot_open("locked.mp4", PermissionError(13, "Permission denied")))


@pytest.mark.parametrize(
    "name",
    ["a:b.mp4", "http:x.mp4", "%03d.mp4", "-v.mp4", "sch\u00f6n \u2603 'quoted'.mp4", os.fsdecode(b"\xff\xfe.mp4")],
)
def test_any_name_is_a_file_name(name: str, tmp_path: Path, decoder: Decoder) -> None:
    make_clip(tmp_path / "plain.mp4", seconds=0.2).rename(tmp_path / name)
    decoder.open(tmp_path / name)
    assert len(run(decoder).frames) == 5
    with pytest.raises(OpenFailed):
        decoder.open(tmp_path / f"not {name}")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("good") / "good.mp4", seconds=2)


@pytest.mark.slow
def test_relative_names(good: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    # the child may have started elsewhere
    decoder.open(good)
    monkeypatch.chdir(good.parent)
    assert len(decoder.open("good.mp4").times) == 50
