"""EmVidCap as users have it: caption files, lexicon and videos in an EPAN checkout, or in a folder with parts of one.

The demo world writes the same layout. Nothing of the data set is in here; normalising text is ``text.py``'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import DataError
from evcap_cli.inputs import VIDEO_SUFFIXES

Subset = Literal["L", "S", "both"]
SUBSETS: Final[tuple[Subset, ...]] = get_args(Subset)
TRAIN_FILE: Final = "EmVideo_trainval_captions.csv"
TEST_FILE: Final = "EmVideo_test_captions.csv"
_DEPTH = 3  # caption files lie at most this many folders below a root: data/EmVidCap-L/ in a checkout
_PREFIX = "vid"

HOW_TO_GET = (
    "EmVidCap comes from its authors after an agreement (github.com/Tongji-MIC-Lab/EmVidCap); "
    "give its folder with --data or EVCAP_DATA, or make a demo data set with `evcap demo-world DIR`"
)


@dataclass
class CaptionFile:
    """One caption file, read: captions by video in the order of the file, and what was odd about it."""

    path: Path
    captions: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_captions(path: Path) -> CaptionFile:
    """Read ``VideoID<separator>EmCaptions`` rows; the header tells the separator, quotes never swallow a row.

    Raises:
        DataError: no such file, a header without a separator, a row without one (with its line number).
    """
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise DataError(f"cannot read this caption file ({problem.strerror})", path=path, hint=HOW_TO_GET) from problem
    found = CaptionFile(path)
    lines = _lines(raw, found)
    header = lines[0][1] if lines else ""
    separator = next((mark for mark in ("\t", ",", ";") if mark in header), None)
    if separator is None or "videoid" not in header.split(separator)[0].strip(' "').lower():
        raise DataError(
            f"line 1: the header must be VideoID and EmCaptions with a tab or comma between, not {header[:60]!r}",
            path=path,
            hint="give the caption file as EmVidCap has it",
        )
    for number, line in lines[1:]:
        video, mark, text = line.partition(separator)
        video, caption = video.strip(' "'), _unquoted(text.strip())
        if not mark or not video:
            raise DataError(
                f"line {number}: no {_SPOKEN[separator]} between video and caption: {line[:60]!r}", path=path
            )
        if not caption:
            found.warnings.append(f"{path}: line {number}: the caption is empty and was left out")
            continue
        found.captions.setdefault(video, []).append(caption)
    if not found.captions:
        raise DataError("holds no caption", path=path)
    return found


_SPOKEN = {"\t": "tab", ",": "comma", ";": "semicolon"}


def _lines(raw: bytes, found: CaptionFile) -> list[tuple[int, str]]:
    """Numbered lines that are not blank. Rows end at line feeds only: a caption may hold other breaks."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw[: problem.start].count(b"\n") + 1
        found.warnings.append(f"{found.path}: line {line}: is not UTF-8; read as Latin-1 (save it as UTF-8 to be sure)")
        text = raw.decode("latin-1")
    numbered = enumerate(text.split("\n"), 1)
    return [(number, line.rstrip("\r")) for number, line in numbered if line.strip()]


