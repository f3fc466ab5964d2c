"""What a person types as a path, and the folders it leads to: the home folder, links, loops of links.

Shells expand ``~`` only where a word begins with it: not in ``--cache-dir=~/x``, in a file or in the environment. What
a path stands for is decided here, so that every command, list and setting means the same by it.
"""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from evcap_cli.errors import UsageError

VIDEO_SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mpe", ".m2v", ".ts", ".mts", ".m2ts"),
        *(".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm", ".vob", ".mxf", ".divx", ".rm", ".rmvb"),
        ".gif",
    }
)
"""What a search of a folder finds; a file named on the command line is taken whatever its suffix."""
SYSTEM_FOLDERS: Final = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN"})
"""At the root of a volume, closed to users and never meant by them: a search of the whole volume passes them by."""
LONGEST_NAME_BYTES: Final = 255
LONGEST_SHOWN: Final = 100


def expanded(text: str) -> str:
    """``text`` with the home folder in place of a leading ``~`` or ``~name``; ``./~`` names a file called so."""
    return os.path.expanduser(text)  # noqa: PTH111  Path.expanduser raises where there is no such user


def can_be_named(text: str) -> bool:
    """Whether a file may have this name: the system takes a name of this length, and no zero byte is in it."""
    if any(len(os.fsencode(part)) > LONGEST_NAME_BYTES for part in Path(text).parts):
        return False  # the system does not say so where a folder before it is missing
    try:
        os.lstat(text)
    except ValueError:
        return False
    except OSError as problem:
        return problem.errno != errno.ENAMETOOLONG
    return True


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is there; False where the system does not say, whereas ``Path.is_dir`` raises."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file is there; False where the system does not say, whereas ``Path.is_file`` raises."""
    return os.path.isfile(path)  # noqa: PTH113


def shown(text: str) -> str:
    """``text`` for a message: the beginning, where it is longer than any name."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def name_key(name: str) -> str:
    """What names have in common that people take for the same: é is one letter, or e with an accent.

    macOS and what was copied from it has the second form, most else the first. Ids are compared by it everywhere.
    """
    return unicodedata.normalize("NFC", name)


def is_hidden(name: str) -> bool:
    """Whether a search passes a name by; "._clip.mp4" is what macOS leaves next to a copied clip."""
    return name.startswith(".")


def is_video_name(name: str) -> bool:
    """Whether a search of a folder takes a file of this name for a video."""
    return not is_hidden(name) and Path(name).suffix.lower() in VIDEO_SUFFIXES


def walk(root: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """A folder and all below it, linked folders too: each with the sorted names of its folders and files.

    A link to one of the folders that lead to it is passed by, so that every walk ends. Hidden and system folders are
    passed by as well.

    Args:
        root: where to begin.
        on_error: gets what the system says of a folder that cannot be read; by default it is left out.
    """
    top = os.fspath(root)
    above: dict[str, tuple[object, ...]] = {top: (file_identity(top),)}
    for folder, below, names in os.walk(top, onerror=on_error, followlinks=True):
        chain = above.pop(folder)
        kept: list[str] = []
        for name in sorted(below):
            path = os.path.join(folder, name)  # noqa: PTH118  as os.walk names it
            identity = file_identity(path)
            if not is_hidden(name) and name not in SYSTEM_FOLDERS and identity not in chain:
                kept.append(name)
                above[path] = (*chain, identity)
        below[:] = kept
        yield Path(folder), list(kept), sorted(names)


def files_below(root: Path, on_error: Callable[[OSError], None]) -> Iterator[os.DirEntry[str]]:
    """The files of ``walk``, one at a time and in no order: a folder of a million files takes no memory.

    Args:
        root: where to begin.
        on_error: gets what the system says of a folder that cannot be read.
    """
    top = os.fspath(root)
    left: list[tuple[str, tuple[object, ...]]] = [(top, (file_identity(top),))]
    while left:
        folder, chain = left.pop()
        below: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _is_folder(entry):
                        below.append(entry.name)
                    else:
                        yield entry
        except OSError as problem:
            on_error(problem)
        for name in sorted(below, reverse=True):
            path = os.path.join(folder, name)  # noqa: PTH118  as os.scandir names it
            identity = file_identity(path)
            if not is_hidden(name) and name not in SYSTEM_FOLDERS and identity not in chain:
                left.append((path, (*chain, identity)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def file_identity(path: str) -> object:
    """What two names of one file or folder have in common; ``repr`` of it is as good."""
    try:
        status = os.stat(path)  # noqa: PTH116  called for every folder of a search
    except (OSError, ValueError):
        return path
    # some file systems number nothing
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def check_output_name(path: Path) -> None:
    """See that a file can have this name.

    Raises:
        UsageError: it is too long.
    """
    if not can_be_named(os.fspath(path)):
        raise UsageError("this name is too long for a file", path=shown(str(path)), hint="choose another -o")
