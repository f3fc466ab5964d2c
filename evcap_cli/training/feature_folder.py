"""Which HDF5 files of ``--features ROOT`` are which stream. Reading them is ``data/features_hdf5.py``'s business.

A stream is asked for by the name of its files (``clip`` for ``clip_train.hdf5``) or by the name of a backbone: then
files of that name, files that ``evcap extract -o`` wrote with it, and the names under which its features are published
are tried in this order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.backbones.published import PUBLISHED, plain
from evcap_cli.data.features_hdf5 import (
    FOREIGN_VERSION,
    SPLITS,
    SUFFIXES,
    FeatureFiles,
    feature_folders,
    origin,
    stream_name,
)
from evcap_cli.errors import DataError, EvcapError

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind

LISTED: Final = 8
"""Streams that an error names."""


def open_features(
    root: Path, wanted: Mapping[Kind, str], named: Mapping[str, str], aliases: Mapping[str, str]
) -> tuple[FeatureFiles, dict[Kind, str]]:
    """The streams of ``wanted`` that are in ``root``, and those that are not.

    Args:
        root: a folder of feature files, or a data root.
        wanted: kind -> file name or backbone.
        named: those of them that the user asked for one by one: they must be there, and their width is taken as it is.
        aliases: video -> another key it may have.

    Raises:
        DataError: no such folder; no appearance stream, or not one that was asked for by name; a file that cannot be
            used; another width than the backbone of that name has.
    """
    if not root.is_dir():
        raise DataError("no such folder", path=root, hint="give the folder of the .hdf5 files with --features")
    files: dict[Kind, list[Path]] = {}
    missing: dict[Kind, str] = {}
    for kind, name in wanted.items():
        found = _stream_files(root, kind, name)
        if found:
            files[kind] = found
        elif kind in named or kind == "appearance":
            raise DataError(
                f"no {kind} features called {name} here (looked for {_file_name(name)}_<split>.hdf5)",
                path=root,
                hint=_there(root, kind),
            )
        else:
            missing[kind] = name
    opened = FeatureFiles(files, aliases=aliases)
    for kind in files.keys() - named.keys():
        _check_width(opened, kind, wanted[kind])
    return opened, missing


def _stream_files(root: Path, kind: Kind, name: str) -> list[Path]:
    """The files of one stream, those of the training splits first."""
    paths = _hdf5_files(root)
    exact = [path for path in paths if stream_name(path) == _file_name(name)]
    if exact:
        return exact
    ours = [path for path in paths if origin(path) == (kind, name)]
    if ours:
        return ours
    published = {plain(name), *PUBLISHED.get(name, ())}
    return [path for path in paths if plain(stream_name(path)) in published]


def _hdf5_files(root: Path) -> list[Path]:
    """All of them, folder by folder, training splits before test, whole files last."""

    def order(path: Path) -> tuple[int, str]:
        split = path.stem.rpartition("_")[2]
        return (SPLITS.index(split) if split in SPLITS else len(SPLITS), path.name)

    return [
        path
        for folder in feature_folders(root)
        for path in sorted((p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file()), key=order)
    ]


def _there(root: Path, kind: Kind) -> str:
    names = list(dict.fromkeys(stream_name(path) for path in _hdf5_files(root)))
    if not names:
        return "there is no .hdf5 file here or in its features folders"
    shown = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
    return f"there are: {shown}; name one with --{kind}"


def _check_width(files: FeatureFiles, kind: Kind, name: str) -> None:
    """See that features that go by a backbone's name have its width; a backbone that is not installed tells none."""
    from evcap_cli.backbones.loading import make_backbone

    record = files.backbones[kind]
    if record["version"] != FOREIGN_VERSION:
        return
    try:
        dim = make_backbone(kind, name, {}).spec.dim
    except EvcapError:
        return
    if record["dim"] != dim:
        raise DataError(
            f"{kind} features are {record['dim']} wide, those of {name} are {dim}",
            path=files.files[kind][0],
            hint=f"to train on them as they are, name them: --{kind} {record['name']}",
        )


def _file_name(address: str) -> str:
    """``clip:ViT-L-14/openai`` as ``evcap extract -o DIR/`` names its file."""
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in address)
