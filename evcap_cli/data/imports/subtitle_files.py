"""SRT and WebVTT: one row a cue, with its line in the file. Blank lines may be missing, or too many."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Final

from evcap_cli.data.imports.caption_rows import CaptionRows, seconds_of
from evcap_cli.paths import is_hidden, walk

SUFFIXES: Final = (".srt", ".vtt")
_TAG: Final = re.compile(r"</?(?:[a-zA-Z][^<>]*|\d\d[\d:.]*)>|\{\\[^}]*\}")
_NO_CUE: Final = re.compile(r"(?:WEBVTT|NOTE|STYLE|REGION)(?:\s|$)")
_ARROW: Final = "-->"
_INVISIBLE: Final = " \t\r\xa0\u200b\ufeff"


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
    vtt = text.lstrip(_INVISIBLE + "\n").startswith("WEBVTT")
    blocks = list(_blocks(text, vtt=vtt))
    cues: list[tuple[str, tuple[Fraction, Fraction] | None, list[str]]] = []
    for (line, block), (_, following) in zip_longest(blocks, blocks[1:], fillvalue=(0, [""])):
        place = f"{path}: line {line}"
        at = next((number for number, each in enumerate(block) if _ARROW in each), None)
        if at is not None:
            times = _times(block[at])
            if times is None:
                found.problem("times", place, f"{block[at][:40]!r} is no time; mend the subtitle")
            cues.append((place, times, block[at + 1 :]))
        elif _NO_CUE.match(block[0]) or (len(block) == 1 and block[0].isdecimal() and _ARROW in following[0]):
            continue
        elif cues and not vtt:  # a blank line does not end the text of a cue in SRT
            cues[-1][2].extend(block)
        elif cues or len(block) > 1:
            found.problem("row", place, "text without times; mend the subtitle")
    for place, times, lines in cues:
        if times is not None:
            found.add(place, video, [html.unescape(" ".join(_TAG.sub("", each) for each in lines))], times)


def _blocks(text: str, *, vtt: bool) -> Iterator[tuple[int, list[str]]]:
    """Lines between blank ones and before the times of the next cue, each block with the number of its first line.

    In WebVTT a line with a space is not blank, and YouTube's cues begin with one.
    """
    block: list[str] = []
    for number, whole in enumerate([*text.split("\n"), ""], 1):
        line = whole.strip(_INVISIBLE)
        if line or (vtt and whole.strip("\r")):
            if _ARROW in line and any(_ARROW in each for each in block):
                numbered = block[-1].isdecimal()
                if _times(line) or (numbered and line[0].isdecimal()):
                    cue = [block.pop()] if numbered else []
                    yield number - len(block) - len(cue), block
                    block = cue
            block.append(line)
        else:
            if any(block):
                yield number - len(block), block
            block = []


def _times(line: str) -> tuple[Fraction, Fraction] | None:
    """Start and end in a line of times, which settings may follow."""
    start, _, rest = line.partition(_ARROW)
    end = (rest.split() or [""])[0]
    try:
        return (seconds_of(start), seconds_of(end)) if ":" in start and ":" in end else None
    except ValueError:
        return None
