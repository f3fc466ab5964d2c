"""Captions in JSON: a JSON object a line or a list of them, COCO captions, MSR-VTT, VATEX, or captions by video.

An entry of another form is named and left out; the others are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any, Final

from evcap_cli.data.imports.caption_rows import (
    NOT_UTF8,
    REPLACED,
    UNDERSTOOD,
    CaptionRows,
    Role,
    name_of,
    role_columns,
    texts_of,
    times_of,
)
from evcap_cli.errors import DataError
from evcap_cli.reading.typed import NotOfType, from_json, json_line

Given = Mapping[Role, str]
Entry = dict[str, Any]
_VATEX_ID: Final = re.compile(r"(.+)_(\d{1,9})_(\d{1,9})")
_COCO_FILE: Final = ("file_name", "filename", "name", "video_name")


def read_json_captions(path: Path, text: str, given: Given) -> CaptionRows:
    """Rows of a JSON document, or of JSON lines.

    Args:
        path: of the file.
        text: its content.
        given: role -> key, as the user says it.

    Raises:
        DataError: it is no JSON, or of a form that is not known.
    """
    if _are_lines(path, text):
        return _lines(path, text, given)
    document: Any = from_json(Any, text, path=path, hint="check the file")
    if isinstance(document, dict) and isinstance(document.get("annotations"), list):
        return _coco(path, document)
    if isinstance(document, dict) and isinstance(document.get("sentences"), list):
        return _msr_vtt(path, document)
    if isinstance(document, dict) and document and all(isinstance(value, (str, list)) for value in document.values()):
        found = CaptionRows(path, "captions by video (JSON)")
        for video, captions in document.items():
            with _named(found, place := f"{path}: {video}"):
                found.add(place, video, texts_of(captions, "captions"))
        return found
    if isinstance(document, list):
        objects = [entry for entry in document if isinstance(entry, dict)]
        if any("videoID" in entry and "enCap" in entry for entry in objects):
            return _vatex(path, document)
        if any({"file", "caption"} <= role_columns(entry, given).keys() for entry in objects):
            found = CaptionRows(path, "a JSON list of captions")
            for place, entry in _numbered(path, document, "entry"):
                with _named(found, place):
                    _add_object(found, place, _object(entry), given)
            return found
    raise DataError("JSON of a form that is not known", path=path, hint=UNDERSTOOD)


def _are_lines(path: Path, text: str) -> bool:
    """Whether a text is JSON lines, by its first two lines that are not blank: one that is no JSON is still a line."""
    filled = (line.strip() for line in StringIO(text) if line.strip())
    first, second = next(filled, ""), next(filled, "")
    if first.startswith("{") and second.startswith("{"):
        return not first.endswith(("[", ",", ":"))  # as the first line of an indented document does
    return path.suffix.lower() != ".json" and _is_object(first)


def _is_object(line: str) -> bool:
    try:
        json_line(dict[str, Any], line.encode("utf-8", "replace"))
    except NotOfType:
        return False
    return True


def _lines(path: Path, text: str, given: Given) -> CaptionRows:
    found = CaptionRows(path, "JSON lines")
    for number, line in enumerate(text.split("\n"), 1):
        place = f"{path}: line {number}"
        if REPLACED in line:
            found.problem("encoding", place, NOT_UTF8)
        elif line.strip():
            with _named(found, place):
                _add_object(found, place, json_line(Entry, line.encode("utf-8", "replace")), given)
    if not found.rows and all(problem.kind == "row" for problem in found.problems):
        raise DataError(found.problems[0].text, path=found.problems[0].place, hint=UNDERSTOOD)
    return found


def _add_object(found: CaptionRows, place: str, entry: Entry, given: Given) -> None:
    """An object with the keys of a table's columns; ``captions`` may be a list."""
    keys = role_columns(entry, given)
    for role in ("file", "caption"):
        if role not in keys:
            raise NotOfType(f"has no {given.get(role, role)}: its keys are {', '.join(entry)[:60]}")
    times = times_of(entry.get(keys.get("start", "")), entry.get(keys.get("end", "")))
    video, texts = name_of(entry[keys["file"]], keys["file"]), texts_of(entry[keys["caption"]], keys["caption"])
    found.add(place, video, texts, times, _text(entry.get(keys.get("split", ""))))


