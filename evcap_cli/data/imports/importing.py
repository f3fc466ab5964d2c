"""From people's own captions to a data root: rows become clips of videos, and the videos are split.

Readers of the single forms are next to this; ``root_files.py`` writes. Nothing of a video is copied or cut: a root
names files and times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any, Final

from evcap_cli import console
from evcap_cli.console import counted
from evcap_cli.data.caption_text import tokens
from evcap_cli.data.emvidcap import hold_out
from evcap_cli.data.imports.caption_rows import CaptionRow, CaptionRows
from evcap_cli.data.imports.other_folders import in_other_folders
from evcap_cli.data.imports.video_names import VideoNames
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.parts import Split
from evcap_cli.data.root_files import (
    LEXICON_FOLDER,
    begin_root,
    check_lexicon,
    check_link,
    check_root,
    link_videos,
    write_captions,
    write_lexicon,
    write_origin,
)
from evcap_cli.errors import EvcapError, VideoError
from evcap_cli.files import write_whole
from evcap_cli.media.listed_segments import CLIPS_FILE, ListedClip, clip_lines
from evcap_cli.media.segments import SHORTEST_SECONDS

MADE_BY: Final = "evcap data import"
TEST_SHARE: Final = 0.2
NAMED_SPLITS: Final = 3
"""Of the splits of unknown names."""
BEYOND_SECONDS: Final = Fraction(1, 2)
"""A segment that ends at most so long after the end of its video is cut there: subtitles often do."""


@dataclass(frozen=True)
class ImportPlan:
    """How rows become a root.

    Args:
        test_share: of the videos; None: as the file says, where it does, else ``TEST_SHARE``.
        seed: of the split.
    """

    lexicon: Lexicon
    test_share: float | None = None
    seed: int = 0

    @property
    def share(self) -> float:
        """Of the videos, where the file does not say the split."""
        return TEST_SHARE if self.test_share is None else self.test_share


@dataclass
class Imported:
    """What an import came to.

    Args:
        source: what was read, and what is wrong with lines that were not imported.
        captions: (clip, caption) in the order of the rows.
        listed: clips that ``clips.jsonl`` has to name.
        own: video file below the folder -> splits that its rows name. splits: the one it got.
        own_split: whether the file itself says the split.
        unknown_splits: split name that is neither training nor test -> its captions, where the file's names count.
        linked: whether ``root/videos`` leads to the videos.
    """

    source: CaptionRows
    captions: list[tuple[ListedClip, str]] = field(default_factory=list)
    listed: list[ListedClip] = field(default_factory=list)
    own: dict[str, set[Split]] = field(default_factory=dict)
    splits: dict[str, Split] = field(default_factory=dict)
    own_split: bool = False
    unknown_splits: dict[str, int] = field(default_factory=dict)
    linked: bool = True

    @property
    def notes(self) -> list[str]:
        """What to know about the import as a whole, a line each."""
        notes = list(self.source.notes)
        if self.own_split:
            notes.append("the split is the file's own; --test-share draws another one")
        if self.unknown_splits:
            counts = [f"{name[:40]!r} ({counted(count, 'caption')})" for name, count in self.unknown_splits.items()]
            names = console.listed(counts, NAMED_SPLITS)
            what = "their videos are to train on" if self.own_split else "they do not count"
            notes.append(f"splits of unknown names: {names}: {what}; name them train or test")
        if self.overlapping:
            many = counted(self.overlapping, "segment overlaps", "segments overlap")
            notes.append(f"{many} with one before: both stay")
        return notes

    def sentence(self, root: Path) -> str:
        """The import in a line."""
        splits = list(self.splits.values())
        segments = len({clip.id for clip in self.listed if clip.start is not None})
        parts = f" in {counted(segments, 'segment')}" if segments else ""
        lost = f"; {counted(len(self.source.problems), 'line')} left out" if self.source.problems else ""
        return (
            f"{root}: {counted(len(self.captions), 'caption')} of {counted(len(splits), 'video')}{parts} imported"
            f" ({self.source.form}): {splits.count('train')} to train on, {splits.count('test')} to test on{lost}"
        )

    @property
    def overlapping(self) -> int:
        """Segments that begin before another one of their video has ended."""
        count, until = 0, dict[str, Fraction]()
        spans = {
            (clip.file, clip.start, clip.end) for clip in self.listed if clip.start is not None and clip.end is not None
        }
        for file, start, end in sorted(spans):
            count += start < until.get(file, start)
            until[file] = max(end, until.get(file, end))
        return count


def import_captions(
    source: CaptionRows,
    videos: VideoNames,
    root: Path,
    plan: ImportPlan,
    *,
    end_of: Callable[[Path], Fraction],
    overwrite: bool = False,
) -> Imported:
    """Write a data root.

    Args:
        source: rows of one import; what is wrong with them is added to its problems.
        videos: that they are about.
        root: folder to write.
        plan: lexicon and split.
        end_of: seconds at which a video ends, for those that have segments; raises ``VideoError``.
        overwrite: replace the root of an earlier import.

    Raises:
        EvcapError: no row can be imported; nothing is written.
        UsageError, DataError: another data set or other videos are in the way, or the lexicon cannot be files;
            an earlier root stays as it is.
        WriteError: no permission, a full disk.
    """
    check_root(root, MADE_BY, overwrite=overwrite)
    check_link(root, videos.folder)
    check_lexicon(plan.lexicon, root / LEXICON_FOLDER)
    found = _Importing(source, videos, end_of).run()
    if not found.captions:
        first = source.problems[0] if source.problems else None
        raise EvcapError(
            "nothing in it can be imported" + ("" if first is None else f": {first.place}: {first.text}"),
            path=source.path,
            hint="check --videos and the file",
        )
    _split(found, plan)
    begin_root(root, MADE_BY)
    found.linked = link_videos(root, videos.folder)
    write_lexicon(root / LEXICON_FOLDER, plan.lexicon)
    if found.listed:
        write_whole(root / CLIPS_FILE, clip_lines(found.listed))
    else:
        (root / CLIPS_FILE).unlink(missing_ok=True)
    for split in ("train", "test"):
        rows = [(clip.id, caption) for clip, caption in found.captions if found.splits[clip.file] == split]
        if rows:
            write_captions(root, split, rows)
    write_origin(root, _origin(found, videos.folder, plan))
    return found


Span = tuple[Fraction, Fraction]
Placed = tuple[CaptionRow, str | None, Span | None]
"""A row, its file and the segment of it."""


class _Importing:
    """Takes rows one by one; a row that gives no caption of a clip becomes a problem."""

    def __init__(self, source: CaptionRows, videos: VideoNames, end_of: Callable[[Path], Fraction]) -> None:
        self.source, self.videos, self.end_of = source, videos, end_of
        self.found = Imported(source)
        self.ids: dict[str, ListedClip] = {}
        self.clips: dict[tuple[str, Span | None], ListedClip] = {}
        self.ends: dict[str, Fraction | str] = {}
        """Of the videos with segments: where they end, or why that is not known."""

    def run(self) -> Imported:
        """Take all rows."""
        placed = self._without_rivals([(row, *self._place(row)) for row in self.source.rows])
        self._find_ends({file for _, file, span in placed if file is not None and span is not None})
        first: dict[tuple[str, str], str] = {}
        for row, file, span in placed:
            if file is None or not self._worded(row):
                continue
            if span is not None:
                span = self._inside(row, file, span)
                if span is None:
                    continue
            clip = self._clip(file, span)
            before = first.setdefault((clip.id, row.caption), row.place)
            if before != row.place:
                self.source.problem("doubled", row.place, f"the same caption of {row.video} as in {_short(before)}")
                continue
            self.found.captions.append((clip, row.caption))
            if row.split is not None:
                self.found.own.setdefault(file, set()).add(row.split)
        parts = {clip.file for clip in self.ids.values() if clip.start is not None}
        self.found.listed = [
            clip
            for clip in self.ids.values()
            if clip.file in parts or clip.id != PurePosixPath(clip.file).stem or not self.videos.only_one(clip.file)
        ]
        return self.found

    def _place(self, row: CaptionRow) -> tuple[str | None, Span | None]:
        """The file of a row, and the segment of it that the row is about."""
        span = None if row.start is None or row.end is None else (row.start, row.end)
        files = self.videos.find(row.video)
        if not files and row.cut_from is not None:
            files, span = self.videos.find(row.cut_from[0]), row.cut_from[1:]
        if len(files) == 1:
            return files[0], span
        if files:
            several = f"{row.video} may be {' or '.join(files[:2])}; name it with its folder"
            self.source.problem("ambiguous", row.place, several)
        else:
            self.source.problem("missing", row.place, f"no video {row.video} below {self.videos.folder}")
        return None, None

    def _without_rivals(self, placed: list[Placed]) -> list[Placed]:
        """``placed`` without rows whose file lies in other folders than they say and is another name's as well."""
        found = {row.video: file for row, file, _ in placed if file is not None}
        astray = in_other_folders(found)
        for row, file, _ in placed:
            rival = astray.get(row.video)
            if rival is not None:
                whose = f"no video {row.video} below {self.videos.folder}: {file} is that of {rival}"
                self.source.problem("missing", row.place, whose)
        kept = [name for name in astray if astray[name] is None]
        if kept:
            many = counted(len(kept), "name leads to a video", "names lead to videos")
            self.source.notes.append(f"{many} in another folder, such as {kept[0]} to {found[kept[0]]}")
        return [each for each in placed if astray.get(each[0].video) is None]

    def _worded(self, row: CaptionRow) -> bool:
        if tokens(row.caption, None):
            return True
        what = "the caption has no word in ASCII letters" if row.caption else "the caption is empty"
        self.source.problem("empty", row.place, what)
        return False

    def _find_ends(self, files: set[str]) -> None:
        if not files:
            return
        with console.progress(len(files), "measuring") as bar:
            for file in sorted(files):
                try:
                    self.ends[file] = self.end_of(self.videos.files[file])
                except VideoError as problem:
                    self.ends[file] = problem.message
                bar.advance(note=file)

    def _inside(self, row: CaptionRow, file: str, span: Span) -> Span | None:
        """The part of a segment that its video has; None where there is none, or too little."""
        start, end = span
        video_end = self.ends[file]
        if isinstance(video_end, str):
            self.source.problem("missing", row.place, f"{file}: {video_end}")
        elif start >= end:
            self.source.problem("times", row.place, f"ends at {_seconds(end)} s, not after {_seconds(start)} s")
        elif start >= video_end or end > video_end + BEYOND_SECONDS:
            beyond = f"{_seconds(start)} s to {_seconds(end)} s, but {file} ends at {_seconds(video_end)} s"
            self.source.problem("times", row.place, beyond)
        elif min(end, video_end) - start < SHORTEST_SECONDS:
            self.source.problem("times", row.place, f"shorter than {float(SHORTEST_SECONDS)} s")
        else:
            return start, min(end, _milliseconds(video_end))
        return None

    def _clip(self, file: str, span: Span | None) -> ListedClip:
        """The clip of a file and segment, with an id that no other has."""
        key = (file, span)
        if key not in self.clips:
            name = self.videos.id_of(file)
            name = name if span is None else f"{name}_{_seconds(span[0])}_{_seconds(span[1])}"
            while name in self.ids:
                name += "_"
            start, end = span or (None, None)
            self.clips[key] = self.ids[name] = ListedClip(name, file, start, end)
        return self.clips[key]


