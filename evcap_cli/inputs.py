"""From what the user typed to sorted videos: files, folders, patterns and lists; ids; shards.

What is wrong with an input is found here, before any work starts; `output/output_plan.py` does the same for outputs.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath

from evcap_cli.errors import EvcapError, UsageError
from evcap_cli.paths import (
    VIDEO_SUFFIXES,
    can_be_named,
    expanded,
    files_below,
    is_file,
    is_folder,
    is_hidden,
    is_video_name,
    shown,
    walk,
)
from evcap_cli.reading.text import name_lines
from evcap_cli.sources import PlannedSources, Source, SourceTable, with_ids

__all__ = ["PlannedSources", "Source", "gather", "nothing_found", "take_shard", "typed_paths", "with_ids"]

GLOB_CHARACTERS = frozenset("*?[")
LIST_HINT = "@FILE names a text file, a path a line"
LIST_PROBE_BYTES = 65536
LIST_PROBE_LINES = 20
"""So much of a file is read to see whether it is a list of paths."""


def typed_paths(values: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """One path or several, as the texts that a command line would have of them."""
    several = [values] if isinstance(values, (str, os.PathLike)) else values
    return [os.fspath(value) for value in several]


def gather(inputs: Sequence[str]) -> PlannedSources:
    """Expand files, folders (recursive), globs, ``@list.txt`` and ``-`` (a list on stdin), without repeats, sorted.

    They are walked as a stream into a plan on disk: memory does not grow with their number.

    Raises:
        UsageError: a path that is not there, a glob that matches nothing, a list that cannot be read.
        WriteError: there is no room for the plan where temporary files go.
    """
    found = SourceTable()
    for text in inputs:
        found.add(_expand(text))
    return found.plan()


def _expand(typed: str) -> Iterator[Source]:
    text = _literal(typed)
    if text == "-":
        if sys.stdin is None:
            raise UsageError("is closed", path="standard input", hint="pipe a list of paths into it, one a line")
        # bytes, not text: a name need not be UTF-8, whatever standard input is set to
        raw = sys.stdin.buffer if hasattr(sys.stdin, "buffer") else io.BytesIO(os.fsencode(sys.stdin.read()))
        yield from _listed(name_lines(Path("standard input"), error=UsageError, file=raw), "standard input")
    elif text.startswith("@") and not os.path.lexists(text):
        if text == "@":
            raise UsageError("names no list", path=text, hint=LIST_HINT)
        listing = Path(expanded(text[1:]))
        yield from _listed(name_lines(listing, error=UsageError, hint=LIST_HINT), str(listing))
    elif is_folder(text):
        yield from _folder(Path(text))
    elif os.path.lexists(text):
        if not _readable_kind(Path(text)):
            raise UsageError("is neither a file nor a folder", path=text, hint="name a video file")
        if _is_list(Path(text)):
            raise UsageError("is a list of paths, not a video", path=text, hint=f"to take the videos in it: @{text}")
        yield _file(Path(text))
    elif GLOB_CHARACTERS & set(text):
        matches = _matches(text)
        if not matches:
            raise UsageError("no file matches this pattern", path=text, hint="check the pattern, or quote it less")
        for match in matches:
            if is_folder(match):
                yield from _folder(Path(match))
            elif len(matches) == 1 or Path(match).suffix.lower() in VIDEO_SUFFIXES:
                yield _file(Path(match))
    elif _closed(text):
        yield _file(Path(text))
    else:
        several = len(text.split("\n")) > 1
        hint = "a list of several paths goes to standard input: evcap ... -" if several else "check the path"
        raise UsageError("no such file or folder", path=text, hint=hint)


def _literal(typed: str) -> str:
    """``typed`` with its ``~`` expanded, unless there is a file of that very name.

    Raises:
        UsageError: no file can have such a name.
    """
    if not typed:
        raise UsageError("an input is empty", hint="name a video, a folder, a list or a pattern")
    if not can_be_named(typed):
        hint = "give several paths as several arguments, or as a list: @FILE"
        raise UsageError("no such file or folder", path=shown(typed), hint=hint)
    return typed if os.path.lexists(typed) else expanded(typed)


def _closed(text: str) -> bool:
    """Whether the system does not say what is there: a folder that may not be entered, a server that is away."""
    try:
        os.lstat(text)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return False


def _is_list(path: Path) -> bool:
    """Whether a file that was named as a video is a text file of paths: most of its first lines exist."""
    if path.suffix.lower() in VIDEO_SUFFIXES or not is_file(path):
        return False
    try:
        with path.open("rb") as file:
            raw = file.read(LIST_PROBE_BYTES)
        whole = raw if len(raw) < LIST_PROBE_BYTES else raw.rpartition(b"\n")[0]
        entries = [line.strip() for _, line in name_lines(path, error=UsageError, file=io.BytesIO(whole))]
    except (OSError, UsageError):
        return False  # no text; opening it as a video says what it is
    entries = [entry for entry in entries if entry and not entry.startswith("#")][:LIST_PROBE_LINES]
    there = sum(os.path.lexists(expanded(entry)) for entry in entries)
    return there > len(entries) / 2


def _matches(pattern: str) -> list[str]:
    """The paths that a pattern names, sorted. ``**`` is any number of folders, linked ones too, in loops once."""
    import glob  # here: every call of evcap loads this module

    parts = PurePath(pattern).parts
    if "**" not in parts:
        return sorted(glob.glob(pattern))  # noqa: PTH207  Path.glob takes no absolute pattern
    at = parts.index("**")
    head = str(PurePath(*parts[:at])) if at else ""
    found: list[str] = []
    for root in glob.glob(head) if head else [""]:  # noqa: PTH207
        for folder, below, names in walk(Path(root)):
            within = PurePath(folder).relative_to(root or ".").parts
            found += [str(folder / name) for name in (*below, *names) if _fits((*within, name), parts[at:])]
    return sorted(found)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern."""
    from fnmatch import fnmatch

    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or (bool(parts) and not is_hidden(parts[0]) and _fits(parts[1:], pattern))
    if not parts or (is_hidden(parts[0]) and not is_hidden(pattern[0])):
        return False
    return fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _listed(lines: Iterable[tuple[int, str]], where: str) -> Iterator[Source]:
    for number, line in lines:
        entry = line if os.path.lexists(line) else line.strip()
        if not entry or entry.startswith("#"):
            continue
        if entry == "-" or entry.startswith("@"):
            raise UsageError(
                f"line {number}: a list cannot name another list ({entry})", path=where, hint="name videos"
            )
        try:
            yield from _expand(entry)
        except UsageError as problem:
            raise UsageError(f"line {number}: {problem.path}: {problem.cause}", path=where, hint=problem.hint) from None


