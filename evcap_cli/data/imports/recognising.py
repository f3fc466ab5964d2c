"""Which form a file of captions has, by its content and its suffix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evcap_cli.data.imports.caption_rows import UNDERSTOOD, CaptionRows, Role
from evcap_cli.data.imports.json_files import read_json_captions
from evcap_cli.data.imports.subtitle_files import SUFFIXES, add_cues, subtitles_below, video_names
from evcap_cli.data.imports.table_files import read_table
from evcap_cli.data.imports.video_names import VideoNames
from evcap_cli.errors import DataError, UsageError
from evcap_cli.reading.text import as_utf8, read_bytes


def read_caption_rows(
    path: Path, videos: VideoNames, *, columns: Mapping[Role, str] | None = None, encoding: str | None = None
) -> CaptionRows:
    """Captions of a file, or of the subtitles in a folder.

    Args:
        path: of a file or a folder of subtitles.
        videos: that subtitles may belong to.
        columns: role -> column or key, as the user says it.
        encoding: of the file, where it is not UTF-8 and has no byte order mark.

    Raises:
        DataError: it cannot be read, or has a form that is not known.
        UsageError: an unknown encoding.
    """
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return _subtitles(path, videos, encoding)
    text = _text(path, encoding)
    if text.lstrip()[:6] == "WEBVTT":
        return _subtitles(path, videos, encoding)
    if text.lstrip()[:1] in ("{", "["):
        return read_json_captions(path, text, columns or {})
    return read_table(path, text, columns or {})


def _subtitles(path: Path, videos: VideoNames, encoding: str | None) -> CaptionRows:
    files = subtitles_below(path) if path.is_dir() else [path]
    if not files:
        raise DataError("holds no subtitle (.srt, .vtt)", path=path, hint=UNDERSTOOD)
    found = CaptionRows(path, "subtitles")
    taken: dict[str, Path] = {}
    # talk.srt before talk.en.srt, and this before other languages
    for file in sorted(files, key=lambda file: (file.parent, file.stem.count("."), ".en" not in file.suffixes, file)):
        below = file.parent.relative_to(path) if path.is_dir() else Path()
        names = [(below / name).as_posix() for name in video_names(file)]
        video = next((name for name in names if videos.find(name)), names[-1])
        key = (videos.find(video) or [video])[0]
        if key in taken:
            found.problem("doubled", str(file), f"a second subtitle of the video, next to {taken[key].name}; left out")
            continue
        taken[key] = file
        add_cues(found, file, video, _text(file, encoding))
    return found


def _text(path: Path, encoding: str | None) -> str:
    """A file as text; bytes that are not of its encoding become U+FFFD, so that their lines can be named."""
    raw = read_bytes(path, hint="check its name and permissions")
    if encoding is not None:
        try:
            return raw.decode(encoding, "replace").removeprefix("\ufeff")
        except (LookupError, ValueError):
            raise UsageError(f"unknown --encoding {encoding!r}", hint="for example latin-1, cp1252 or utf-16") from None
    text = as_utf8(raw).decode("utf-8", "replace")
    if "\0" in text:
        line = text.partition("\0")[0].count("\n") + 1
        raise DataError(
            f"line {line} holds a zero byte: it is no text, or in UTF-16 without a byte order mark",
            path=path,
            hint="for the second: --encoding utf-16-le",
        )
    return text