def _unquoted(text: str) -> str:
    """Undo what a spreadsheet does to a cell with a comma; stray quotes stay and are deleted as punctuation later."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"')
    return text.strip()


@dataclass
class DataRoot:
    """A data set: captions of both splits, the lexicon, and what to warn of.

    Args:
        train: captions by video, training and validation together. test: the same of the test split (may be empty).
        aliases: video -> other stems its file may have (MSVD's clip names).
    """

    root: Path
    subset: Subset
    train: dict[str, list[str]]
    test: dict[str, list[str]]
    lexicon: Lexicon
    aliases: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, root: Path, subset: Subset = "L") -> DataRoot:
        """Find and read the parts below ``root``. A subset that is not there falls back to the one that is.

        Raises:
            DataError: no folder, no caption file, a file that cannot be read.
        """
        if not root.is_dir():
            raise DataError("no such data root", path=root, hint=HOW_TO_GET)
        found = {key: files for key in ("L", "S") if (files := _caption_files(root, key))}
        wanted = [key for key in ("L", "S") if key in found and subset in (key, "both")] or list(found)[:1]
        if not wanted:
            names = f"neither {TRAIN_FILE} nor {TEST_FILE}"
            raise DataError(f"{names} found in this folder or below", path=root, hint=HOW_TO_GET)
        opened = cls(root, subset, {}, {}, _lexicon(root))
        if subset != "both" and wanted != [subset]:
            opened.warnings.append(f"{root}: no EmVidCap-{subset} here; EmVidCap-{wanted[0]} is used")
        for key in wanted:
            for split, path in found[key].items():
                read = read_captions(path)
                opened.warnings.extend(read.warnings)
                (opened.train if split == "train" else opened.test).update(read.captions)
        if "S" in wanted:
            opened.aliases = _msvd_names(root)
        if not opened.lexicon.official:
            opened.warnings.append(f"the lexicon is {opened.lexicon.name!r}, not EmVidCap's own")
        twice = sorted(opened.train.keys() & opened.test.keys())
        if twice:
            names = ", ".join(twice[:3]) + (", ..." if len(twice) > 3 else "")
            opened.warnings.append(f"{len(twice)} test video(s) also in the training split: {names}")
        return opened

    def videos(self, folder: Path) -> dict[str, Path]:
        """Files of the videos of both splits, found anywhere below ``folder``; missing ones are left out.

        Raises:
            DataError: no such folder.
        """
        return match_videos([*self.train, *self.test], folder, self.aliases)


def _caption_files(root: Path, key: str) -> dict[str, Path]:
    """Split -> file of one subset, nearest to the root first; a folder that names no subset counts as L."""
    files: dict[str, Path] = {}
    for split, name in (("train", TRAIN_FILE), ("test", TEST_FILE)):
        for depth in range(_DEPTH + 1):
            for path in sorted(root.glob("*/" * depth + name)):
                named = next((part[-1] for part in reversed(path.parts[:-1]) if part in _FOLDERS), "L")
                if named == key:
                    files.setdefault(split, path)
    return files


_FOLDERS = ("EmVidCap-L", "EmVidCap-S")


def _lexicon(root: Path) -> Lexicon:
    try:
        return Lexicon.from_folder(root)
    except DataError as problem:
        if problem.path is not None and Path(problem.path) != root:
            raise
        return Lexicon.general()


def _msvd_names(root: Path) -> dict[str, str]:
    """Video -> MSVD clip name, from ``youtube_mapping.txt`` lines "<clip> vid<N>"."""
    for path in (p for depth in range(_DEPTH + 1) for p in sorted(root.glob("*/" * depth + "youtube_mapping.txt"))):
        pairs = (line.split() for line in path.read_text("utf-8", "replace").splitlines())
        return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}
    return {}


def bare(video: str) -> str:
    """An id without "vid": files and feature keys come with and without it."""
    return video[len(_PREFIX) :] if video.lower().startswith(_PREFIX) and len(video) > len(_PREFIX) else video


def match_videos(videos: Iterable[str], folder: Path, aliases: Mapping[str, str] | None = None) -> dict[str, Path]:
    """The file of each video: by stem, with or without "vid", at any depth; the first in sorted order when several.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError("no such video folder", path=folder, hint="give it with --videos")
    by_stem: dict[str, Path] = {}
    for path in _video_files(folder):
        by_stem.setdefault(path.stem, path)
        by_stem.setdefault(bare(path.stem), path)
    found: dict[str, Path] = {}
    for video in videos:
        stems = (video, bare(video), *((aliases[video],) if aliases and video in aliases else ()))
        files = [by_stem[stem] for stem in stems if stem in by_stem]
        if files:
            found[video] = files[0]
    return found


def _video_files(folder: Path) -> Iterator[Path]:
    return iter(sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()))


def hold_out(videos: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split videos into training and validation, the same way for the same seed whatever their order.

    At least one video is held out and one kept where ``share`` is above 0 and there are two.
    """
    import numpy as np

    ordered = sorted(set(videos))
    count = min(max(round(share * len(ordered)), 1), len(ordered) - 1) if share > 0 else 0
    drawn = set(np.random.default_rng([seed, len(ordered)]).permutation(len(ordered))[:count].tolist())
    held = [video for number, video in enumerate(ordered) if number in drawn]
    return [video for number, video in enumerate(ordered) if number not in drawn], held
