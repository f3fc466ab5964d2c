"""Segments that a data root names: ``clips.jsonl``, a JSON object a line with id, file, start and end.

A clip stands there where its id is not enough to find it: it is a part of its file, or several files have its name.
``file`` is a path below the folder of the videos, with forward slashes; start and end are seconds in it, null for all
of it. Segments may overlap and leave gaps; those of one file are taken in the order of their times.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Final

from annotated_types import Interval, Len

from evcap_cli.errors import DataError, UsageError
from evcap_cli.paths import name_key
from evcap_cli.reading.text import printable
from evcap_cli.reading.typed import read_json_lines

CLIPS_FILE: Final = "clips.jsonl"
_WHOLE: Final = float("inf")
_MILLISECONDS: Final = 1000

_Text = Annotated[str, Len(1, 4096)]
_Seconds = Annotated[float, Interval(ge=0, le=1e9)]


@dataclass(frozen=True)
class _Line:
    """A line of clips.jsonl."""

    id: _Text
    file: _Text
    start: _Seconds | None = None
    end: _Seconds | None = None


@dataclass(frozen=True)
class ListedClip:
    """A clip of a data root.

    Args:
        file: below the folder of the videos, with forward slashes.
        start, end: seconds to the millisecond; None: the whole file.
    """

    id: str
    file: str
    start: Fraction | None = None
    end: Fraction | None = None


class ListedClips:
    """The clips of ``clips.jsonl``, by id and by file.

    Args:
        clips: with different ids.
    """

    def __init__(self, clips: Iterable[ListedClip] = ()) -> None:
        self.clips = {clip.id: clip for clip in clips}
        self._files: dict[str, dict[str, list[ListedClip]]] = {}
        for clip in self.clips.values():
            same_stem = self._files.setdefault(_stem(PurePosixPath(clip.file)), {})
            same_stem.setdefault(clip.file, []).append(clip)

    @classmethod
    def of_root(cls, root: Path) -> ListedClips:
        """Read ``clips.jsonl`` of a data root; nothing is listed where it has none.

        Raises:
            DataError: the file cannot be read, or a line is no clip (with its number).
        """
        path = root / CLIPS_FILE
        if not path.exists():
            return cls()
        found: dict[str, ListedClip] = {}
        for number, line in read_json_lines(_Line, path, hint="import the captions again"):
            clip = ListedClip(name_key(line.id), line.file, _exact(line.start), _exact(line.end))
            cause = _problem(clip) or (f"the id {clip.id} stands twice" if clip.id in found else None)
            if cause is not None:
                raise DataError(f"line {number}: {cause}", path=path, hint="import the captions again")
            found[clip.id] = clip
        return cls(found.values())

    @classmethod
    def required(cls, root: Path) -> ListedClips:
        """Those of a root that must have some, as ``--segment from:ROOT`` names one.

        Raises:
            UsageError: no such folder, or no ``clips.jsonl`` in it. DataError: see ``of_root``.
        """
        if not root.is_dir():
            raise UsageError("no such data root", path=root, hint="--segment from:ROOT names one with clips.jsonl")
        if not (root / CLIPS_FILE).exists():
            raise UsageError(
                f"has no {CLIPS_FILE}: it names no segments", path=root, hint="leave out --segment for whole videos"
            )
        return cls.of_root(root)

    @property
    def digest(self) -> str:
        """xxh3_128 of all that is listed."""
        import xxhash

        return xxhash.xxh3_128_hexdigest(clip_lines(self.clips.values()).encode())

    def of(self, video: Path) -> Sequence[ListedClip]:
        """The clips of a file in the order of their times; none where the root does not list it.

        A file is found by its name without suffix; where several are called so, by the folders it lies in.
        """
        found = self._files.get(_stem(video), {})
        if len(found) > 1:
            parts = _parts(Path.cwd() / video)
            below = [file for file in found if parts[-len(PurePosixPath(file).parts) :] == _parts(PurePosixPath(file))]
            found = {file: found[file] for file in sorted(below, key=len)[-1:]}
        clips = next(iter(found.values()), [])
        return sorted(clips, key=lambda clip: (clip.start or 0, clip.end or _WHOLE, clip.id))


def clip_lines(clips: Iterable[ListedClip]) -> str:
    """The content of ``clips.jsonl``."""
    rows = (
        {
            "id": clip.id,
            "file": clip.file,
            "start": None if clip.start is None else float(clip.start),
            "end": None if clip.end is None else float(clip.end),
        }
        for clip in clips
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def _exact(seconds: float | None) -> Fraction | None:
    return None if seconds is None else Fraction(round(seconds * _MILLISECONDS), _MILLISECONDS)


def _problem(clip: ListedClip) -> str | None:
    """What keeps a clip from being used: a root must not lead out of the folder of its videos."""
    place = PurePosixPath(clip.file)
    if place.is_absolute() or ".." in place.parts or "\\" in clip.file or PurePath(clip.file).drive:
        return f"the file {printable(clip.file)!r} is not below the folder of the videos"
    if (clip.start is None) != (clip.end is None):
        return "a segment needs both a start and an end"
    if clip.start is not None and clip.end is not None and clip.start >= clip.end:
        return f"the segment ends at {float(clip.end):g} s, not after its start at {float(clip.start):g} s"
    return None


def _stem(path: PurePath) -> str:
    return name_key(path.stem)


def _parts(path: PurePath) -> tuple[str, ...]:
    return (*map(name_key, path.parent.parts), _stem(path))
