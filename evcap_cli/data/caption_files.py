"""Caption files in every form that EmVidCap is passed around in: ``VideoID<separator>EmCaptions``, one caption a row.

Which files a data root has, and what they mean, is decided in ``emvidcap.py``; ``caption_text.py`` normalises text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final

from evcap_cli.data.caption_text import tokens
from evcap_cli.errors import DataError
from evcap_cli.paths import name_key
from evcap_cli.reading.text import as_utf8, read_bytes

SEPARATORS: Final = {"\t": "tab", ",": "comma", ";": "semicolon"}
NAMED_LINES: Final = 5
"""Line numbers that a warning gives one by one."""


@dataclass
class CaptionFile:
    """One caption file, read: captions by video in the order of the file, and what was odd about it.

    Args:
        latin_1: lines that are not UTF-8. empty: lines without a caption, left out.
        wordless: lines whose caption has no word left once it is normalised.
    """

    path: Path
    separator: str = ""
    captions: dict[str, list[str]] = field(default_factory=dict)
    latin_1: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    wordless: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Captions of all videos."""
        return sum(map(len, self.captions.values()))

    @property
    def warnings(self) -> list[str]:
        """A line for each kind of oddity, with the file, the lines and what was or can be done."""
        return oddities(self.path, self.latin_1, self.empty, self.wordless)


def oddities(
    path: object,
    latin_1: Sequence[int],
    empty: Sequence[int],
    wordless: Sequence[int],
    *,
    most: int | None = NAMED_LINES,
) -> list[str]:
    """A line for each kind of oddity of a caption file (see ``CaptionFile``).

    Args:
        path: what the file is called.
        latin_1: numbers of lines.
        empty: the same.
        wordless: the same.
        most: line numbers to give one by one; None: all.
    """
    found = [
        (latin_1, "not UTF-8; read as Latin-1 (save the file as UTF-8 to be sure)"),
        (empty, "the caption is empty and was left out (mend or remove it)"),
        (wordless, "no word is left of the caption without signs and non-ASCII letters; check it"),
    ]
    return [f"{path}: {numbered(lines, most)}: {what}" for lines, what in found if lines]


def numbered(lines: Sequence[int], most: int | None = NAMED_LINES) -> str:
    """Line numbers for people: "line 3", "lines 3, 4", or "lines 3, 4, 5, 6, 7, ... (9 in all)"."""
    shown = lines if most is None else lines[:most]
    text = ("line " if len(lines) == 1 else "lines ") + ", ".join(map(str, shown))
    return text if len(shown) == len(lines) else f"{text}, ... ({len(lines)} in all)"


def read_captions(path: Path) -> CaptionFile:
    """Read ``VideoID<separator>EmCaptions`` rows; the header shows the separator, quotes never swallow a row.

    Raises:
        DataError: no such file, a header without a separator, a row without one (with its line number).
    """
    found = CaptionFile(path)
    lines = _lines(read_bytes(path, hint="check its name and permissions"), found.latin_1)
    first, header = next(lines, (1, ""))
    separator = next((mark for mark in SEPARATORS if mark in header), None)
    if separator is None or "videoid" not in header.split(separator)[0].strip(' "').lower():
        raise DataError(
            f"line {first}: the header must be VideoID and EmCaptions with a tab or comma between, not {header[:60]!r}",
            path=path,
            hint="give the caption file as EmVidCap has it",
        )
    found.separator = separator
    for number, line in lines:
        video, mark, text = line.partition(separator)
        video, caption = name_key(video.strip(' "')), unquoted(text.strip())
        if not mark or not video:
            raise DataError(
                f"line {number}: no {SEPARATORS[separator]} between video and caption: {line[:60]!r}",
                path=path,
                hint="mend or remove the line: each row is a video's id and one caption",
            )
        if not caption:
            found.empty.append(number)
            continue
        if not tokens(caption):
            found.wordless.append(number)
        found.captions.setdefault(video, []).append(caption)
    if not found.captions:
        raise DataError("holds no caption", path=path, hint="copy or download it again")
    return found


def decoded_lines(raw: bytes) -> tuple[list[tuple[int, str]], list[int]]:
    """Numbered lines that are not blank, and the numbers of those that are not UTF-8 and were read as Latin-1.

    Lines end at line feeds only: a caption may hold other breaks. Byte order marks are taken as ``as_utf8`` does.
    """
    latin_1: list[int] = []
    return list(_lines(raw, latin_1)), latin_1


def _lines(raw: bytes, latin_1: list[int]) -> Iterator[tuple[int, str]]:
    """``decoded_lines``, one at a time; the numbers of lines read as Latin-1 are added to ``latin_1`` on the way."""
    for number, line in enumerate(BytesIO(as_utf8(raw)), 1):
        try:
            text = line.removesuffix(b"\n").decode("utf-8")
        except UnicodeDecodeError:
            text = line.removesuffix(b"\n").decode("latin-1")
            latin_1.append(number)
        if text.strip():
            yield number, text.rstrip("\r")


def unquoted(text: str) -> str:
    """Undo what a spreadsheet does to a cell with a comma; stray quotes stay and are deleted as punctuation later."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"')
    return text.strip()
