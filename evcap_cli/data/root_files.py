"""Writing a data root in EmVidCap's layout: caption files, lexicon, clips, and where it comes from.

``emvidcap.py`` reads it. The demo world writes its lexicon by the same function.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evcap_cli.data.emvidcap import TEST_FILE, TRAIN_FILE, Split
from evcap_cli.data.lexicon import WORD_FOLDER, Lexicon
from evcap_cli.errors import DataError, UsageError
from evcap_cli.files import write_whole
from evcap_cli.reading.typed import read_json

CAPTION_FOLDER: Final = Path("data", "EmVidCap-L")
LEXICON_FOLDER: Final = Path("EmotionEval")
VIDEO_FOLDER: Final = "videos"
ORIGIN_FILE: Final = "origin.json"
CAPTION_FILES: Final[Mapping[Split, str]] = {"train": TRAIN_FILE, "test": TEST_FILE}


@dataclass(frozen=True)
class Origin:
    """Where a root that evcap wrote comes from; ``origin.json`` holds more, for people.

    Args:
        made_by: the command, such as "evcap data import".
    """

    made_by: str


def read_origin(root: Path) -> Origin | None:
    """Where a root comes from; None where nothing says it.

    Raises:
        DataError: the file that says it cannot be read.
    """
    path = root / ORIGIN_FILE
    if not path.exists():
        return None
    return Origin(str(read_json(dict[str, Any], path).get("made_by", "")))


def check_root(root: Path, made_by: str, *, overwrite: bool) -> None:
    """See that a root can be written: nothing is there, or with ``overwrite`` an earlier one of the same command.

    Raises:
        UsageError: a data set is there, and must not be replaced.
    """
    if root.exists() and not root.is_dir():
        raise UsageError("is a file, not a folder", path=root, hint="choose another -o")
    if not any(path.exists() for path in _caption_files(root)):
        return
    try:
        origin = read_origin(root)
    except DataError:
        origin = None
    if origin is None or origin.made_by != made_by:
        raise UsageError(f"holds a data set that {made_by} did not write", path=root, hint="choose another -o")
    if not overwrite:
        raise UsageError("holds a data set", path=root, hint="replace it with --overwrite, or choose another -o")


def clear_root(root: Path) -> None:
    """Remove captions and lexicon of an earlier root; videos and what else is there stay."""
    for path in (root / ORIGIN_FILE, *_caption_files(root)):
        path.unlink(missing_ok=True)
    shutil.rmtree(root / LEXICON_FOLDER, ignore_errors=True)


def write_captions(root: Path, split: Split, rows: Iterable[tuple[str, str]]) -> None:
    """One caption file: a line a caption, with the id of its video.

    Raises:
        WriteError: no permission, a full disk.
    """
    lines = ["VideoID\tEmCaptions", *(f"{video}\t{caption}" for video, caption in rows)]
    write_whole(root / CAPTION_FOLDER / CAPTION_FILES[split], "\n".join(lines) + "\n")


def write_lexicon(folder: Path, lexicon: Lexicon) -> None:
    """The files as EmVidCap names them; the numbers in the names are theirs, not this lexicon's.

    Raises:
        WriteError: no permission, a full disk.
    """
    write_whole(folder / "34_emotion.txt", _lines(lexicon.categories))
    write_whole(folder / "179_words.txt", _lines(lexicon.words))
    for category, words in lexicon.table.items():
        write_whole(folder / WORD_FOLDER / f"{category}.txt", _lines(words))


def write_origin(root: Path, origin: Mapping[str, Any]) -> None:
    """``origin.json``, before the captions: a root whose writing was interrupted can then be replaced.

    Raises:
        WriteError: no permission, a full disk.
    """
    write_whole(root / ORIGIN_FILE, json.dumps(origin, indent=1) + "\n")


def link_videos(root: Path, folder: Path) -> bool:
    """Make ``root/videos`` lead to a folder; False where this system makes no links.

    Raises:
        UsageError: another folder of videos is there.
    """
    link, target = root / VIDEO_FOLDER, folder.resolve()
    if link.resolve() == target:
        return True
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise UsageError(
            "is there, and is not the folder of --videos", path=link, hint="choose another -o, or move it away"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        os.symlink(target, link, target_is_directory=True)  # noqa: PTH211  the target comes first, as in the shell
    except OSError:
        return False
    return True


def _caption_files(root: Path) -> list[Path]:
    return [root / CAPTION_FOLDER / name for name in CAPTION_FILES.values()]


def _lines(words: Sequence[str]) -> str:
    return "".join(f"{word}\n" for word in words)
