"""Text is read alike however it was saved."""

from __future__ import annotations

import codecs
import os
import threading
from pathlib import Path

import pytest

from evcap_cli.errors import DataError, UsageError
from evcap_cli.reading import text
from evcap_cli.reading.text import decoded, name_lines, read_bytes, read_lines, read_text, text_lines

TEXT = "vid1,a woman sings „ä“ 🎵\nvid2,two\n"
SAVED = {
    "plain": TEXT.encode(),
    "UTF-8 with a mark": codecs.BOM_UTF8 + TEXT.encode(),
    "UTF-16, little endian": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "UTF-16, big endian": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "UTF-32": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
}


@pytest.mark.parametrize("raw", SAVED.values(), ids=SAVED.keys())
def test_every_usual_encoding_gives_the_same_text(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(raw)
    assert read_text(tmp_path / "a.csv") == TEXT
    lines = list(read_lines(tmp_path / "a.csv"))
    assert lines == [(1, TEXT.split("\n")[0].encode()), (2, b"vid2,two")]


def test_line_ends_of_windows_and_a_last_line_without_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\r\n\r\nthree")
    assert list(read_lines(tmp_path / "a")) == [(1, b"one"), (2, b""), (3, b"three")]


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for read in (lambda: read_text(pipe), lambda: b"\n".join(line for _, line in read_lines(pipe)).decode() + "\n"):
        writer = threading.Thread(target=pipe.write_bytes, args=(SAVED["UTF-16, big endian"],))
        writer.start()
        assert read() == TEXT
        writer.join()


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"one\ntwo\nthr\xe9e", "line 3 is not UTF-8 (byte 0xe9)"),
        (codecs.BOM_UTF8 + b"one\n\xe9", "line 2 is not UTF-8 (byte 0xe9)"),
        (codecs.BOM_UTF16_LE + "one\ntwo".encode("utf-16-le") + b"\x00", "line 2 is not UTF-16"),
        ("one\n".encode("utf-16-le"), "line 1 is no text: it holds a zero byte"),
    ],
)
def test_what_is_no_text_is_named_with_file_and_line(raw: bytes, cause: str) -> None:
    with pytest.raises(UsageError) as problem:
        decoded(raw, "list.txt", error=UsageError)
    assert str(problem.value).startswith(f"list.txt: {cause}")


def test_names_of_files_that_are_not_unicode_are_kept() -> None:
    assert os.fsencode(decoded(b"\xef\xbb\xbfa\xff.mp4", None, names=True)) == b"a\xff.mp4"


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no", Path("a\0b")):
        with pytest.raises(DataError, match="cannot read"):
            read_bytes(path)
        with pytest.raises(DataError, match="cannot read"):
            list(read_lines(path))


def test_files_and_lines_without_an_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MOST_LINE_BYTES", 1 << 20)
    with pytest.raises(DataError, match="/dev/zero: is larger than 1 MiB"):
        read_bytes(Path("/dev/zero"), most=1 << 20)
    with pytest.raises(DataError, match="/dev/zero: line 1 is longer than 1 MiB"):
        list(read_lines(Path("/dev/zero")))


def test_a_long_list_in_utf_16_is_refused_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MOST_BYTES", 1 << 10)
    path = tmp_path / "list.txt"
    path.write_bytes(("one\n" * 1000).encode("utf-16"))
    with pytest.raises(DataError, match=r"list\.txt: is larger than 0 MiB; save it as UTF-8"):
        list(text_lines(path))


def test_lines_are_read_one_at_a_time_as_the_whole_text_is(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes("é\r\n\n\u2028 x\n".encode(encoding))
        assert list(text_lines(path)) == [(1, "é"), (2, ""), (3, "\u2028 x")]
        assert [line.rstrip("\r") for _, line in name_lines(path)] == read_text(path).replace("\r", "").split("\n")[:-1]
    path.write_bytes(b"a\nb\nc\xff\n")
    with pytest.raises(DataError, match="line 3 is not UTF-8"):
        list(text_lines(path))
    assert [os.fsencode(line) for _, line in name_lines(path)] == [b"a", b"b", b"c\xff"]
    # a mark stands at the very beginning; elsewhere it belongs to a name
    path.write_bytes(b"a\n\xef\xbb\xbfb\n\xff\xfec\nd\0\n")
    names = name_lines(path)
    assert [os.fsencode(next(names)[1]) for _ in range(3)] == [b"a", b"\xef\xbb\xbfb", b"\xff\xfec"]
    with pytest.raises(DataError, match="line 4 is no text: it holds a zero byte"):
        next(names)
