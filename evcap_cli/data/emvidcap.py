"""EmVidCap as users have it: caption files, lexicon and videos in an EPAN checkout, or in a folder with parts of one.

The demo world writes the same layout. Nothing of the data set is in here. ``caption_files.py`` reads a
caption file, ``video_files.py`` finds the video of an id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from evcap_cli.console import counted, listed
from evcap_cli.data.caption_files import CaptionFile, decoded_lines, read_captions
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.origins import check_finished, labels_of, together
from evcap_cli.data.parts import PARTS, Part, Split, Subset
from evcap_cli.data.video_files import bare, match_videos
from evcap_cli.errors import DataError
from evcap_cli.media.listed_segments import ListedClip, ListedClips
from evcap_cli.reading.text import read_bytes

__all__ = ["CaptionFile", "DataRoot", "bare", "find_captions", "hold_out", "match_videos", "read_captions"]

TRAIN_FILE: Final = "EmVideo_trainval_captions.csv"
TEST_FILE: Final = "EmVideo_test_captions.csv"
MAPPING_FILE: Final = "youtube_mapping.txt"
DEPTH: Final = 3
"""Parts lie at most this many folders below a root: data/EmVidCap-L/ in a checkout, itself in a folder perhaps."""
_SPLITS: Final[dict[Split, str]] = {"train": TRAIN_FILE, "test": TEST_FILE}
_PART_NAME: Final = re.compile(r"(?:EmVidCap|EmVideo|EVC)[-_ ]?(?:(L|VE)|(S|MSVD))\b", re.IGNORECASE)
"""In the name of a folder: EmVidCap-L, dataset_v1(EmVideo-S), EVC-MSVD."""
_MSVD_CLIPS: Final = 1970
"""MSVD's clips are numbered from vid1 to this; ids of the L part have five digits."""

HOW_TO_GET = (
    "EmVidCap comes from its authors after an agreement (github.com/Tongji-MIC-Lab/EmVidCap); "
    "give its folder with --data or EVCAP_DATA, or make a demo data set with `evcap demo-world DIR`"
)


@dataclass
class DataRoot:
    """A data set: captions of both splits, the lexicon, and what to warn of.

    Args:
        train: captions by video, training and validation together. test: the same of the test split (may be empty).
        aliases: video -> other stems its file may have (MSVD's clip names).
        files: what was read, by part and split.
        clips: what ``clips.jsonl`` lists, by id.
        labels_by: the captioner that wrote the captions; empty where people did.
    """

    root: Path
    subset: Subset
    train: dict[str, list[str]]
    test: dict[str, list[str]]
    lexicon: Lexicon
    aliases: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    files: dict[tuple[Part, Split], CaptionFile] = field(default_factory=dict)
    clips: Mapping[str, ListedClip] = field(default_factory=dict)
    labels_by: str = ""

    @classmethod
    def open(cls, root: Path, subset: Subset = "L") -> DataRoot:
        """Find and read the parts below ``root``. A subset that is not there falls back to the one that is.

        Raises:
            DataError: no folder, no caption file, a file that cannot be read.
        """
        found = find_captions(root)
        check_finished(root)
        parts = requested_parts(found, subset)
        opened = cls(root, subset, {}, {}, root_lexicon(root), clips=ListedClips.of_root(root).clips)
        for part in PARTS:
            if subset in (part, "both") and part not in found:
                opened.warnings.append(f"{root}: no EmVidCap-{part} here; EmVidCap-{parts[0]} is used")
        names = msvd_names(root) if "S" in parts else {}
        for part in parts:
            for split, path in found[part].items():
                opened.files[part, split] = read_captions(path)
        opened.warnings += [warning for file in opened.files.values() for warning in file.warnings]
        opened.labels_by = together(labels_of(file.path) for file in opened.files.values())
        opened.train, opened.test, opened.aliases, clashes = joined(opened.files, names)
        opened.warnings += clashes
        if not opened.lexicon.official:
            opened.warnings.append(f"the lexicon is {opened.lexicon.name!r}, not EmVidCap's own")
        twice = in_both_splits(opened.train, opened.test)
        if twice:
            opened.warnings.append(
                f"{counted(len(twice), 'test video')} also in the training split: {listed(twice, 3)}"
            )
        return opened

    @property
    def segment_files(self) -> dict[str, str]:
        """The file of each clip that is a part of one."""
        return {name: clip.file for name, clip in self.clips.items() if clip.start is not None}

    def videos(self, folder: Path) -> dict[str, Path]:
        """Files of the videos of both splits, found anywhere below ``folder``; missing ones are left out.

        Raises:
            DataError: no such folder.
        """
        return match_videos([*self.train, *self.test], folder, self.aliases, self.clips)


