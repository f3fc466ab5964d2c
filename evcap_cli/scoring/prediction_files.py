"""Captions and references from the files people have: evcap's records, COCO results, caption lines, EPAN's csv.

Notation: a prediction file gives one caption a video; captions of several segments of a video are joined, unless a data
root lists the segments: then each is a video of its own here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Final

from evcap_cli.data.caption_files import unquoted
from evcap_cli.data.emvidcap import bare, read_captions
from evcap_cli.data.origins import shown_name, together
from evcap_cli.errors import DataError
from evcap_cli.paths import name_key
from evcap_cli.reading.text import printable, read_text, text_lines
from evcap_cli.reading.typed import NotOfType, checked, from_json, json_line
from evcap_cli.scoring.captioned_by import CaptionedBy

VIDEO_KEYS: Final = ("video_id", "image_id", "id", "video", "vid", "videoid")
CAPTION_KEYS: Final = ("caption", "text", "prediction", "emcaptions")
REFERENCE_KEYS: Final = ("references", "captions", "refs")
_HINT = "give evcap's .jsonl, COCO results, or lines with video_id and caption"


@dataclass(frozen=True)
class _Part:
    """One segment's caption in a record; ``id`` where a data root lists the segment."""

    text: str
    id: str | None = None


@dataclass
class Predictions:
    """What a prediction file holds.

    Args:
        name: of the file, for messages.
        captions: video -> caption.
        references: video -> captions, of records that carry them.
        failed: videos that have no caption because captioning failed.
        places: video -> where it stands in the file ("line 3").
        surrogate: whether they were made of surrogate features, as training marks its test.jsonl.
        captioners: what wrote them, as far as records say; more than one where files were joined.
        labels_by: who wrote the captions that their system was trained on, where people did not.
    """

    name: str
    captions: dict[str, str] = field(default_factory=dict)
    references: dict[str, list[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    surrogate: bool = False
    captioners: list[CaptionedBy] = field(default_factory=list)
    labels_by: str = ""

    @classmethod
    def of(cls, name: str, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> Predictions:
        """Read entries, each with its place in the file, in any of the known forms.

        Raises:
            DataError: one has none of these forms, a video occurs twice, or there is no caption at all.
        """
        found = cls(name)
        for place, values in entries:
            found._add(values, place)
        if not found.captions:
            raise DataError("holds no caption", path=name, hint=_HINT)
        return found

    @property
    def captioned_by(self) -> CaptionedBy | None:
        """The one captioner of all captions; None where records name none, or several."""
        return self.captioners[0] if len(self.captioners) == 1 else None

    def _add(self, values: Mapping[str, Any], place: str) -> None:
        path = self.name
        video = _first(values, VIDEO_KEYS)
        if video is None:
            raise DataError(f"{place}: no video id ({', '.join(VIDEO_KEYS[:3])})", path=path, hint=_HINT)
        self._first_time(video, place)
        self.surrogate = self.surrogate or values.get("features") == "surrogate"
        captioner = CaptionedBy.of_record(values)
        if captioner is not None and captioner not in self.captioners:
            self.captioners.append(captioner)
        checkpoint = values.get("checkpoint")
        trained_on = (checkpoint if isinstance(checkpoint, dict) else values).get("labels_by")
        if trained_on is not None and trained_on != self.labels_by:
            self.labels_by = together([self.labels_by, shown_name(trained_on)])
        if values.get("status") == "failed":
            self.failed.append(video)
            return
        caption = _first(values, CAPTION_KEYS)
        try:
            if caption is None and isinstance(values.get("captions"), list):
                parts = checked(list[_Part], values["captions"], "captions")
                if parts and all(part.id is not None for part in parts):
                    self._add_listed(parts, place)
                    return
                caption = " ".join(part.text for part in parts)
            if values.get("references"):
                self.references[video] = checked(list[str], values["references"], "references")
        except NotOfType as problem:
            raise DataError(f"{place}: {problem}", path=path, hint=_HINT) from problem
        if caption is None:
            raise DataError(f"{place}: no caption for {video}", path=path, hint=_HINT)
        self.captions[video] = caption

    def _add_listed(self, parts: Sequence[_Part], place: str) -> None:
        for part in parts:
            clip = str(part.id)
            self._first_time(clip, place)
            self.captions[clip] = part.text

    def _first_time(self, video: str, place: str) -> None:
        if self.places.setdefault(video, place) != place:
            raise DataError(
                f"{place}: the video {video} stands twice, first in {self.places[video]}",
                path=self.name,
                hint="keep one caption a video",
            )


def read_predictions(path: Path) -> Predictions:
    """Read a prediction file.

    Raises:
        DataError: it cannot be read, holds something else (with the line), or no caption at all.
    """
    return Predictions.of(str(path), _entries(path))


def read_references(path: Path) -> dict[str, list[str]]:
    """References by video: ``{"id": [captions]}``, COCO annotations, lines with an id and captions, or a caption csv.

    Raises:
        DataError: it cannot be read or holds none of these.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        return read_captions(path).captions
    found: dict[str, list[str]] = {}
    if path.suffix.lower() == ".json":
        values = from_json(Any, read_text(path), path=path, hint=_HINT)
        if isinstance(values, dict) and "annotations" not in values:
            for video, captions in values.items():
                found.setdefault(name_key(printable(video)), []).extend(_several(captions, printable(video), path))
            return _some(found, path)
        rows = _numbered(values["annotations"] if isinstance(values, dict) else values, path)
    else:
        rows = _json_lines(text_lines(path), path)
    for place, row in rows:
        video = _first(row, VIDEO_KEYS)
        if video is None:
            raise DataError(f"{place}: no video id", path=path, hint='give {"video_id": ..., "captions": [...]} lines')
        several = next((row[key] for key in REFERENCE_KEYS if isinstance(row.get(key), list)), None)
        single = _first(row, CAPTION_KEYS)
        found.setdefault(name_key(video), []).extend(
            _several(several if several is not None else [single], place, path)
        )
    return _some(found, path)


def _some(found: dict[str, list[str]], path: Path) -> dict[str, list[str]]:
    if not found:
        raise DataError("holds no references", path=path)
    return found


def _several(captions: Any, place: str, path: Path) -> list[str]:
    parts = captions if isinstance(captions, list) else []
    texts: list[Any] = [part.get("caption") if isinstance(part, dict) else part for part in parts]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{place}: the references must be a list of captions", path=path)
    return [printable(text) for text in texts]


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Entries of a file; JSON lines one at a time, whatever else people have as a whole."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _table(read_text(path), path)
    if suffix == ".json":
        text = read_text(path)
    else:
        lines = text_lines(path)
        first = next(((number, line) for number, line in lines if line.strip()), (1, ""))
        lines = chain([first], lines)
        if not first[1].lstrip().startswith("["):
            return _json_lines(lines, path)
        text = "\n".join(line for _, line in lines)
    values: Any = from_json(Any, text, path=path, hint=_HINT)
    if isinstance(values, dict) and all(isinstance(value, str) for value in values.values()):
        values = [{"video_id": video, "caption": caption} for video, caption in values.items()]
    return _numbered(values if isinstance(values, list) else [values], path)


def _table(text: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """EPAN's "vid, caption" rows, with or without a header; a caption may hold the separator."""
    mark = "\t" if "\t" in text.partition("\n")[0] else ","
    for number, line in enumerate(text.split("\n"), 1):
        left, found, right = line.partition(mark)
        video = unquoted(left.strip())
        if not line.strip() or (number == 1 and video.lower() in VIDEO_KEYS):
            continue
        if not found or not video:
            name = "tab" if mark == "\t" else "comma"
            raise DataError(f"line {number}: no {name} between video and caption", path=path, hint=_HINT)
        yield f"line {number}", {"video_id": video, "caption": unquoted(right.strip())}


def _numbered(values: Any, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(values, list):
        raise DataError("should hold a list of objects", path=path, hint=_HINT)
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise DataError(f"entry {number} is not an object", path=path, hint=_HINT)
        yield f"entry {number}", value


def _json_lines(lines: Iterable[tuple[int, str]], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in lines:
        if line.strip():
            try:
                yield f"line {number}", json_line(dict[str, Any], line.encode())
            except NotOfType as problem:
                raise DataError(f"line {number}: {problem}", path=path, hint=_HINT) from problem


def _first(values: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    found = (values[key] for key in keys if isinstance(values.get(key), (str, int)))
    return next((printable(str(value)) for value in found if not isinstance(value, bool)), None)


def match_ids(videos: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """The id that a reference file uses for each of ``videos``: its last path part, with or without "vid" too."""
    exact = set(known)
    loose = {bare(video): video for video in sorted(exact, reverse=True)}
    found: dict[str, str] = {}
    for video in videos:
        for form in (video, PurePosixPath(video).name):
            if form in exact or bare(form) in loose:
                found[video] = form if form in exact else loose[bare(form)]
                break
    return found
