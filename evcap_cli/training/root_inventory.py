"""What a data root holds, compared with what EmVidCap has, and what to do about what is missing.

These are plain values: ``root_check.py`` finds them, ``inventory_text.py`` puts them into words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from evcap_cli.data.parts import Part, Split, Subset
from evcap_cli.training.root_duplicates import NearDuplicates
from evcap_cli.training.root_worth import Worth

PUBLISHED_COUNTS: Final[dict[tuple[Part, Split], tuple[int, int]]] = {
    ("L", "train"): (19398, 1134),
    ("L", "test"): (6527, 382),
    ("S", "train"): (9462, 240),
    ("S", "test"): (5622, 134),
}
"""Captions and videos of EmVidCap's files, as published. (The papers say 1,141 videos of L; the file has 1,134.)"""
NAMED: Final = 5
"""Names and line numbers that are given one by one."""
SPLIT_NAMES: Final[dict[Split, str]] = {"train": "trainval", "test": "test"}


@dataclass(frozen=True)
class Advice:
    """Something to know and the next step.

    Level "stop": training cannot start before; "warning": it starts, with less; "note": that is how it is.
    """

    level: Literal["stop", "warning", "note"]
    text: str
    step: str = ""


@dataclass(frozen=True)
class FoundCaptions:
    """A caption file.

    Args:
        published: captions and videos that EmVidCap's file has; None: this is another data set.
        latin_1: lines that are not UTF-8. empty: without a caption. wordless: without a word in the caption.
    """

    part: Part
    split: Split
    file: str
    separator: str
    captions: int
    videos: int
    published: tuple[int, int] | None
    latin_1: Sequence[int] = ()
    empty: Sequence[int] = ()
    wordless: Sequence[int] = ()


@dataclass(frozen=True)
class FoundVideos:
    """How many videos of a split have a file."""

    part: Part
    split: Split
    wanted: int
    missing: Sequence[str]


@dataclass(frozen=True)
class FoundStream:
    """Feature files of one stream.

    Args:
        width: None where they cannot be read; ``problem`` says why.
        covered: videos with rows, by split. missing: without. empty: of those, the ones with a data set of no row.
    """

    name: str
    files: Sequence[str]
    width: int | None = None
    covered: Mapping[Split, int] = field(default_factory=dict)
    missing: Sequence[str] = ()
    empty: Sequence[str] = ()
    problem: str | None = None


@dataclass(frozen=True)
class FoundWordVectors:
    """A file of word vectors; ``width`` None where it cannot be read."""

    file: str
    width: int | None


@dataclass
class Inventory:
    """Everything found.

    Args:
        made_by: the command of evcap that wrote the root; "": none. labels_by: the captioner that wrote its captions;
            "": people did.
        feature_folder: where training without videos finds features; None: it needs none. feature_options: what it is
            given next to that.
        vocabulary: words of the training captions. extended: of MSVD's training captions with them; None: no such.
        near_duplicates: videos of both splits that look the same; None: their features were not compared.
        ready: training can start from this root.
    """

    root: Path
    subset: Subset
    made_by: str = ""
    labels_by: str = ""
    captions: list[FoundCaptions] = field(default_factory=list)
    vocabulary: int = 0
    extended: int | None = None
    in_both_splits: list[str] = field(default_factory=list)
    lexicon: dict[str, Any] | None = None
    video_folder: Path | None = None
    videos: list[FoundVideos] = field(default_factory=list)
    features: list[FoundStream] = field(default_factory=list)
    feature_folder: Path | None = None
    feature_options: list[str] = field(default_factory=list)
    word_vectors: list[FoundWordVectors] = field(default_factory=list)
    extra_captions: Path | None = None
    worth: Worth | None = None
    near_duplicates: NearDuplicates | None = None
    advice: list[Advice] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether nothing stops training."""
        return all(advice.level != "stop" for advice in self.advice)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        return {**plain, "ready": self.ready}
