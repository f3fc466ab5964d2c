"""The layout of feature files as EPAN and its followers publish them: which there are, and what each holds.

``data/EmVideo-L/features/<name>_<split>.hdf5`` holds a 2-D data set (rows, width) under each video's key: the digits of
an EmVidCap-L id, without "vid", or an MSVD clip's name. Here is what is known without reading a value, and without
torch; ``features_hdf5.py`` reads the rows.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evcap_cli.data.video_files import bare
from evcap_cli.errors import DataError
from evcap_cli.reading.regular import check_regular

SUFFIXES: Final = (".hdf5", ".h5")
SPLITS: Final = ("train", "trainval", "val", "valid", "test")
DAMAGED: Final = "is damaged"
GET_AGAIN: Final = "copy or download it again"
COPY_ROWS: Final = "copy its rows into this file"
NO_LOCK: Final = "unable to lock file"
"""HDF5's words."""
WITHOUT_LOCKS: Final = "set HDF5_USE_FILE_LOCKING=FALSE, and let nothing else write to the file meanwhile"
MOST_NUMBERS: Final = 1 << 28
"""Of one video: what a file claims is read into memory."""
_HELD: Final = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK))
"""What a lock that another process has gives; anything else says that there are no locks."""
SURROGATE: Final = "surrogate-"
"""Names of backbones begin so whose features no video gave (``data/surrogate.py``)."""
SURROGATE_NOTE: Final = (
    "surrogate features: made from the captions of each video, its test captions included, not from a video; "
    "the scores compare systems trained on the same surrogates, never with published numbers or with other features"
)
_DATA_SETS: Final = ("EmVideo-L", "EmVidCap-L", "EmVideo-S", "EmVidCap-S", "MSVD")
_FOLDERS: Final = (
    "",
    "features",
    *(f"{above}{name}/features" for above in ("", "data/", "dataset/") for name in _DATA_SETS),
    "data/features",
)
_SPLIT: Final = re.compile(f"_({'|'.join(SPLITS)})$")


def key_of(video: str) -> str:
    """The key of a video's data set: an EmVidCap-L id loses its "vid", any other name stays."""
    return bare(video)


def stream_name(path: Path) -> str:
    """The name of a file's stream: "clip" for clip_train.hdf5."""
    return _SPLIT.sub("", path.stem)


def file_name(address: str) -> str:
    """``clip:ViT-L-14/openai`` as ``evcap extract -o DIR/`` names its file, without the ending."""
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in address)


def surrogate_kinds(backbones: Mapping[Any, Mapping[str, Any]]) -> list[str]:
    """The streams that are surrogates, by the records of their backbones; empty where videos gave them all."""
    return [str(kind) for kind, record in backbones.items() if str(record["name"]).startswith(SURROGATE)]


def feature_files(root: Path, name: str) -> list[Path]:
    """The files of the stream called ``name``, below a data root or in the folder itself.

    That is ``<name>_<split>.hdf5`` of every split, the training ones first, and ``<name>.hdf5``.

    Raises:
        DataError: there is none; those of other names are listed.
    """
    streams = all_feature_files(root)
    if name not in streams:
        others = [path.name for paths in streams.values() for path in paths]
        hint = f"there are: {', '.join(sorted(others)[:8])}" if others else "give the folder that holds the .hdf5 files"
        raise DataError(f"no {name}_<split>.hdf5 here", path=root, hint=hint)
    return streams[name]


def all_feature_files(root: Path) -> dict[str, list[Path]]:
    """Stream -> its files, below a data root or in the folder itself; of each folder the training splits first."""
    order = [*SPLITS, ""]
    streams: dict[str, list[Path]] = {}
    for folder in (root / name for name in _FOLDERS):
        if not folder.is_dir():
            continue
        found = [
            path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name[0] != "." and path.is_file()
        ]
        for path in sorted(found, key=lambda path: (order.index(_split_of(path)), path.name)):
            streams.setdefault(stream_name(path), []).append(path)
    return dict(sorted(streams.items()))


