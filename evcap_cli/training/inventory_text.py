"""An inventory of a data root as people read it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from evcap_cli.console import counted, listed, noun
from evcap_cli.data.caption_files import oddities
from evcap_cli.data.origins import labels_note
from evcap_cli.training.root_duplicates import duplicates_line
from evcap_cli.training.root_inventory import NAMED, SPLIT_NAMES, Inventory
from evcap_cli.training.root_worth import worth_lines

if TYPE_CHECKING:
    from evcap_cli.data.parts import Split

_TITLES: Final = {"stop": "Training cannot start", "warning": "Mind", "note": "Good to know"}


def report(inventory: Inventory, *, everything: bool = False) -> str:
    """The whole report.

    Args:
        inventory: of the root.
        everything: name all that is missing instead of the first few.
    """
    return "\n".join(_lines(inventory, None if everything else NAMED)) + "\n"


def _lines(found: Inventory, most: int | None) -> Iterator[str]:
    yield str(found.root)
    yield from ("", "Captions")
    if found.labels_by:
        yield f"  {labels_note(found.labels_by)}"
    for file in found.captions:
        compared = ""
        if file.published is not None:
            same = (file.captions, file.videos) == file.published
            compared = f"  {'as published' if same else f'published: {file.published[0]:,} of {file.published[1]:,}'}"
        yield (
            f"  {file.part} {SPLIT_NAMES[file.split]:<8} {file.captions:>6,} {noun(file.captions, 'caption'):<8} of"
            f" {file.videos:>5,} {noun(file.videos, 'video'):<6}{compared}"
            f"  ({file.file}, {file.separator})"
        )
    for file in found.captions:
        yield from (f"  {line}" for line in oddities(file.file, file.latin_1, file.empty, file.wordless, most=most))
    if found.in_both_splits:
        yield f"  in both splits: {listed(found.in_both_splits, most)} (stays in both, as in every published number)"
    if found.captions:
        yield f"  {found.vocabulary:,} {noun(found.vocabulary, 'word')} in the training captions" + (
            "" if found.extended is None else f", {found.extended:,} with MSVD's (--extra-captions {found.root})"
        )
        yield "  no validation split exists: training holds out a tenth of the trainval videos"
    if found.lexicon is not None:
        lexicon = found.lexicon
        called = "official" if lexicon["official"] else lexicon["name"].partition(" (")[0]
        yield from ("", "Lexicon")
        yield (
            f"  {called}: {counted(lexicon['categories'], 'category', 'categories')}, "
            f"{counted(lexicon['entries'], 'entry', 'entries')}, {counted(lexicon['words'], 'word')},"
            f" digest {lexicon['digest']}"
            f"  ({lexicon['folder'] or 'comes with evcap'})"
        )
    yield from ("", "Videos")
    if found.video_folder is None:
        yield "  none found"
    for part in found.videos:
        line = (
            f"  {part.part} {SPLIT_NAMES[part.split]:<8} {part.wanted - len(part.missing):>6,} of {part.wanted:,} found"
        )
        yield line + (f"; missing: {listed(part.missing, most)}" if part.missing else f"  ({found.video_folder})")
    yield from ("", "Features")
    if not found.features:
        yield "  no published features (.hdf5) found; they are extracted from the videos"
    yield from _streams(found, most)
    yield from ("", "Word vectors")
    yield from (
        f"  {file.file}: {f'{file.width} wide' if file.width else 'cannot be read'}" for file in found.word_vectors
    )
    if not found.word_vectors:
        yield "  none found"
    if found.worth is not None:
        yield from ("", "Worth for training")
        yield from (f"  {line}" for line in worth_lines(found.worth))
        if found.near_duplicates is not None:
            yield f"  {duplicates_line(found.near_duplicates)}"
    for level, title in _TITLES.items():
        chosen = [advice for advice in found.advice if advice.level == level]
        if chosen:
            yield from ("", title)
            yield from (f"  - {a.text}" + (f"; {a.step}" if a.step else "") for a in chosen)
    if found.ready:
        yield from ("", f"Training can start: {_command(found)}")


def _streams(found: Inventory, most: int | None) -> Iterator[str]:
    expected: dict[Split, int] = {"train": 0, "test": 0}
    for file in found.captions:
        expected[file.split] += file.videos
    for stream in found.features:
        if stream.width is None:
            yield f"  {stream.name}: cannot be used"
            continue
        covered = ", ".join(
            f"{SPLIT_NAMES[split]} {count:,} of {expected[split]:,}" for split, count in stream.covered.items()
        )
        folders = dict.fromkeys(file.rpartition("/")[0] or "." for file in stream.files)
        yield f"  {stream.name}: {stream.width} wide, {covered} videos  ({', '.join(folders)})"
        if stream.missing:
            yield f"    missing: {listed(stream.missing, most)}"
        if stream.empty:
            yield f"    of those without a row: {listed(stream.empty, most)}"


def _command(found: Inventory) -> str:
    backbones = ["--backbone", "clip"] if found.feature_folder is None else found.feature_options
    words = ["evcap", "train", *backbones, "--data", str(found.root)]
    if found.feature_folder is not None:
        words += ["--features", str(found.feature_folder)]
    elif found.video_folder != found.root / "videos":
        words += ["--videos", str(found.video_folder)]
    parts = {file.part for file in found.captions}
    if parts != {"L"}:
        words += ["--subset", "S" if parts == {"S"} else "both"]
    if found.word_vectors and found.word_vectors[0].width == 300:
        words += ["--glove", str(found.root / found.word_vectors[0].file)]
    return shlex.join(words)
