"""Which HDF5 files of ``--features ROOT`` are which stream; ``data/features_hdf5.py`` reads them.

A file that evcap wrote says of which backbone it is, so it is found without a name. Any other is named, by the name of
its files (``CLIP`` for ``CLIP_train.hdf5``) or by a backbone whose features are published under that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.backbones.contract import KINDS
from evcap_cli.console import listed
from evcap_cli.data.features_hdf5 import FOREIGN_VERSION, FeatureFiles, origin
from evcap_cli.data.features_layout import all_feature_files, file_name
from evcap_cli.data.published_backbones import PUBLISHED_NAMES, plain
from evcap_cli.errors import DataError, EvcapError

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.training.recipe import Recipe

LISTED: Final = 8
"""Streams that an error names."""


class FeatureFolder:
    """The feature files of a folder or of a data root.

    Args:
        root: the folder.

    Attributes:
        streams: name of a stream -> its files, those of the training splits first.
        written: kind -> backbone -> files that evcap wrote with it.

    Raises:
        DataError: no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError("no such folder", path=root, hint="give the folder of the .hdf5 files with --features")
        self.root = root
        self.streams = all_feature_files(root)
        self.written: dict[Kind, dict[str, list[Path]]] = {}
        for path in (path for paths in self.streams.values() for path in paths):
            found = origin(path)
            if found is not None:
                self.written.setdefault(found[0], {}).setdefault(found[1], []).append(path)

    def completed(self, addresses: Mapping[Kind, str], recipe: Recipe) -> dict[Kind, str]:
        """``addresses`` with the backbones of the other streams that the recipe reads and evcap wrote.

        Raises:
            DataError: there is no appearance stream, or files of two backbones could serve as one stream.
        """
        found = {**{kind: next(iter(backbones)) for kind, backbones in self.written.items()}, **addresses}
        if "appearance" not in found:
            raise self._without("appearance", "here")
        for kind in recipe.read(found):
            if kind not in addresses and len(self.written[kind]) > 1:
                (one, first), (other, second), *_ = self.written[kind].items()
                raise DataError(
                    f"{first[0].name} and {second[0].name} both hold {kind} features",
                    path=self.root,
                    hint=f"name one of them: --{kind} {one} or --{kind} {other}",
                )
        return {kind: found[kind] for kind in KINDS if kind in found}

    def files(self, kind: Kind, name: str) -> list[Path]:
        """The files of a stream: of that name, else written with that backbone, else published under its names."""
        if file_name(name) in self.streams:
            return self.streams[file_name(name)]
        ours = self.written.get(kind, {}).get(name)
        published = {plain(name), *PUBLISHED_NAMES.get(name, ())}
        return ours or [path for stream, paths in self.streams.items() if plain(stream) in published for path in paths]

    def open(
        self, wanted: Mapping[Kind, str], named: Mapping[str, str], aliases: Mapping[str, str]
    ) -> tuple[FeatureFiles, dict[Kind, str]]:
        """The streams of ``wanted`` that are here, and those that are not.

        Args:
            wanted: kind -> file name or backbone.
            named: those of them that the user named one by one: they must be here, and their width is taken as it is.
            aliases: video -> another key it may have.

        Raises:
            DataError: no appearance stream, or not one that was named; a file that cannot be used; another width than
                the backbone of that name has.
        """
        files: dict[Kind, list[Path]] = {}
        missing: dict[Kind, str] = {}
        for kind, name in wanted.items():
            found = self.files(kind, name)
            if found:
                files[kind] = found
            elif kind in named or kind == "appearance":
                raise self._without(kind, f"called {name} here (searched for {file_name(name)}_<split>.hdf5)")
            else:
                missing[kind] = name
        opened = FeatureFiles(files, aliases=aliases)
        for kind in files.keys() - named.keys():
            _check_width(opened, kind, wanted[kind])
        return opened, missing

    def _without(self, kind: str, where: str) -> DataError:
        there = f"there are: {listed(list(self.streams), LISTED)}; name one with --{kind}"
        hint = there if self.streams else "there is no .hdf5 file here or in its features folders"
        return DataError(f"no {kind} features {where}", path=self.root, hint=hint)


def _check_width(files: FeatureFiles, kind: Kind, name: str) -> None:
    """See that features that go by a backbone's name have its width, where that backbone is installed."""
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