@contextmanager
def _named(found: CaptionRows, place: str) -> Iterator[None]:
    """What is wrong in an entry is named with its place; the program goes on after the block."""
    try:
        yield
    except NotOfType as problem:
        found.problem("row", place, str(problem))
    except ValueError as problem:
        found.problem("times", place, str(problem))


def _numbered(path: Path, values: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The entries of a list with their places, counted from 1."""
    several = values if isinstance(values, list) else []
    yield from ((f"{path}: {name} {number}", value) for number, value in enumerate(several, 1))


def _object(value: Any) -> Entry:
    if not isinstance(value, dict):
        raise NotOfType("should be an object")
    return value


def _coco(path: Path, document: Entry) -> CaptionRows:
    """COCO captions: images (or videos) with an id and a file name, annotations with that id and a caption."""
    found = CaptionRows(path, "COCO captions")
    files: dict[str, tuple[str, str | None]] = {}
    for key in ("images", "videos"):
        for place, value in _numbered(path, document.get(key), key.removesuffix("s")):
            with _named(found, place):
                entry = _object(value)
                name = next((entry[each] for each in _COCO_FILE if each in entry), entry.get("id"))
                files[name_of(entry.get("id"), "id")] = name_of(name, "file_name"), _text(entry.get("split"))
    for place, value in _numbered(path, document["annotations"], "annotation"):
        with _named(found, place):
            entry = _object(value)
            number = name_of(entry.get("image_id", entry.get("video_id")), "image_id")
            if files and number not in files:
                raise NotOfType(f"image_id {number} is not among the images")
            name, split = files.get(number, (number, None))
            found.add(place, name, texts_of(entry.get("caption"), "caption"), split=split)
    return found


def _msr_vtt(path: Path, document: Entry) -> CaptionRows:
    """MSR-VTT: videos with times in a YouTube video and a split, sentences with the video's id.

    The files that people have are cut already and called by the id; times count where only the YouTube video is there.
    """
    found = CaptionRows(path, "MSR-VTT")
    splits: dict[str, str | None] = {}
    sources: dict[str, tuple[str, Fraction, Fraction]] = {}
    for place, value in _numbered(path, document.get("videos"), "video"):
        with _named(found, place):
            entry = _object(value)
            name, url = name_of(entry.get("video_id"), "video_id"), _text(entry.get("url")) or ""
            splits[name] = _text(entry.get("split"))
            source = url.partition("v=")[2].partition("&")[0] or url.rpartition("/")[2]
            times = times_of(entry.get("start time"), entry.get("end time"))
            if source and times:
                sources[name] = source, *times
    for place, value in _numbered(path, document["sentences"], "sentence"):
        with _named(found, place):
            entry = _object(value)
            name = name_of(entry.get("video_id"), "video_id")
            texts = texts_of(entry.get("caption"), "caption")
            found.add(place, name, texts, split=splits.get(name), cut_from=sources.get(name))
    return found


def _vatex(path: Path, document: Sequence[Any]) -> CaptionRows:
    """VATEX: a video's YouTube id with start and end, its English and Chinese captions.

    A file called by the whole id is the clip; one called by the YouTube id is the longer video it was cut from.
    """
    found = CaptionRows(path, "VATEX")
    for place, value in _numbered(path, document, "entry"):
        with _named(found, place):
            entry = _object(value)
            name = name_of(entry.get("videoID"), "videoID")
            cut = _VATEX_ID.fullmatch(name)
            source = None if cut is None else (cut[1], Fraction(int(cut[2])), Fraction(int(cut[3])))
            found.add(place, name, texts_of(entry.get("enCap"), "enCap"), cut_from=source)
    if any(isinstance(entry, dict) and entry.get("chCap") for entry in document):
        found.notes.append("the English captions are used: evcap learns words in ASCII letters")
    return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
