"""Near-duplicate videos across the splits of a data root, for ``evcap data check``: where their features come from.

``features/near_duplicates.py`` compares them. Features are those of a backbone that the user names (from the cache,
else extracted), or of feature files that are there anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.backbones.contract import Kind
from evcap_cli.console import counted, listed
from evcap_cli.errors import UsageError

if TYPE_CHECKING:
    from evcap_cli.data.features_hdf5 import FeatureFiles
    from evcap_cli.features.near_duplicates import NearDuplicate
    from evcap_cli.features.options import FeatureOptions
    from evcap_cli.training.feature_sources import FeatureSource

COMPARED: Final[tuple[Kind, ...]] = ("appearance", "motion")
LEAST_VIDEOS: Final = 20
"""Fewer training videos do not say what distance is usual: ``LEAST_CLIPS`` of ``features/familiarity.py``, which brings
torch along."""
_NAMED: Final = 5


@dataclass(frozen=True)
class NearDuplicates:
    """Videos of the two splits that look the same.

    Args:
        by: what was compared, for people.
        train, test: videos of each split that were compared.
        pairs: training video, test video, and their distance in parts of the usual one. None: too few to compare.
    """

    by: str
    train: int
    test: int
    pairs: Sequence[tuple[str, str, float]] | None


def by_backbone(
    options: FeatureOptions, videos: Mapping[str, Path], train: Sequence[str], test: Sequence[str]
) -> NearDuplicates:
    """Compare by appearance and motion, as far as ``options`` name them.

    Args:
        options: with a preset or backbones.
        videos: video -> its file; those without are left out.
        train: videos of the training split.
        test: videos of the other.

    Raises:
        UsageError: no appearance backbone. PluginError, WeightsError: a backbone cannot be loaded.
    """
    from evcap_cli.features.building import backbones_of, build_pipeline
    from evcap_cli.training.feature_sources import PipelineSource

    addresses = options.addresses()
    if "appearance" not in addresses:
        raise UsageError("near-duplicates are found by appearance", hint="name a preset, such as --backbone lite")
    read = replace(options, backbone=None, backbones={kind: addresses[kind] for kind in COMPARED if kind in addresses})
    by = f"{' and '.join(read.backbones.values())} features"
    known, new = ([video for video in split if video in videos] for split in (train, test))
    if len(known) < LEAST_VIDEOS or not new:
        return NearDuplicates(by, len(known), len(new), None)
    source = PipelineSource(build_pipeline(read, backbones_of(read)), videos)
    return _compared(source, known, new, by)


def by_files(files: FeatureFiles, train: Sequence[str], test: Sequence[str]) -> NearDuplicates | None:
    """Compare by the appearance and motion of feature files; None where they are surrogates, or of too few videos.

    Args:
        files: with an appearance stream.
        train: videos of the training split.
        test: videos of the other.
    """
    from evcap_cli.data.features_layout import surrogate_kinds

    if surrogate_kinds(files.backbones):
        return None
    known, new = ([video for video in split if files.has(video)] for split in (train, test))
    if len(known) < LEAST_VIDEOS or not new:
        return None
    names = " and ".join(str(record["name"]) for kind, record in files.backbones.items() if kind in files.files)
    return _compared(files, known, new, f"{names} features of files")


def _compared(source: FeatureSource, train: Sequence[str], test: Sequence[str], by: str) -> NearDuplicates:
    from evcap_cli.features.familiarity import Means
    from evcap_cli.features.near_duplicates import near_duplicates

    means = Means({*train, *test})
    for _ in means.collect(source.read(list(dict.fromkeys([*train, *test])))):
        pass
    known, new = means.named(train), means.named(test)
    found = near_duplicates(known, new)
    return NearDuplicates(by, len(known), len(new), None if found is None else [_plain(pair) for pair in found])


def _plain(pair: NearDuplicate) -> tuple[str, str, float]:
    return pair.train, pair.test, round(pair.distance, 4)


def duplicates_line(found: NearDuplicates) -> str:
    """What was compared and found, for people."""
    compared = f"{counted(found.test, 'test video')} and {counted(found.train, 'training video')} by {found.by}"
    if found.pairs is None:
        return f"too few to say which look the same: {compared}"
    return f"{counted(len(found.pairs), 'test video')} nearly a training video, of {compared}"


def duplicates_advice(found: NearDuplicates, same_bytes: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """What to do about test videos that look like training videos; None where there is none.

    Args:
        found: by features.
        same_bytes: pairs that are named already.
    """
    known = {test for _, test in same_bytes}
    pairs = [f"{test} looks like {train}" for train, test, _ in found.pairs or () if test not in known]
    if not pairs:
        return None
    seems = counted(len(pairs), "test video seems", "test videos seem")
    return (
        f"{seems} to be a training video saved again, by its features: {listed(pairs, _NAMED)}",
        "look at both, and remove one of them where it is so",
    )
