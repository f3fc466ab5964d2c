"""From the names that people's caption files have for videos to the files in a folder, and to ids for a data root."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from evcap_cli.data.video_files import bare
from evcap_cli.errors import DataError
from evcap_cli.paths import VIDEO_SUFFIXES, is_video_name, name_key, walk
from evcap_cli.reading.text import printable

_UNFIT: Final = re.compile(r"[\s\"\0-\x1f]+")
"""What a line of a caption file, tab-separated and perhaps quoted, cannot have in an id."""


class VideoNames:
    """The videos in a folder and below it, by every name that leads to one: folders and suffix may be left out.

    Args:
        folder: of the videos.

    Raises:
        DataError: no such folder, or no video in it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError("no such video folder", path=folder, hint="give it with --videos")
        self.folder = folder
        self.files: dict[str, Path] = {}
        """Path below the folder, with forward slashes -> path."""
        self._by_name: dict[str, list[str]] = {}
        for parent, _, names in walk(folder):
            for name in filter(is_video_name, names):
                path = parent / name
                if path.is_file():
                    self.files[path.relative_to(folder).as_posix()] = path
        if not self.files:
            raise DataError("holds no video", path=folder, hint="give the folder of the videos with --videos")
        for file in sorted(self.files):
            for name in _names(PurePosixPath(file)):
                self._by_name.setdefault(name, []).append(file)
        self._stems = Counter(_key(PurePosixPath(file)) for file in self.files)

    def find(self, name: str) -> list[str]:
        """The files that a name may mean: the one at this very path below the folder, or else all that have as much of
        the end of their path in common with it as any has.
        """
        parts = [part for part in name_key(name.strip().replace("\\", "/")).split("/") if part not in ("", ".")]
        for first in range(len(parts)):
            tail = "/".join(parts[first:])
            stem, dot, suffix = tail.rpartition(".")
            other = [stem] if dot and f".{suffix.lower()}" in VIDEO_SUFFIXES else []
            for form in (tail, *other, bare(tail)):
                files = self._by_name.get(form, [])
                exact = [file for file in files if name_key(file) == form]
                if files:
                    return exact or files
        return []

    def only_one(self, file: str) -> bool:
        """Whether no other file has the same stem, so that the stem leads to this one."""
        return self._stems[_key(PurePosixPath(file))] == 1

    def id_of(self, file: str) -> str:
        """The id of a file: its stem; where several have it, the path without suffix; where those too, the path."""
        path = PurePosixPath(file)
        text = path.stem
        if not self.only_one(file):
            text = str(path.with_suffix(""))
            text = str(path) if len(self._by_name[name_key(text)]) > 1 else text
        return fit_id(text)


def fit_id(text: str) -> str:
    """``text`` as an id: without what a line of a caption file cannot have in one."""
    return _UNFIT.sub("_", name_key(printable(text))).strip("_ ") or "video"


def _names(path: PurePosixPath) -> Iterator[str]:
    parts = path.parts
    found = dict.fromkeys(
        name_key("/".join((*parts[first:-1], last))) for first in range(len(parts)) for last in (path.name, path.stem)
    )
    yield from dict.fromkeys([*found, _key(path)])


def _key(path: PurePosixPath) -> str:
    return bare(path.stem)
