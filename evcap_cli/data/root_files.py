"""Writing a data root in EmVidCap's layout: caption files, lexicon, clips, and where it comes from.

``emvidcap.py`` reads it. The demo world writes its lexicon by the same function.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, Final

from evcap_cli.data.emvidcap import TEST_FILE, TRAIN_FILE
from evcap_cli.data.lexicon import WORD_FOLDER, Lexicon
from evcap_cli.data.origins import ORIGIN_FILE, read_origin
from evcap_cli.data.parts import Split
from evcap_cli.errors import DataError, UsageError
from evcap_cli.files import write_pieces, write_whole
from evcap_cli.paths import LONGEST_NAME_BYTES, is_hidden

CAPTION_FOLDER: Final = Path("data", "EmVidCap-L")
LEXICON_FOLDER: Final = Path("EmotionEval")
VIDEO_FOLDER: Final = "videos"
CAPTION_FILES: Final[Mapping[Split, str]] = {"train": TRAIN_FILE, "test": TEST_FILE}


def check_root(root: Path, made_by: str, *, overwrite: bool) -> None:
    """See that a root can be written: nothing is there, or what the same command did not write to its end, or with
    ``overwrite`` an earlier one of the same command.

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
    if origin is not None and origin.made_by == made_by and origin.unfinished:
        return
    if origin is None or origin.made_by != made_by:
        raise UsageError(f"holds a data set that {made_by} did not write", path=root, hint="choose another -o")
    if not overwrite:
        raise UsageError("holds a data set", path=root, hint="replace it with --overwrite, or choose another -o")


def begin_root(root: Path, made_by: str) -> None:
    """Remove captions and lexicon of an earlier root; videos and what else is there stay.

    Until ``write_origin`` the root says that it is not complete, and the same command may write it again.

    Raises:
        WriteError: no permission, a full disk.
    """
    write_origin(root, {"made_by": made_by, "unfinished": True})
    for path in _caption_files(root):
        path.unlink(missing_ok=True)
    shutil.rmtree(root / LEXICON_FOLDER, ignore_errors=True)


def write_captions(root: Path, split: Split, rows: Iterable[tuple[str, str]]) -> None:
    """One caption file: a line a caption, with the id of its video.

    Raises:
        WriteError: no permission, a full disk.
    """
    lines = (f"{video}\t{caption}\n" for video, caption in rows)
    write_pieces(root / CAPTION_FOLDER / CAPTION_FILES[split], chain(["VideoID\tEmCaptions\n"], lines))


def check_lexicon(lexicon: Lexicon, path: str | Path) -> None:
    """See that a lexicon can be written as word lists: one of a checkpoint is not trusted.

    Raises:
        DataError: a category cannot be the name of a file, or a word be a line.
    """
    for category in lexicon.categories:
        long = len(f"{category}.txt".encode()) > LONGEST_NAME_BYTES
        if long or is_hidden(category) or PurePath(category).name != category or not category.isprintable():
            raise DataError(f"the lexicon's category {category[:60]!r} cannot be the name of a word list", path=path)
    for word in lexicon.words:
        if not word.isprintable():
            raise DataError(f"the lexicon's word {word[:60]!r} is no line of a word list", path=path)


def write_lexicon(folder: Path, lexicon: Lexicon) -> None:
    """The files as EmVidCap names them; the numbers in the names are theirs, not this lexicon's.

    Raises:
        DataError: a category cannot be the name of a file, or a word be a line: nothing is written.
        WriteError: no permission, a full disk.
    """
    check_lexicon(lexicon, folder)
    write_whole(folder / "34_emotion.txt", _lines(lexicon.categories))
    write_whole(folder / "179_words.txt", _lines(lexicon.words))
    for category, words in lexicon.table.items():
        write_whole(folder / WORD_FOLDER / f"{category}.txt", _lines(words))


def write_origin(root: Path, origin: Mapping[str, Any]) -> None:
    """``origin.json``, which is written last and ends what ``begin_root`` began.

    Raises:
        WriteError: no permission, a full disk.
    """
    write_whole(root / ORIGIN_FILE, json.dumps(origin, indent=1) + "\n")


def check_link(root: Path, folder: Path) -> None:
    """See that ``link_videos`` can make ``root/videos`` lead to a folder.

    Raises:
        UsageError: another folder of videos is there.
    """
    link = root / VIDEO_FOLDER
    if link.exists() and not link.is_symlink() and link.resolve() != folder.resolve():
        raise UsageError(f"is there, and is not {folder}", path=link, hint="choose another -o, or move it away")


def link_videos(root: Path, folder: Path) -> bool:
    """Make ``root/videos`` lead to a folder; False where this system makes no links.

    Raises:
        UsageError: another folder of videos is there.
    """
    link, target = root / VIDEO_FOLDER, folder.resolve()
    if link.resolve() == target:
        return True
    check_link(root, folder)
    if link.is_symlink():
        link.unlink()
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