def _file(path: Path) -> Source:
    return Source(path, path.as_posix(), PurePosixPath(path.name))


def _readable_kind(path: Path) -> bool:
    """Whether reading it comes to an end: no pipe, no device.

    A dangling link, and what the system does not let one see, is reported when the video is opened.
    """
    return is_file(path) or not os.path.exists(path)  # noqa: PTH110  Path.exists raises


def _folder(root: Path) -> Iterator[Source]:
    problems: list[OSError] = []
    for entry in files_below(root, problems.append):
        if is_video_name(entry.name):
            path = Path(entry.path)
            if _readable_kind(path):
                yield Source(path, path.as_posix(), PurePosixPath(path.relative_to(root).as_posix()))
    if problems:
        raise UsageError(
            f"cannot look into this folder ({problems[0].strerror})",
            path=problems[0].filename,
            hint="check permissions",
        )


def nothing_found(inputs: Sequence[str], shard: str | None = None) -> EvcapError:
    """The error of a run without a single video; exit code 1."""
    if shard is not None:
        return EvcapError(f"no video falls to --shard {shard}", path=", ".join(inputs), hint="use fewer shards")
    return EvcapError("no video found", path=", ".join(inputs), hint="check the folder, or name the files themselves")


def take_shard(
    sources: Sequence[Source], shard: str | None, environment: Mapping[str, str] = os.environ
) -> Sequence[Source]:
    """Every n-th video, starting with the i-th, of ``i/n`` (1-based); ``slurm`` reads the array task's variables.

    Raises:
        UsageError: the text is neither, or SLURM's variables are not set.
    """
    if shard is None:
        return sources
    if shard == "slurm":
        index, count = _slurm_task(environment)
    else:
        try:
            first_text, _, count_text = shard.partition("/")
            index, count = int(first_text) - 1, int(count_text)
        except ValueError:
            raise UsageError(f"--shard {shard!r} is not i/n", hint="for the first of four: --shard 1/4") from None
    if not 0 <= index < count:
        raise UsageError(f"--shard {index + 1}/{count} is out of range", hint="i runs from 1 to n")
    return sources[index::count]


def _slurm_task(environment: Mapping[str, str]) -> tuple[int, int]:
    """Which task of a job array this is, from 0, and how many there are.

    Raises:
        UsageError: no array, or one that does again what is left of a larger one, such as ``--array=3,7`` or
            ``--array=5``; an array of one task begins with 0 or 1.
    """
    try:
        own, count = int(environment["SLURM_ARRAY_TASK_ID"]), int(environment["SLURM_ARRAY_TASK_COUNT"])
        first = int(environment.get("SLURM_ARRAY_TASK_MIN", "0"))
        step = int(environment.get("SLURM_ARRAY_TASK_STEP", "1"))
        last = int(environment.get("SLURM_ARRAY_TASK_MAX", first + step * (count - 1)))
        tasks = range(first, last + 1, step)
    except (KeyError, ValueError) as problem:
        raise UsageError(
            f"--shard slurm needs {problem} from a job array", hint="submit with sbatch --array, or give --shard I/N"
        ) from None
    if len(tasks) != count or own not in tasks:
        by = "" if step == 1 else f" in steps of {step}"
        raise UsageError(
            f"--shard slurm: task {own} is of an array with gaps (tasks from {first} to {last}{by}, {count} in all),"
            " so the number of parts cannot be known",
            hint="name the part that each task takes: --shard I/N",
        )
    if count == 1 and own > 1:
        raise UsageError(
            f"--shard slurm: task {own} was submitted without the others of its array, so the number of parts cannot"
            " be known",
            hint="name the part that it takes: --shard I/N",
        )
    return tasks.index(own), count