def _split_of(path: Path) -> str:
    match = _SPLIT.search(path.stem)
    return match[1] if match else ""


@dataclass(frozen=True)
class Entry:
    """One data set of a feature file, not read yet."""

    key: str
    rows: int
    width: int


def opened(path: Path) -> Any:
    """A feature file, open for reading.

    Raises:
        DataError: it is missing, truncated, no HDF5 file, or locked.
    """
    import h5py

    try:
        check_regular(path, hint="name an HDF5 file")
        return h5py.File(path, "r")
    except FileNotFoundError as problem:
        raise DataError("no such feature file", path=path, hint="check the name") from problem
    except OSError as problem:
        raise _not_opened(path, problem) from problem


def _not_opened(path: Path, problem: OSError) -> DataError:
    said = " ".join(str(problem).split())
    if NO_LOCK in said:
        found = re.search(r"errno = (\d+)", said)
        number = problem.errno or (int(found[1]) if found else 0)
        if number in _HELD:
            hint = "close it there; if nothing writes to it any more, set HDF5_USE_FILE_LOCKING=FALSE"
            return DataError("is open in another program", path=path, hint=hint)
        cause = f"cannot be locked ({_reason(number, said)}): its file system has no locks"
        return DataError(cause, path=path, hint=WITHOUT_LOCKS)
    if "already open for write" in said:
        hint = "close it there; if that program is gone: h5clear -s FILE, or extract or copy it again"
        return DataError("is open for writing, or was not closed by what wrote it", path=path, hint=hint)
    if problem.errno in (errno.EACCES, errno.EPERM):
        return DataError(f"cannot be read ({os.strerror(problem.errno)})", path=path, hint="check its permissions")
    cause = "is truncated" if "truncated" in said else "is not an HDF5 file" if "signature" in said else said
    return DataError(cause, path=path, hint=GET_AGAIN)


def _reason(number: int, said: str) -> str:
    return os.strerror(number) if number else said


def own_item(file: Any, key: str, path: Path) -> Any:
    """What a file itself holds under ``key``: nothing else is opened.

    Links, external storage and virtual data sets lead to any file of the machine, a pipe among them.

    Args:
        file: from ``opened``.
        key: of a data set.
        path: of the file.

    Raises:
        DataError: it lies elsewhere.
        OSError, RuntimeError, KeyError, ValueError, TypeError: what h5py raises where the file is damaged.
    """
    import h5py

    linked = not isinstance(file.get(key, h5py.HardLink(), getlink=True), h5py.HardLink)
    item = None if linked else file[key]
    if linked or getattr(item, "external", None) or getattr(item, "is_virtual", False):
        raise DataError(f"{key!r} is a link or lies in another file", path=path, hint=COPY_ROWS)
    return item


def entries(file: Any, path: Path, width: int | None = None) -> Iterator[Entry]:
    """The data sets of an open file, all of one width.

    Args:
        file: from ``opened``.
        path: of it.
        width: the expected one; None: any.

    Raises:
        DataError: it is damaged, of another layout, or of another width.
    """
    try:
        for key in list(file):
            item = own_item(file, key, path)
            if getattr(item, "ndim", None) != 2 or item.dtype.kind not in "fiu":
                raise DataError(f"{key!r} is not a table of numbers", path=path, hint="one 2-D data set a video")
            if item.size > MOST_NUMBERS:
                shape = " x ".join(map(str, item.shape))
                raise DataError(f"{key!r} claims {shape} numbers", path=path, hint="one video's rows are far fewer")
            width = width or item.shape[1]
            if item.shape[1] != width:
                raise DataError(
                    f"{key!r} is {item.shape[1]} wide, {width} is expected",
                    path=path,
                    hint="all features of a stream come from one backbone",
                )
            yield Entry(key, item.shape[0], item.shape[1])
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as problem:
        raise DataError(f"{DAMAGED} ({problem})", path=path, hint=GET_AGAIN) from problem