def _split(found: Imported, plan: ImportPlan) -> None:
    """Split the videos: as the file says where it names both splits, else by the seed."""
    files = list(dict.fromkeys(clip.file for clip, _ in found.captions))
    named = set[Split]().union(*found.own.values())
    if plan.test_share is None:
        found.unknown_splits = dict(found.source.unknown_splits)
    if plan.test_share is None and len(named) > 1:
        found.own_split = True
        found.splits = {file: "test" if "test" in found.own.get(file, ()) else "train" for file in files}
        return
    test = set(hold_out(files, plan.share, plan.seed)[1])
    found.splits = {file: "test" if file in test else "train" for file in files}


def _origin(found: Imported, folder: Path, plan: ImportPlan) -> dict[str, Any]:
    """What ``origin.json`` says of a root."""
    splits = list(found.splits.values())
    return {
        "made_by": MADE_BY,
        "from": found.source.path.name,
        "form": found.source.form,
        "videos": folder.resolve().name,
        "lexicon": plan.lexicon.name,
        "split": "as the file says" if found.own_split else {"seed": plan.seed, "test_share": plan.share},
        "captions": len(found.captions),
        "train_videos": splits.count("train"),
        "test_videos": splits.count("test"),
        "not_imported": [asdict(problem) for problem in found.source.problems],
    }


def _milliseconds(seconds: Fraction) -> Fraction:
    """Rounded down."""
    return Fraction(int(seconds * 1000), 1000)


def _seconds(value: Fraction) -> str:
    return f"{Decimal(int(value * 1000)) / 1000:f}"


def _short(place: str) -> str:
    """A place without its file."""
    return place.rpartition(": ")[2]
