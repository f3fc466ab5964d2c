"""What every reader of people's caption files hands on: rows, and what is wrong with lines that give none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

from evcap_cli.errors import DataError
from evcap_cli.reading.typed import NotOfType, checked

Role = Literal["file", "caption", "start", "end", "split"]
ROLES: Final[Mapping[Role, tuple[str, ...]]] = {
    "file": (
        *("file", "filename", "filepath", "videofile", "videofilename", "videoname", "videopath", "video", "path"),
        *("videoid", "vid", "clip", "clipid", "clipname", "name", "imageid", "id"),
    ),
    "caption": ("caption", "captions", "emcaption", "emcaptions", "text", "sentence", "description", "desc"),
    "start": ("start", "starttime", "startseconds", "begin", "from"),
    "end": ("end", "endtime", "endseconds", "stop", "to"),
    "split": ("split", "subset", "partition"),
}
"""Names that columns and keys have, without signs and spaces and in lower case; the first one present counts."""
UNDERSTOOD: Final = (
    "evcap reads CSV, TSV and JSON lines with a file name and a caption (--column file=NAME --column caption=NAME"
    " where they are called otherwise), JSON of COCO captions, MSR-VTT and VATEX, and SRT or VTT, one or a folder"
)
REPLACED: Final = "\ufffd"
"""What stands in decoded text for bytes of another encoding."""
NOT_UTF8: Final = "not UTF-8; save the file as UTF-8, or name its --encoding"
_CLOCK: Final = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2}(?:[.,]\d{1,32})?)")
_SECONDS: Final = re.compile(r"\d{1,9}(?:[.,]\d{1,32})?")

Kind = Literal["row", "encoding", "empty", "missing", "ambiguous", "times", "doubled"]
"""Of problems: a line that is no row, not in the file's encoding, without a caption or a word, of a video that is not
there, of several videos, of a time that cannot be, or there before."""


@dataclass(frozen=True)
class Problem:
    """A line that was not imported.

    Args:
        place: file and line, or file and entry. text: what is wrong, and what can be done.
    """

    kind: Kind
    place: str
    text: str


@dataclass(frozen=True)
class CaptionRow:
    """One caption as its file has it.

    Args:
        place: see ``Problem``.
        video: the name of its file, with or without folders and suffix.
        start, end: seconds of the segment in that file; None: the whole video.
        split: "train" or "test", where the file says so.
        cut_from: name, start and end of a longer video that has the clip, where there is no file ``video``.
    """

    place: str
    video: str
    caption: str
    start: Fraction | None = None
    end: Fraction | None = None
    split: Literal["train", "test"] | None = None
    cut_from: tuple[str, Fraction, Fraction] | None = None


@dataclass
class CaptionRows:
    """One import, read.

    Args:
        form: what the file is, in words.
        notes: what was decided about the whole file.
        unknown_splits: split name that is neither training nor test -> its captions.
    """

    path: Path
    form: str
    rows: list[CaptionRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unknown_splits: Counter[str] = field(default_factory=Counter)

    def problem(self, kind: Kind, place: str, text: str) -> None:
        """One line gives no row."""
        self.problems.append(Problem(kind, place, text))

    def add(
        self,
        place: str,
        video: str,
        captions: Iterable[str],
        times: tuple[Fraction, Fraction] | None = None,
        split: str | None = None,
        cut_from: tuple[str, Fraction, Fraction] | None = None,
    ) -> None:
        """Rows of one line or entry: white space is made single, what holds bytes of another encoding is left out."""
        start, end = times or (None, None)
        known = split_of(split)
        for caption in captions:
            if REPLACED in caption or REPLACED in video:
                self.problem("encoding", place, NOT_UTF8)
                continue
            row = CaptionRow(place, video.strip(), " ".join(caption.split()), start, end, known, cut_from)
            self.rows.append(row)
            if known is None and split is not None and split.strip():
                self.unknown_splits[split.strip()] += 1


def role_columns(names: Iterable[str], given: Mapping[Role, str]) -> dict[Role, str]:
    """Which of some columns or keys has which role.

    Args:
        names: of the columns.
        given: role -> name, as the user says it.

    Returns:
        Role -> name; roles that no column has are not in it.
    """
    there = list(names)
    plain = {re.sub(r"[\W_]", "", name.lower()): name for name in reversed(there)}
    found: dict[Role, str] = {}
    for role, known in ROLES.items():
        name = given.get(role) or next((plain[key] for key in known if key in plain), None)
        if name is not None and name in there:
            found[role] = name
    return found


def check_given(given: Mapping[Role, str], names: Iterable[str], path: Path) -> None:
    """See that the columns that the user names are there.

    Raises:
        DataError: one is not.
    """
    there = list(names)
    for role, name in given.items():
        if name not in there:
            raise DataError(
                f"has no column {name!r} (--column {role}={name})", path=path, hint=f"it has {', '.join(there)}"
            )


def seconds_of(value: object) -> Fraction:
    """Seconds of a number, of "12.5" or of a clock such as "1:02:03.5", to the millisecond.

    Raises:
        ValueError: it is none of these.
    """
    text = f"{value:.6f}" if isinstance(value, float) else str(value).strip()  # str() of small ones is 1e-05
    clock = _CLOCK.fullmatch(text)
    if clock:
        hours, minutes, seconds = clock.groups(default="0")
        total = Decimal(int(hours) * 3600 + int(minutes) * 60) + Decimal(seconds.replace(",", "."))
    elif not isinstance(value, bool) and _SECONDS.fullmatch(text):
        total = Decimal(text.replace(",", "."))
    else:
        raise ValueError(f"{text[:40]!r} is no time (12.5 or 1:02:03.5)")
    return Fraction(round(total * 1000), 1000)


def times_of(start: object, end: object) -> tuple[Fraction, Fraction] | None:
    """Start and end of a segment; None where both are empty.

    Raises:
        ValueError: one of them is missing or no time.
    """
    if start in (None, "") and end in (None, ""):
        return None
    if start in (None, "") or end in (None, ""):
        raise ValueError("a segment needs both a start and an end")
    return seconds_of(start), seconds_of(end)


def split_of(text: str | None) -> Literal["train", "test"] | None:
    """The split that a name stands for: training and validation are one here, of which training holds out a part."""
    plain = (text or "").strip().lower()
    if plain in ("test", "testing", "eval", "evaluation"):
        return "test"
    return (
        "train" if plain in ("train", "training", "trainval", "val", "valid", "validate", "validation", "dev") else None
    )


def texts_of(value: Any, field_name: str) -> list[str]:
    """One caption or a list of them.

    Raises:
        NotOfType: it is neither.
    """
    if isinstance(value, list):
        return checked(list[str], value, field_name)
    return [value if isinstance(value, str) else checked(str, value, field_name)]


def name_of(value: Any, field_name: str) -> str:
    """The name of a video: text, or a number.

    Raises:
        NotOfType: it is neither, or empty.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = checked(str, value, field_name)
    if not text.strip():
        raise NotOfType(f"{field_name}: names no video")
    return text
