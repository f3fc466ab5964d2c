"""What ``evcap data check`` finds in a data root.

Nothing is changed. Features are read, or extracted, only to compare the videos of the two splits. What cannot be used
becomes advice: one call reports everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from evcap_cli.backbones.presets import PRESETS, backbone_addresses
from evcap_cli.console import counted, listed
from evcap_cli.data.caption_files import SEPARATORS, CaptionFile, read_captions
from evcap_cli.data.caption_text import tokens
from evcap_cli.data.emvidcap import (
    HOW_TO_GET,
    find_captions,
    in_both_splits,
    joined,
    msvd_names,
    requested_parts,
    root_lexicon,
)
from evcap_cli.data.features_layout import all_feature_files, entries, opened
from evcap_cli.data.glove import find_glove
from evcap_cli.data.glove_rows import first_row
from evcap_cli.data.learnable import learnable
from evcap_cli.data.lexicon import Lexicon, word_folder
from evcap_cli.data.msvd import find_extra, read_extra_captions
from evcap_cli.data.origins import check_finished, read_origin
from evcap_cli.data.parts import Part, Split, Subset
from evcap_cli.data.published_backbones import PUBLISHED_NAMES, plain
from evcap_cli.data.video_files import bare, match_videos
from evcap_cli.errors import DataError, TrainingError
from evcap_cli.media.listed_segments import ListedClip, ListedClips
from evcap_cli.reading.text import read_text
from evcap_cli.training.feature_folder import FeatureFolder
from evcap_cli.training.recipe import Recipe
from evcap_cli.training.root_duplicates import COMPARED, NearDuplicates, by_backbone, by_files, duplicates_advice
from evcap_cli.training.root_inventory import (
    NAMED,
    PUBLISHED_COUNTS,
    Advice,
    FoundCaptions,
    FoundStream,
    FoundVideos,
    FoundWordVectors,
    Inventory,
)
from evcap_cli.training.root_worth import in_both_by_bytes, leak_advice, worth, worth_advice

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.data.features_hdf5 import FeatureFiles
    from evcap_cli.features.options import FeatureOptions

_LISTS: Final = ("34_emotion.txt", "179_words.txt")


def take_inventory(
    root: Path,
    subset: Subset = "both",
    *,
    videos: Path | None = None,
    features: Sequence[str] = (),
    compare: FeatureOptions | None = None,
) -> Inventory:
    """Examine a data root.

    Args:
        root: of the data.
        subset: the parts that matter; "both": those that are there.
        videos: folder of the videos; None: ``root/videos``, or else anywhere below the root.
        features: streams that must be there, by name below the root, or folders of feature files; none: whatever is.
        compare: backbones by which the videos of both splits are compared; None: by feature files, where there are any.

    Raises:
        DataError: no such folder, no caption file in it, no such folder of videos.
        UsageError, PluginError, WeightsError: what ``compare`` names cannot be used.
    """
    check = _RootCheck(Inventory(root, subset))
    check.origin()
    check.captions()
    check.lexicon()
    with_videos = check.videos(videos)
    with_features = check.features(features)
    if with_features and not with_videos:
        with_features = check.training_on_features(features)
    elif not with_videos:
        check.advise(
            "stop",
            "neither videos nor features of the training split were found",
            "give the folder of the videos with --videos, or of published features with --features",
        )
    if check.split["train"] and (with_videos or with_features):
        check.training(with_videos | with_features)
    check.words()
    check.worth()
    check.near_duplicates(compare, features if with_features else None)
    return check.found


class _RootCheck:
    """Fills an inventory part by part."""

    def __init__(self, found: Inventory) -> None:
        self.found, self.root = found, found.root
        self.files: dict[tuple[Part, Split], CaptionFile] = {}
        self.split: dict[Split, dict[str, list[str]]] = {"train": {}, "test": {}}
        self.aliases: dict[str, str] = {}
        self.clips: Mapping[str, ListedClip] = {}
        self.matched: Mapping[str, Path] = {}

    def advise(self, level: Literal["stop", "warning", "note"], text: str, step: str = "") -> None:
        """Add advice."""
        self.found.advice.append(Advice(level, " ".join(text.split()), step))

    def failed(self, level: Literal["stop", "warning"], problem: DataError) -> None:
        """Add an error as advice."""
        self.advise(level, f"{problem.path}: {problem.cause}" if problem.path else problem.cause, problem.hint or "")

    def origin(self) -> None:
        """Whether a command of evcap wrote the root: then it is not compared with EmVidCap."""
        try:
            origin = read_origin(self.root)
            if origin is not None:
                self.found.made_by, self.found.labels_by = origin.made_by, origin.labels_by
            check_finished(self.root)
            self.clips = ListedClips.of_root(self.root).clips
        except DataError as problem:
            self.failed("stop", problem)

    def captions(self) -> None:
        """Caption files of the requested parts, what is odd about them, what stands in both splits."""
        there = find_captions(self.root)
        parts = requested_parts(there, self.found.subset)
        if self.found.subset != "both" and self.found.subset not in there:
            self.advise("warning", f"no EmVidCap-{self.found.subset} here; EmVidCap-{parts[0]} is used", HOW_TO_GET)
        for part in parts:
            for split, path in there[part].items():
                try:
                    self.files[part, split] = read_captions(path)
                except DataError as problem:
                    self.failed("stop", problem)
            if "test" not in there[part]:
                own = "give a test split with --test-share, or more videos" if self.found.made_by else ""
                what = "no test captions" if own else f"no test captions of EmVidCap-{part}"
                self.advise("warning", f"{what}: nothing to score on", own or HOW_TO_GET)
        names = msvd_names(self.root) if "S" in parts else {}
        if "S" in parts and not names:
            self.advise(
                "warning",
                "no youtube_mapping.txt: videos and features of EmVidCap-S are found under their vid<N> names only",
                "put MSVD's file at data/MSVD/youtube_mapping.txt",
            )
        self.split["train"], self.split["test"], self.aliases, clashes = joined(self.files, names)
        for warning in clashes:
            self.advise("warning", *warning.split("; ", 1))
        for (part, split), file in self.files.items():
            self._list(part, split, file)
        counts = [file for file in self.found.captions if file.published is not None]
        if any((file.captions, file.videos) != file.published for file in counts):
            self.advise(
                "note",
                "the counts are not those of EmVidCap as published",
                "if it should be, copy the caption files again",
            )
        self.found.in_both_splits = in_both_splits(self.split["train"], self.split["test"])
        if not self.split["train"] and self.found.ready:
            self.advise("stop", "no training captions here: nothing to train on", HOW_TO_GET)

    def _list(self, part: Part, split: Split, file: CaptionFile) -> None:
        self.found.captions.append(
            FoundCaptions(
                part,
                split,
                self._short(file.path),
                SEPARATORS[file.separator],
                file.count,
                len(file.captions),
                None if self.found.made_by else PUBLISHED_COUNTS[part, split],
                file.latin_1,
                file.empty,
                file.wordless,
            )
        )

    def lexicon(self) -> None:
        """The emotion lexicon, and whether the two lists next to it say the same."""
        try:
            lexicon = root_lexicon(self.root)
        except DataError as problem:
            self.failed("stop", problem)
            return
        folder = word_folder(self.root)
        self.found.lexicon = {
            "name": lexicon.name,
            "official": lexicon.official,
            "digest": lexicon.digest,
            "categories": len(lexicon.categories),
            "entries": lexicon.entries,
            "words": len(lexicon.words),
            "folder": None if folder is None else self._short(folder),
        }
        if folder is None:
            self.advise(
                "warning",
                "no emotion lexicon here; evcap's general one is used, and scores cannot stand next to printed ones",
                "copy EPAN's EmotionEval/sentiment-words-E into the data root",
            )
            return
        if not lexicon.official and not self.found.made_by:
            self.advise("note", "the lexicon is not EmVidCap's own: scores by it cannot stand next to printed ones")
        self._compare_lists(lexicon, folder.parent)

    def _compare_lists(self, lexicon: Lexicon, folder: Path) -> None:
        for name, known in zip(_LISTS, (lexicon.categories, lexicon.words), strict=True):
            try:
                lines = [line.lower().split() for line in read_text(folder / name).splitlines() if line.strip()]
            except DataError:
                continue
            listed_words = {word.lower() for word in known}
            own = {line[0] if (whole := " ".join(line)) not in listed_words else whole for line in lines}
            other = sorted(own ^ listed_words)
            if other:
                self.advise(
                    "warning",
                    f"{self._short(folder / name)} and the word lists differ in"
                    f" {counted(len(other), 'word')}: {listed(other, NAMED)}",
                    "the word lists count; copy both again if this should be EmVidCap's lexicon",
                )

    def videos(self, folder: Path | None) -> set[str]:
        """Files of the videos; the training videos that have one."""
        chosen = folder or (self.root / "videos" if (self.root / "videos").is_dir() else self.root)
        self.matched = matched = match_videos(
            [*self.split["train"], *self.split["test"]], chosen, self.aliases, self.clips
        )
        if not matched:
            if folder is not None:
                self.advise("warning", f"{folder}: none of the videos is here", "files are named as the ids are")
            return set()
        self.found.video_folder = chosen
        for part, split, ids in self._ids():
            missing = [video for video in ids if video not in matched]
            self.found.videos.append(FoundVideos(part, split, len(ids), missing))
        absent = {video for videos in self.found.videos for video in videos.missing}
        if absent:
            self.advise(
                "warning",
                f"{counted(len(absent), 'video has', 'videos have')} no file: left out",
                f"add them below {chosen} (any depth, named as the id, with or without vid)",
            )
        return {video for video in self.split["train"] if video in matched}

    def _ids(self) -> Iterable[tuple[Part, Split, list[str]]]:
        """Videos of each part and split, as they are called where both parts are joined."""
        large = {bare(video) for (part, _), file in self.files.items() if part == "L" for video in file.captions}
        for part, split in self.files:
            ids = [video for video in self.split[split] if (bare(video) in large) == (part == "L")]
            yield part, split, ids

    def training(self, there: set[str]) -> None:
        """Whether training would find something to train on, by the function that training uses."""
        try:
            files = {name: clip.file for name, clip in self.clips.items() if clip.start is not None}
            learnable(self.split["train"], files=files, split_only=True).check(there)
        except TrainingError as problem:
            self.advise("stop", problem.cause, problem.hint or "check the captions, and that their videos are here")

    def features(self, requested: Sequence[str]) -> set[str]:
        """Published features; the training videos that usable ones cover."""
        streams: dict[str, list[Path]] = {} if requested else all_feature_files(self.root)
        below = all_feature_files(self.root) if requested else {}
        for name in requested:
            found = all_feature_files(Path(name)) if Path(name).is_dir() else {name: below.get(name, [])}
            for key, paths in (found or {name: []}).items():
                streams.setdefault(key, []).extend(paths)
        covered: set[str] = set()
        for name, paths in streams.items():
            stream = self._stream(name, paths)
            self.found.features.append(stream)
            if stream.problem is not None:
                self.advise("stop" if requested else "warning", stream.problem)
            elif requested and not stream.covered["train"]:
                self.advise("stop", f"no training video has {name} features", "check that they are of this data set")
            elif stream.missing:
                self.advise(
                    "warning",
                    f"{counted(len(stream.missing), 'video has', 'videos have')} no {name} features: left out of"
                    f" training on features if {name} is appearance or motion",
                    "extract them with evcap extract, or train from the videos",
                )
            if stream.problem is None:
                covered |= self.split["train"].keys() - set(stream.missing)
        return covered

    def training_on_features(self, requested: Sequence[str]) -> set[str]:
        """The training videos that ``evcap train --features`` would find, and the options that it needs."""
        folders = [Path(name) for name in requested if Path(name).is_dir()]
        self.found.feature_folder = folders[0] if folders else self.root
        folder = FeatureFolder(self.found.feature_folder)
        problem: DataError | None = None
        for preset, chosen in _calls(folder):
            try:
                addresses = backbone_addresses(preset, chosen)
                streams = addresses if preset else folder.completed(addresses, Recipe())
                files, _ = folder.open(streams, chosen, self.aliases)
            except DataError as found:
                problem = problem or found
                continue
            flags = [part for kind, name in chosen.items() for part in (f"--{kind}", name)]
            self.found.feature_options = ["--backbone", preset] if preset else flags
            for kind, names in folder.written.items():
                if not preset and len(names) > 1:
                    self.advise("note", f"{' and '.join(names)} are {kind} features here", f"--{kind} chooses one")
            return {video for video in self.split["train"] if files.has(video)}
        self.failed("stop", problem or DataError("no appearance features, which all captioners read", path=folder.root))
        return set()

    def _stream(self, name: str, paths: Sequence[Path]) -> FoundStream:
        files = [self._short(path) for path in paths]
        if not paths:
            return FoundStream(name, files, problem=f"no {name}_<split>.hdf5 below {self.root}")
        rows: dict[str, int] = {}
        width = None
        try:
            for path in paths:
                with opened(path) as file:
                    for entry in entries(file, path, width):
                        width = entry.width
                        rows[bare(entry.key)] = max(entry.rows, rows.get(bare(entry.key), 0))
        except DataError as problem:
            return FoundStream(name, files, problem=str(problem))
        if width is None:
            return FoundStream(name, files, problem=f"{paths[0]}: holds no video; copy or download it again")

        def rows_of(video: str) -> int | None:
            keys = [bare(key) for key in (video, self.aliases.get(video)) if key is not None]
            return next((rows[key] for key in keys if key in rows), None)

        covered = {split: sum(bool(rows_of(video)) for video in ids) for split, ids in self.split.items()}
        videos = dict.fromkeys([*self.split["train"], *self.split["test"]])
        missing = [video for video in videos if not rows_of(video)]
        return FoundStream(name, files, width, covered, missing, [video for video in missing if rows_of(video) == 0])

    def words(self) -> None:
        """Vocabulary, MSVD's captions, word vectors."""
        words = _words(text for texts in self.split["train"].values() for text in texts)
        self.found.vocabulary = len(words)
        self.found.extra_captions = find_extra(self.root)
        if self.found.extra_captions is not None:
            try:
                self.found.extended = len(words | _words(read_extra_captions(self.found.extra_captions)))
            except DataError as problem:
                self.failed("warning", problem)
        elif not self.found.made_by:
            self.advise(
                "note",
                "no MSVD captions here: the vocabulary is that of EmVidCap alone, not the paper's 13,980 words",
                "put SGN's data/MSVD/metadata/train.csv into the data root and train with --extra-captions",
            )
        for path in find_glove(self.root):
            width = None
            try:
                width = first_row(path).width
            except (DataError, OSError) as problem:
                self.advise("warning", str(problem), "it cannot serve with --glove")
            self.found.word_vectors.append(FoundWordVectors(self._short(path), width))
        if not self.found.word_vectors:
            self.advise(
                "note",
                "no word vectors here: words start from random ones",
                "get glove.6B.zip from nlp.stanford.edu/projects/glove and give --glove glove.6B.300d.txt",
            )

    def worth(self) -> None:
        """Figures of the captions; reads videos of both splits that have the same size."""
        try:
            lexicon = root_lexicon(self.root)
        except DataError:
            return  # reported already
        train, test = self.split["train"], self.split["test"]
        found = worth(train, lexicon, in_both_by_bytes(self.matched, list(train), list(test)))
        if found is None:
            return
        self.found.worth = found
        if (leak := leak_advice(found)) is not None:
            self.advise("warning", *leak)
        for advice in worth_advice(found):
            self.advise("note", *advice)

    def near_duplicates(self, options: FeatureOptions | None, requested: Sequence[str] | None) -> None:
        """Videos of the two splits that look the same.

        Args:
            options: name backbones for the videos; None: feature files are compared.
            requested: as for ``features``; None: no files cover the training split.
        """
        train, test = list(self.split["train"]), list(self.split["test"])
        found: NearDuplicates | None = None
        if options is not None:
            segment = f"from:{self.root}" if self.clips else options.segment
            found = by_backbone(replace(options, segment=segment), self.matched, train, test)
        elif requested is not None and (files := self._picture_files(requested)) is not None:
            found = by_files(files, train, test)
        if found is None:
            return
        self.found.near_duplicates = found
        same_bytes = [] if self.found.worth is None else self.found.worth.same_bytes
        if (advice := duplicates_advice(found, same_bytes)) is not None:
            self.advise("warning", *advice)

    def _picture_files(self, requested: Sequence[str]) -> FeatureFiles | None:
        """Appearance and motion files, as training would find them; None where there are none that can be used."""
        folder = FeatureFolder(next((Path(name) for name in requested if Path(name).is_dir()), self.root))
        for preset, chosen in _calls(folder):
            with suppress(DataError):
                addresses = backbone_addresses(preset, chosen)
                streams = addresses if preset else folder.completed(addresses, Recipe())
                pictures: dict[Kind, str] = {kind: streams[kind] for kind in COMPARED if kind in streams}
                return folder.open(pictures, chosen, self.aliases)[0]
        return None

    def _short(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def _words(captions: Iterable[str]) -> set[str]:
    return {word for caption in captions for word in tokens(caption)}


def _calls(folder: FeatureFolder) -> Iterator[tuple[str | None, dict[str, str]]]:
    """What ``evcap train`` could be given to find features: a preset, or the names of streams."""
    if "appearance" in folder.written:
        yield None, {str(kind): next(iter(names)) for kind, names in folder.written.items() if len(names) > 1}
    yield from ((preset, {}) for preset, kinds in PRESETS.items() if folder.files("appearance", kinds["appearance"]))
    appearance = {kinds["appearance"] for kinds in PRESETS.values()}
    known = {path for names in folder.written.values() for paths in names.values() for path in paths}
    others = {
        plain(name) for backbone, names in PUBLISHED_NAMES.items() if backbone not in appearance for name in names
    }
    for stream, paths in folder.streams.items():
        if known.isdisjoint(paths) and plain(stream) not in others:
            yield None, {"appearance": stream}
