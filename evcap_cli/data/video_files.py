"""Ids and the files they name: with and without "vid", in folders of any depth, MSVD's clips by their own names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.errors import DataError
from evcap_cli.paths import is_video_name, name_key, walk

if TYPE_CHECKING:
    from evcap_cli.media.listed_segments import ListedClip

_ID: Final = re.compile(r"vid(\d+)", re.IGNORECASE)


def bare(video: str) -> str:
    """An EmVidCap id without "vid", any other name by its ``name_key``: files and feature keys come in all forms."""
    found = _ID.fullmatch(video)
    return found[1] if found else name_key(video)


def match_videos(
    videos: Iterable[str],
    folder: Path,
    aliases: Mapping[str, str] | None = None,
    clips: Mapping[str, ListedClip] | None = None,
) -> dict[str, Path]:
    """The file of each video: by stem, with or without "vid", at any depth; the first in sorted order when several.

    Args:
        videos: their ids.
        folder: of the files.
        aliases: id -> another stem.
        clips: id -> what ``clips.jsonl`` says; the file it names counts, or else one of that stem.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError("no such video folder", path=folder, hint="give it with --videos")
    by_stem: dict[str, Path] = {}
    for path in sorted(_video_files(folder)):
        by_stem.setdefault(name_key(path.stem), path)
        by_stem.setdefault(bare(path.stem), path)
    found: dict[str, Path] = {}
    for video in videos:
        if clips is not None and video in clips:
            file = folder / clips[video].file
            listed = file if file.is_file() else by_stem.get(name_key(file.stem))
            if listed is not None:
                found[video] = listed
            continue
        stems = (video, bare(video), *((aliases[video],) if aliases and video in aliases else ()))
        files = [by_stem[name_key(stem)] for stem in stems if name_key(stem) in by_stem]
        if files:
            found[video] = files[0]
    return found


def _video_files(folder: Path) -> Iterator[Path]:
    """Videos in a folder and below, linked folders included."""
    for parent, _, names in walk(folder):
        yield from (parent / name for name in names if is_video_name(name) and (parent / name).is_file())
