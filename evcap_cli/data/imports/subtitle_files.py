"""SRT and WebVTT: one row a cue. pysubs2 reads the times; cues are found here, so that their lines can be named."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

from evcap_cli.data.imports.caption_rows import CaptionRows
from evcap_cli.paths import is_hidden, walk

SUFFIXES: Final = (".srt", ".vtt")
_TAG: Final = re.compile(r"</?[a-zA-Z0-9][^>]*>|\{\\[^}]*\}")
_NO_CUE: Final = ("WEBVTT", "NOTE", "STYLE", "REGION")


def subtitles_below(folder: Path) -> list[Path]:
    """Subtitle files in a folder and below, sorted."""
    return [
        parent / name
        for parent, _, names in walk(folder)
        for name in names
        if not is_hidden(name) and Path(name).suffix.lower() in SUFFIXES
    ]


def video_names(path: Path) -> list[str]:
    """What the video of a subtitle may be called: ``talk.mp4.srt`` and ``talk.en.srt`` both go with ``talk.mp4``."""
    name = path.name.removesuffix(path.suffix)
    return list(dict.fromkeys([name, name.rpartition(".")[0] or name]))


def add_cues(found: CaptionRows, path: Path, video: str, text: str) -> None:
    """Add a row for each cue of one subtitle file.

    Args:
        found: gets the rows.
        path: of the subtitle.
        video: what it belongs to.
        text: its content.
    """
    for line, block in _blocks(text):
        place = f"{path}: line {line}"
        at = next((number for number, each in enumerate(block) if "-->" in each), None)
        if at is None:
            if not block[0].startswith(_NO_CUE) and len(block) > 1:
                found.problem("row", place, "a cue without times; mend the subtitle")
            continue
        times = _times(block[at])
        if times is None:
            found.problem("times", place, f"{block[at].strip()[:40]!r} is no time; mend the subtitle")
            continue
        found.add(place, video, [html.unescape(_TAG.sub("", " ".join(block[at + 1 :])))], times)


def _blocks(text: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Lines between blank ones, each block with the number of its first line."""
    block: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            block.append(line.rstrip("\r"))
        elif block:
            yield number - len(block), block
            block = []


def _times(line: str) -> tuple[Fraction, Fraction] | None:
    from pysubs2.formats.subrip import SubripFormat
    from pysubs2.formats.webvtt import WebVTTFormat

    for form in (SubripFormat, WebVTTFormat):
        stamps = form.TIMESTAMP.findall(line)
        if len(stamps) == 2:
            start, end = (Fraction(form.timestamp_to_ms(stamp), 1000) for stamp in stamps)
            return start, end
    return None
