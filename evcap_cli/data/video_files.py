"""Ids and the files they name: with and without "vid", in folders of any depth, MSVD's clips by their own names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from evcap_cli.errors import DataError
from evcap_cli.inputs import VIDEO_SUFFIXES

_ID: Final = re.compile(r"vid(\d+)", re.IGNORECASE)


def bare(video: str) -> str:
    """An EmVidCap id without "vid", any other name as it is: files and feature keys come with and without it."""
    found = _ID.fullmatch(video)
    return found[1] if found else video


def match_videos(videos: Iterable[str], folder: Path, aliases: Mapping[str, str] | None = None) -> dict[str, Path]:
    """The file of each video: by stem, with or without "vid", at any depth; the first in sorted order when several.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError("no such video folder", path=folder, hint="give it with --videos")
    by_stem: dict[str, Path] = {}
    for path in sorted(_video_files(folder)):
        by_stem.setdefault(path.stem, path)
        by_stem.setdefault(bare(path.stem), path)
    found: dict[str, Path] = {}
    for video in videos:
        stems = (video, bare(video), *((aliases[video],) if aliases and video in aliases else ()))
        files = [by_stem[stem] for stem in stems if stem in by_stem]
        if files:
            found[video] = files[0]
    return found


def _video_files(folder: Path) -> Iterator[Path]:
    """Videos in a folder and below; linked folders count, each once."""
    seen: set[str] = set()
    for parent, below, names in os.walk(folder, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        real = os.path.realpath(parent)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        for name in names:
            # "._clip.mp4" is what macOS leaves beside a copied clip
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                path = Path(parent, name)
                if path.is_file():
                    yield path
