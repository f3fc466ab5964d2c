"""Where ``evcap train`` gets its features from, and what it says of them: videos by way of the cache, or HDF5 files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli import console
from evcap_cli.console import counted
from evcap_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.data.features_hdf5 import FeatureFiles
    from evcap_cli.features.options import FeatureOptions
    from evcap_cli.training.feature_sources import PipelineSource
    from evcap_cli.training.recipe import Recipe

NAMED = 3
"""Missing videos that a warning names."""


def from_files(
    folder: Path, addresses: Mapping[Kind, str], named: Mapping[str, str], root: DataRoot, recipe: Recipe
) -> tuple[FeatureFiles, Recipe]:
    """The feature files of a folder that the system reads, and the recipe without the modules that they do not serve.

    Raises:
        DataError: a stream that must be there is not, or a file cannot be used.
    """
    from evcap_cli.data.features_layout import SURROGATE_NOTE, surrogate_kinds
    from evcap_cli.training.feature_folder import open_features

    files, missing = open_features(folder, recipe.read(addresses), named, root.aliases)
    for kind, record in files.backbones.items():
        console.detail(f"{kind}: {record['name']}, {record['dim']} wide, {', '.join(map(str, files.files[kind]))}")
    if surrogate_kinds(files.backbones):
        console.warn(SURROGATE_NOTE)
    fitting, off = recipe.reading(files.backbones)
    if missing or off:
        said = [f"no {' and no '.join(f'{kind} ({name})' for kind, name in missing.items())}"] if missing else []
        said += [f"trained without {' and '.join(off)}"] if off else []
        console.warn(f"{folder}: {'; '.join(said)}")
    return files, fitting


def from_videos(videos: Mapping[str, Path], options: FeatureOptions, addresses: Mapping[Kind, str]) -> PipelineSource:
    """The feature pipeline on the videos, of the backbones in ``addresses``, which the system reads.

    Weights and options may name the others of ``options`` all the same.
    """
    from evcap_cli.features.building import backbones_of, build_pipeline
    from evcap_cli.training.feature_sources import PipelineSource

    unused = {name for address in options.addresses().values() for name in (address, address.partition(":")[0])}
    read = replace(
        options,
        backbone=None,
        backbones={str(kind): address for kind, address in addresses.items()},
        allow_unused=options.allow_unused | unused,
    )
    return PipelineSource(build_pipeline(read, backbones_of(read)), videos)


def tell(root: DataRoot, there: Collection[str], features: Path | None) -> None:
    """Say what there is to train on; ``there`` are the videos that have a file or features.

    Raises:
        DataError: no video of the training split has features. UsageError: none has a file.
    """
    captions = sum(len(several) for several in root.train.values())
    console.info(
        f"{root.root}: {counted(len(root.train), 'video')} with {counted(captions, 'caption')} to train on,"
        f" {len(root.test)} to test on"
    )
    if not any(video in there for video in root.train):
        if features is not None:
            first = next(iter(root.train))
            raise DataError(
                f"none of the {counted(len(root.train), 'training video')} has features here (the first is {first})",
                path=features,
                hint="check --features, --data and --subset",
            )
        raise UsageError(
            "none of the training videos was found", path=root.root, hint="give their folder with --videos"
        )
    missing = [video for video in {**root.train, **root.test} if video not in there]
    if missing:
        names = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        if features is None:
            lacks = counted(len(missing), "video was not found and is", "videos were not found and are")
        else:
            lacks = counted(len(missing), "video has no features and is", "videos have no features and are")
        console.warn(f"{lacks} left out: {names}")


def testable(root: DataRoot, there: Collection[str], *, needed: bool) -> bool:
    """Whether the test split can be scored; says so at the start where it cannot.

    Raises:
        DataError: it cannot, and the choice of the epoch needs it.
    """
    if any(video in there for video in root.test):
        return True
    cause = "the data root has no test split" if not root.test else "no video of the test split is there"
    if needed:
        raise DataError(f"{cause}, which --select oracle needs", path=root.root, hint="use --select cfs")
    console.warn(f"{cause}: nothing will be scored at the end")
    return False
