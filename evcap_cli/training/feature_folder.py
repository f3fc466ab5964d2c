"""Which HDF5 files of ``--features ROOT`` are which stream. Reading them is ``data/features_hdf5.py``'s business.

A stream is asked for by the name of its files (``clip`` for ``clip_train.hdf5``) or by the name of a backbone: then
files of that name, files that ``evcap extract -o`` wrote with it, and the names under which its features are published
are tried in this order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.data.features_hdf5 import FOREIGN_VERSION, FeatureFiles, origin
from evcap_cli.data.features_layout import all_feature_files, file_name
from evcap_cli.data.published_backbones import PUBLISHED, plain
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
    streams = all_feature_files(root)
    files: dict[Kind, list[Path]] = {}
    missing: dict[Kind, str] = {}
    for kind, name in wanted.items():
        found = _stream_files(streams, kind, name)
        if found:
            files[kind] = found
        elif kind in named or kind == "appearance":
            raise DataError(
                f"no {kind} features called {name} here (looked for {file_name(name)}_<split>.hdf5)",
                path=root,
                hint=_there(streams, kind),
            )
        else:
            missing[kind] = name
    opened = FeatureFiles(files, aliases=aliases)
    for kind in files.keys() - named.keys():
        _check_width(opened, kind, wanted[kind])
    return opened, missing


def _stream_files(streams: Mapping[str, list[Path]], kind: Kind, name: str) -> list[Path]:
    """The files of one stream, those of the training splits first."""
    if file_name(name) in streams:
        return streams[file_name(name)]
    ours = [path for paths in streams.values() for path in paths if origin(path) == (kind, name)]
    published = {plain(name), *PUBLISHED.get(name, ())}
    return ours or [path for stream, paths in streams.items() if plain(stream) in published for path in paths]


def _there(streams: Mapping[str, list[Path]], kind: Kind) -> str:
    if not streams:
        return "there is no .hdf5 file here or in its features folders"
    shown = ", ".join(list(streams)[:LISTED]) + (", ..." if len(streams) > LISTED else "")
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
