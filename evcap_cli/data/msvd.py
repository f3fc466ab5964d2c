"""MSVD's training captions, whose words are in the paper's vocabulary next to EmVidCap-L's: 13,980 together.

Their captions are for the vocabulary only, nothing is trained on them. MSVD's table is the one that SGN and EPAN
publish: ``VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description``, quoted as spreadsheets do, with an
unnamed column of numbers before that; some copies hold other languages than English.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from evcap_cli.data.caption_files import decoded_lines, read_captions
from evcap_cli.data.emvidcap import TEST_FILE, below
from evcap_cli.errors import DataError
from evcap_cli.reading.text import read_bytes

TRAIN_TABLE: Final = "train.csv"
_PLACES: Final = ("data/MSVD/metadata", "MSVD/metadata", "metadata", "")
_TEXT, _LANGUAGE, _WANTED = "Description", "Language", "English"
_TEST_FILES: Final = (TEST_FILE, "test.csv")
_LINES: Final = 20
"""A caption of more lines is an open quote."""
_HINT: Final = "give a data root with data/MSVD/metadata/train.csv, that file, or a text file with a caption a line"


def read_extra_captions(path: Path) -> list[str]:
    """Raw captions whose words join the vocabulary.

    Args:
        path: a data root (its ``data/MSVD/metadata/train.csv`` is read), MSVD's table, a caption file as EmVidCap has
            it, or a text file with a caption a line.

    Raises:
        DataError: no such file, another header, no caption in it, or captions of a test split: those must not be known.
    """
    file = _found(path) if path.is_dir() else path
    if file.name in _TEST_FILES:
        raise DataError("holds test captions: the vocabulary must not know them", path=file, hint=_HINT)
    lines = decoded_lines(read_bytes(file, hint=_HINT))[0]
    header = lines[0][1] if lines else ""
    if _TEXT in _cells(header):
        found = _table(file, lines)
    elif "videoid" in header.lower():
        found = [caption for captions in read_captions(file).captions.values() for caption in captions]
    elif file.suffix.lower() in (".csv", ".tsv"):
        raise DataError(f"line 1: no column {_TEXT} or EmCaptions in {header[:60]!r}", path=file, hint=_HINT)
    else:
        found = [line.strip() for _, line in lines]
    if not found:
        raise DataError("holds no English caption", path=file, hint=_HINT)
    return found


def find_extra(root: Path) -> Path | None:
    """MSVD's training captions in a data root; None where it has none."""
    for place in _PLACES:
        file = root / place / TRAIN_TABLE
        if file.is_file():
            return file
    # a checkout may lie a folder or two below
    return next((file for file in below(root, f"metadata/{TRAIN_TABLE}") if file.parent.parent.name == "MSVD"), None)


def _found(root: Path) -> Path:
    file = find_extra(root)
    if file is None:
        raise DataError("no data/MSVD/metadata/train.csv in this folder", path=root, hint=_HINT)
    return file


def _cells(line: str) -> list[str]:
    return next(csv.reader([line]), [])


def _table(path: Path, lines: Sequence[tuple[int, str]]) -> list[str]:
    """The English captions of MSVD's table. A quoted cell may hold commas and line ends."""
    rows = csv.reader(f"{line}\n" for _, line in lines)
    header = next(rows)
    text, language = header.index(_TEXT), header.index(_LANGUAGE) if _LANGUAGE in header else None
    found: list[str] = []
    try:
        for row in rows:
            if len(row) != len(header) or row[text].count("\n") > _LINES:
                raise csv.Error(f"a row of {len(row)} columns, the header has {len(header)}")
            if row[text].strip() and (language is None or row[language] == _WANTED):
                found.append(row[text].strip())
    except csv.Error as problem:
        raise DataError(
            f"line {lines[rows.line_num - 1][0]}: {problem}",
            path=path,
            hint="a quote may be left open above; mend the row or copy the file again",
        ) from problem
    return found
