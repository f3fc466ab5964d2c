"""``evcap data surrogate -o FOLDER``: surrogate features of a data root, in the layout of published ones.

``FOLDER/surrogate-<kind>_<split>.hdf5``; each names itself a surrogate in its name, in the record of its backbone and
in an attribute of its own. Videos are written one by one, and the files appear together at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli import console
from evcap_cli.data.caption_text import tokens
from evcap_cli.data.features_layout import SURROGATE, SURROGATE_NOTE, key_of
from evcap_cli.data.surrogate import KINDS, SurrogateMaker, SurrogateSettings, backbone_records
from evcap_cli.data.word_classes import WordClass, WordClasses
from evcap_cli.errors import DataError, WriteError
from evcap_cli.output.features_hdf5 import ExportPlan, FeatureExport

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.data.emvidcap import DataRoot

ATTRIBUTE: Final = "surrogate"
"""Attribute of a file: in words, that no video was read."""
SAMPLING: Final = "moments"


@dataclass(frozen=True)
class SurrogateFiles:
    """What was written.

    Args:
        files: in the order of splits and streams.
        videos: by split.
        words: by class, of all captions.
    """

    files: Sequence[Path]
    videos: Mapping[str, int]
    words: Mapping[WordClass, int]


def surrogate_paths(folder: Path, split: str) -> dict[Kind, Path]:
    """The files of one split."""
    return {kind: folder / f"{SURROGATE}{kind}_{split}.hdf5" for kind in KINDS}


def write_surrogates(
    root: DataRoot, folder: Path, settings: SurrogateSettings, *, overwrite: bool = False
) -> SurrogateFiles:
    """Make and write the features of all videos that ``root`` has captions of.

    Args:
        root: read; a split without captions gets no file.
        folder: made where missing.
        settings: how hard the features are to read.
        overwrite: replace files that are there.

    Raises:
        DataError: a video's id cannot be a key in HDF5.
        WriteError: files are there, no permission, a full disk; what was there before is untouched.
    """
    splits = {split: _by_key(root, videos) for split, videos in (("train", root.train), ("test", root.test)) if videos}
    plans = {split: ExportPlan(surrogate_paths(folder, split), list(videos)) for split, videos in splits.items()}
    # another root may have had a split that this one lacks: its file must not stay next to the new ones
    paths = [path for split in ("train", "test") for path in surrogate_paths(folder, split).values()]
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise WriteError("is there already", path=there[0], hint="choose another folder, or replace it by --overwrite")
    for plan in plans.values():
        plan.check_writable()
    classes = _classes(root)
    maker = SurrogateMaker(classes, settings)
    records = backbone_records(settings, splits, root.lexicon)
    total = sum(map(len, splits.values()))
    with ExitStack() as stack, console.progress(total, "making surrogates") as bar:
        exports = {
            split: stack.enter_context(FeatureExport(plan, records, SAMPLING, notes={ATTRIBUTE: SURROGATE_NOTE}))
            for split, plan in plans.items()
        }
        for split, videos in splits.items():
            for number, (key, captions) in enumerate(videos.items()):
                exports[split].add(number, maker.features(key, captions))
                bar.advance()
        for export in exports.values():
            export.commit()
    written = [path for plan in plans.values() for path in plan.files.values()]
    for stale in set(there) - set(written):
        stale.unlink(missing_ok=True)
    return SurrogateFiles(written, {split: len(videos) for split, videos in splits.items()}, classes.counts())


def _by_key(root: DataRoot, videos: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Captions by the key that published files have, in sorted order: the order of rows in a csv changes nothing."""
    found: dict[str, list[str]] = {}
    for video, captions in videos.items():
        key = key_of(root.aliases.get(video, video))
        if "/" in key or key in (".", ".."):
            raise DataError(f"the id {video!r} cannot be a key in HDF5", path=root.root, hint="rename the video")
        found.setdefault(key, []).extend(captions)
    return dict(sorted(found.items()))


def _classes(root: DataRoot) -> WordClasses:
    """Learned on the training captions; the test captions only add the words that those lack."""
    train, test = (
        [tokens(text, None) for texts in part.values() for text in texts] for part in (root.train, root.test)
    )
    return WordClasses.learn(train, root.lexicon).extended(test)
