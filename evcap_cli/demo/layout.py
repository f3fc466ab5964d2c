"""Writes a demo world to disk in EmVidCap's layout, so that it is read by what reads the real data set.

Caption files, lexicon and facts first, then the clips, drawn by ``render.py`` in processes of their own. Each clip
appears whole: a killed run goes on where it was when it is called again.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Final, Literal

from evcap_cli import console
from evcap_cli.data.emvidcap import TEST_FILE, TRAIN_FILE
from evcap_cli.data.root_files import CAPTION_FOLDER, LEXICON_FOLDER, write_lexicon
from evcap_cli.demo.facts import ClipFacts
from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.variant_wording import wording_of
from evcap_cli.errors import DataError, EvcapError
from evcap_cli.files import write_error, write_whole
from evcap_cli.interrupts import SIGNALS
from evcap_cli.reading.typed import read_json_lines

FACTS_FILE: Final = "facts.jsonl"
TRAIN, TEST = "trainval", "test"
TEST_SHARE: Final = 0.2
VIDEO_FOLDERS: Final = {TRAIN: Path("videos", "TrainVal_clips"), TEST: Path("videos", "Test")}
_CAPTION_FILES = {TRAIN: TRAIN_FILE, TEST: TEST_FILE}


@dataclass(frozen=True, kw_only=True)
class _Row(ClipFacts):
    """A line of facts.jsonl; ``heard`` is the ``audio_emotion`` of clips in conflict."""

    split: Literal["trainval", "test"]
    heard: str | None = None


@dataclass(frozen=True)
class World:
    """A demo world on disk: its clips, and the split ("trainval" or "test") of each id."""

    root: Path
    facts: tuple[ClipFacts, ...]
    splits: Mapping[str, str]

    def of(self, split: str) -> list[ClipFacts]:
        """The clips of one split."""
        return [clip for clip in self.facts if self.splits[clip.id] == split]

    def video(self, clip: ClipFacts) -> Path:
        """Where a clip's video is."""
        return self.root / VIDEO_FOLDERS[self.splits[clip.id]] / clip.emotion / f"{clip.id}.mp4"


def write_world(
    root: Path,
    facts: Sequence[ClipFacts],
    *,
    render: bool = True,
    workers: int = 2,
    test_share: float = TEST_SHARE,
    overwrite: bool = False,
) -> World:
    """Write a data root; clips that are already there, of the same world, are kept.

    Args:
        root: the folder; made where missing, other files in it are left alone.
        facts: the clips; ids must differ.
        render: False writes everything but the videos.
        workers: processes that draw.
        test_share: part of the clips that becomes the test split, spread evenly over emotions and conditions.
        overwrite: replace another world that is there, and draw every clip again.

    Raises:
        DataError: the folder holds another world. WriteError: no permission, a full disk.
    """
    world = World(root, tuple(facts), _split(facts, test_share))
    if len(world.splits) != len(facts):
        raise DataError("two clips have the same id", path=root)
    lines = _fact_lines(world)
    _clear_for(world, lines, overwrite)
    write_whole(root / FACTS_FILE, lines)
    for split, name in _CAPTION_FILES.items():
        clips = world.of(split)
        if clips:
            write_whole(root / CAPTION_FOLDER / name, _caption_rows(clips))
    write_lexicon(root / LEXICON_FOLDER, wording_of(variant=any(clip.variant for clip in facts)).lexicon)
    if render:
        _render_missing(world, workers)
    return world


def read_world(root: Path) -> World:
    """Facts and splits of a written world.

    Raises:
        DataError: there is none, or its facts cannot be read.
    """
    path = root / FACTS_FILE
    hint = "make a world with `evcap demo-world DIR`"
    if not path.exists():
        raise DataError("no demo world here", path=path, hint=hint)
    rows = [row for _, row in read_json_lines(_Row, path, hint=hint)]
    clips = tuple(
        ClipFacts(**{each.name: getattr(row, each.name) for each in fields(ClipFacts)} | {"audio_emotion": row.heard})
        for row in rows
    )
    return World(root, clips, {row.id: row.split for row in rows})


def _split(facts: Iterable[ClipFacts], share: float) -> dict[str, str]:
    """Every so manyeth clip, in an order that keeps equal clips together, is a test clip."""
    ordered = sorted(facts, key=lambda clip: (clip.emotion, clip.hidden, clip.silent, len(clip.subjects), clip.id))
    marks = [int(number * share + 0.5) for number in range(len(ordered) + 1)]
    return {clip.id: TEST if marks[n + 1] > marks[n] else TRAIN for n, clip in enumerate(ordered)}


def _fact_lines(world: World) -> str:
    rows = (clip.to_dict() | {"split": world.splits[clip.id]} for clip in world.facts)
    return "".join(json.dumps(row) + "\n" for row in rows)


def _caption_rows(clips: Iterable[ClipFacts]) -> str:
    rows = ["VideoID\tEmCaptions"]
    for clip in sorted(clips, key=lambda clip: clip.id):
        rows += [f"{clip.id}\t{caption}" for caption in write_captions(clip)]
    return "\n".join(rows) + "\n"


def _clear_for(world: World, lines: str, overwrite: bool) -> None:
    """Make sure that what is there is this world or none."""
    path = world.root / FACTS_FILE
    try:
        if not path.exists() or (path.read_text("utf-8") == lines and not overwrite):
            return
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"cannot read the facts of the world that is here ({problem})", path=path) from problem
    if not overwrite:
        raise DataError(
            "holds another demo world (other seed, size, split or version)",
            path=world.root,
            hint="choose another folder, or replace it with --overwrite",
        )
    old = read_world(world.root)
    for clip in old.facts:
        old.video(clip).unlink(missing_ok=True)
    for name in _CAPTION_FILES.values():
        (world.root / CAPTION_FOLDER / name).unlink(missing_ok=True)


def _render_missing(world: World, workers: int) -> None:
    missing = [clip for clip in world.facts if not world.video(clip).exists()]
    if not missing:
        return
    with console.progress(len(world.facts), "drawing", "clip") as bar:
        bar.advance(len(world.facts) - len(missing))
        jobs = [(clip, world.video(clip)) for clip in missing]
        if workers == 1 or len(jobs) == 1:
            for job in jobs:
                _draw(*job)
                bar.advance(note=job[0].id)
            return
        for drawn in _in_processes(jobs, min(workers, len(jobs))):
            bar.advance(note=drawn)


Job = tuple[ClipFacts, Path]


def _in_processes(jobs: Sequence[Job], workers: int) -> Iterator[str]:
    """Ids as their clips are done. A spawned process inherits no threads or locks of ours."""
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_be_a_worker)
    try:
        for done in as_completed([pool.submit(_draw, *job) for job in jobs]):
            yield done.result()
    except BrokenProcessPool as problem:
        raise EvcapError(
            "a drawing process died (out of memory?)", hint="run the same command again: finished clips are kept"
        ) from problem
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _be_a_worker() -> None:
    """Leave Ctrl-C and SIGTERM to the parent, and do not outlive it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _draw(clip: ClipFacts, target: Path) -> str:
    from evcap_cli.demo.render import render_clip

    try:
        render_clip(clip, target)
    except OSError as problem:
        raise write_error(target, problem) from None  # PyAV's errors do not travel between processes
    return clip.id