def find_captions(root: Path) -> dict[Part, dict[Split, Path]]:
    """Part -> split -> caption file, of those parts that are there; the nearest to the root where there are several.

    Raises:
        DataError: no such folder, no caption file in it.
    """
    if not root.is_dir():
        raise DataError("no such data root", path=root, hint=HOW_TO_GET)
    found: dict[Part, dict[Split, Path]] = {}
    for split, name in _SPLITS.items():
        for path in below(root, name):
            found.setdefault(_part_of(path), {}).setdefault(split, path)
    if not found:
        raise DataError(
            f"neither {TRAIN_FILE} nor {TEST_FILE} found in this folder or below", path=root, hint=HOW_TO_GET
        )
    return {part: found[part] for part in PARTS if part in found}


def requested_parts(found: Mapping[Part, object], subset: Subset) -> list[Part]:
    """The parts that ``subset`` means, of those that were found; the first one found where it means none of them."""
    return [part for part in found if subset in (part, "both")] or list(found)[:1]


def below(root: Path, name: str) -> list[Path]:
    """Files called ``name`` in a root and at most ``DEPTH`` folders below it, the nearest first."""
    return [path for depth in range(DEPTH + 1) for path in sorted(root.glob("*/" * depth + name)) if path.is_file()]


def _part_of(path: Path) -> Part:
    """The part a caption file belongs to: that of the nearest folder that names one, else by its ids."""
    for folder in path.absolute().parents:
        named = _PART_NAME.search(folder.name)
        if named:
            return "L" if named[1] else "S"
    try:
        lines = decoded_lines(read_bytes(path))[0]
    except DataError:
        return "L"  # the error comes when it is read again
    ids = {line.partition(",")[0].strip(' "') for _, line in lines[1:]}
    commas = bool(lines) and "\t" not in lines[0][1]
    numbers = [int(bare(name)) if bare(name).isdecimal() else 0 for name in ids]
    return "S" if commas and ids and all(0 < number <= _MSVD_CLIPS for number in numbers) else "L"


def joined(
    files: Mapping[tuple[Part, Split], CaptionFile], names: Mapping[str, str]
) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, str], list[str]]:
    """Captions of several parts together: those of train and test, aliases of S videos, warnings.

    An id that both parts use for two videos goes to L; the S video takes its MSVD clip's name, or is left out where
    there is none.

    Args:
        files: by part and split.
        names: S id without "vid" -> MSVD clip name.
    """
    splits: dict[Split, dict[str, list[str]]] = {"train": {}, "test": {}}
    aliases: dict[str, str] = {}
    warnings: list[str] = []
    taken = {bare(video) for (part, _), file in files.items() if part == "L" for video in file.captions}
    for (part, split), file in files.items():
        for video, captions in file.captions.items():
            if part == "L" or bare(video) not in taken:
                splits[split][video] = captions
                if part == "S" and bare(video) in names:
                    aliases[video] = names[bare(video)]
            elif bare(video) in names:
                splits[split][names[bare(video)]] = captions
            else:
                warnings.append(
                    f"{file.path}: {video} is another video in EmVidCap-L and was left out; "
                    f"add MSVD's {MAPPING_FILE}, which distinguishes them"
                )
    return splits["train"], splits["test"], aliases, warnings


def in_both_splits(train: Iterable[str], test: Iterable[str]) -> list[str]:
    """Test videos that are in the training split too, with or without "vid" (vid80703 in EmVidCap-L)."""
    trained = {bare(video) for video in train}
    return sorted(video for video in test if bare(video) in trained)


def root_lexicon(root: Path) -> Lexicon:
    """The lexicon of a data root, or evcap's general one where it has none.

    Raises:
        DataError: it has one that cannot be read.
    """
    try:
        return Lexicon.from_folder(root)
    except DataError as problem:
        if problem.path is not None and Path(problem.path) != root:
            raise
        return Lexicon.general()


def msvd_names(root: Path) -> dict[str, str]:
    """Id without "vid" -> MSVD clip name, from ``youtube_mapping.txt`` lines "<clip> vid<N>".

    Raises:
        DataError: the file cannot be read.
    """
    for path in below(root, MAPPING_FILE):
        lines = decoded_lines(read_bytes(path, hint="check its permissions"))[0]
        pairs = (line.split() for _, line in lines)
        return {bare(pair[1]): pair[0] for pair in pairs if len(pair) == 2}
    return {}


def hold_out(videos: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split videos into training and validation, the same way for the same seed whatever their order.

    At least one video is held out and one kept where ``share`` is above 0 and there are two.
    """
    import numpy as np

    ordered = sorted(set(videos))
    count = min(max(round(share * len(ordered)), 1), len(ordered) - 1) if share > 0 else 0
    drawn = set(np.random.default_rng([seed, len(ordered)]).permutation(len(ordered))[:count].tolist())
    validation = [video for number, video in enumerate(ordered) if number in drawn]
    return [video for number, video in enumerate(ordered) if number not in drawn], validation
