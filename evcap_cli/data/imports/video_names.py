"""From the names that people's caption files have for videos to the files in a folder, and to ids for a data root."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
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
        allow_empty: it may have no file with a video's suffix, as where files are named one by one.

    Raises:
        DataError: no such folder, or no video in it.
    """

    def __init__(self, folder: Path, *, allow_empty: bool = False) -> None:
        if not folder.is_dir():
            raise DataError("no such video folder", path=folder, hint="give it with --videos")
        self.folder = folder
        if not allow_empty and next(self._walked(), None) is None:
            raise DataError("holds no video", path=folder, hint="give the folder of the videos with --videos")

    def _walked(self) -> Iterator[tuple[str, Path]]:
        for parent, _, names in walk(self.folder):
            for name in filter(is_video_name, names):
                path = parent / name
                if path.is_file():
                    yield path.relative_to(self.folder).as_posix(), path

    @cached_property
    def files(self) -> dict[str, Path]:
        """Path below the folder, with forward slashes -> path."""
        return dict(self._walked())

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for file in sorted(self.files):
            for name in _names(PurePosixPath(file)):
                found.setdefault(name, []).append(file)
        return found

    @cached_property
    def _shared(self) -> set[str]:
        """Stems that several files have."""
        known: set[str] = set()
        shared: set[str] = set()
        for file, _ in self.files.items() if "files" in self.__dict__ else self._walked():
            key = _key(PurePosixPath(file))
            (shared if key in known else known).add(key)
        return shared

    def find(self, name: str) -> list[str]:
        """The files that a name may mean: the one at this very path below the folder, or else all that have as much of
        the end of their path in common with it as any has.
        """
        parts = name_parts(name)
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
        return _key(PurePosixPath(file)) not in self._shared

    def id_of(self, file: str) -> str:
        """The id of a file: its stem; where several have it, the path without suffix; where those too, the path."""
        path = PurePosixPath(file)
        text = path.stem
        if not self.only_one(file):
            text = str(path.with_suffix(""))
            text = str(path) if len(self._by_name.get(name_key(text), ())) > 1 else text
        return fit_id(text)


def name_parts(name: str) -> list[str]:
    """The folders and the file of a name as people write it."""
    return [part for part in name_key(name.strip().replace("\\", "/")).split("/") if part not in ("", ".")]


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
