"""From what the user typed to a plan: which videos, in which order, under which names, and into which files.

Everything that can be wrong with the call is found here, before any work starts.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from evcap_cli.errors import UsageError

if TYPE_CHECKING:
    from evcap_cli.output.writers import Writer

VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mpe", ".m2v", ".ts", ".mts", ".m2ts"),
        *(
            ".wmv",
            ".asf",
            ".flv",
            ".f4v",
            ".3gp",
            ".3g2",
            ".ogv",
            ".ogm",
            ".vob",
            ".mxf",
            ".divx",
            ".rm",
            ".rmvb",
            ".gif",
        ),
    }
)
"""What a folder is searched for; a file named on the command line is taken whatever its suffix."""

SYSTEM_FOLDERS = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN"})
"""At the root of a volume, closed to users and never meant by them: a search of the whole volume passes them by."""
LONGEST_NAME_BYTES = 255
GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class Source:
    """One video of the plan.

    Args:
        path: where it lies. given: the path as the user would write it, with forward slashes; records carry it.
        relative: its place below the folder it was found in, for mirrored trees. id: see design, unique in the plan.
    """

    path: Path
    given: str
    relative: PurePosixPath
    id: str = ""


def gather(inputs: Sequence[str]) -> list[Source]:
    """Expand files, folders (recursive), globs, ``@list.txt`` and ``-`` (a list on stdin), without repeats, sorted.

    Raises:
        UsageError: a path that is not there, a glob that matches nothing, a list that cannot be read.
    """
    found: dict[str, Source] = {}
    for text in inputs:
        for source in _expand(text):
            found.setdefault(os.path.realpath(source.path), source)
    return with_ids(sorted(found.values(), key=lambda source: source.given))


def _expand(text: str) -> Iterator[Source]:
    if text == "-":
        yield from _listed(sys.stdin.read().split("\n"), "standard input")
    elif text.startswith("@") and not Path(text).exists():
        listing = Path(text[1:])
        try:
            # not splitlines: a name may hold what Unicode takes for a line end
            lines = listing.read_text("utf-8-sig", "surrogateescape").split("\n")
        except OSError as problem:
            raise UsageError(
                f"cannot read this list ({problem.strerror})",
                path=listing,
                hint="@FILE names a text file, a path a line",
            ) from problem
        yield from _listed(lines, str(listing))
    elif Path(text).is_dir():
        yield from _folder(Path(text))
    elif os.path.lexists(text):
        if not _readable_kind(Path(text)):
            raise UsageError("is neither a file nor a folder", path=text, hint="name a video file")
        yield _file(Path(text))
    elif GLOB_CHARACTERS & set(text):
        import glob  # here: every call of evcap loads this module

        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207  Path.glob takes no absolute pattern
        if not matches:
            raise UsageError("no file matches this pattern", path=text, hint="check the pattern, or quote it less")
        for match in matches:
            if Path(match).is_dir():
                yield from _folder(Path(match))
            elif len(matches) == 1 or Path(match).suffix.lower() in VIDEO_SUFFIXES:
                yield _file(Path(match))
    else:
        raise UsageError("no such file or folder", path=text, hint="check the path")


def _listed(lines: Iterable[str], where: str) -> Iterator[Source]:
    for number, line in enumerate(lines, 1):
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
    """Whether reading it comes to an end: no pipe, no device. A dangling link is told when the video is opened."""
    return path.is_file() or not path.exists()


def _folder(root: Path) -> Iterator[Source]:
    problems: list[OSError] = []
    for folder, subfolders, names in os.walk(root, onerror=problems.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and name not in SYSTEM_FOLDERS)
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in VIDEO_SUFFIXES and not name.startswith(".") and _readable_kind(path):
                yield Source(path, path.as_posix(), PurePosixPath(path.relative_to(root).as_posix()))
    if problems:
        raise UsageError(
            f"cannot look into this folder ({problems[0].strerror})",
            path=problems[0].filename,
            hint="check permissions",
        )


def with_ids(sources: Sequence[Source]) -> list[Source]:
    """Give each source its id: the file's stem, or where they collide the relative path without suffix."""
    ids = [source.path.stem for source in sources]
    for other in (
        lambda s: s.relative.with_suffix(""),
        lambda s: PurePosixPath(s.given).with_suffix(""),
        lambda s: s.given,
    ):
        count = Counter(ids)
        ids = [str(other(source)) if count[name] > 1 else name for source, name in zip(sources, ids, strict=True)]
    return [Source(s.path, s.given, s.relative, name) for s, name in zip(sources, ids, strict=True)]


def take_shard(
    sources: Sequence[Source], shard: str | None, environment: Mapping[str, str] = os.environ
) -> list[Source]:
    """Every n-th video, starting with the i-th, of ``i/n`` (1-based); ``slurm`` reads the array task's variables.

    Raises:
        UsageError: the text is neither, or SLURM's variables are not set.
    """
    if shard is None:
        return list(sources)
    if shard == "slurm":
        try:
            first = int(environment.get("SLURM_ARRAY_TASK_MIN", "0"))
            step = int(environment.get("SLURM_ARRAY_TASK_STEP", "1"))
            index = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step
            count = int(environment["SLURM_ARRAY_TASK_COUNT"])
        except (KeyError, ValueError) as problem:
            raise UsageError(
                f"--shard slurm needs {problem} from a job array",
                hint="submit with sbatch --array, or give --shard i/n",
            ) from None
    else:
        try:
            first_text, _, count_text = shard.partition("/")
            index, count = int(first_text) - 1, int(count_text)
        except ValueError:
            raise UsageError(f"--shard {shard!r} is not i/n", hint="for the first of four: --shard 1/4") from None
    if not 0 <= index < count:
        raise UsageError(f"--shard {index + 1}/{count} is out of range", hint="i runs from 1 to n")
    return list(sources[index::count])


@dataclass(frozen=True)
class Outputs:
    """Where captions go: whole files, mirrored trees, or JSONL on stdout."""

    files: tuple[tuple[Path, Writer], ...] = ()
    trees: tuple[tuple[Path, Writer], ...] = ()
    stdout: bool = False

    @property
    def journal(self) -> Path | None:
        """``OUT.partial`` beside the first output; none for stdout alone."""
        for path, _ in (*self.files, *self.trees):
            return path.with_name(path.name + ".partial")
        return None

    def tree_targets(self, source: Source) -> list[tuple[Path, Writer]]:
        """The files that mirror ``source``; names keep the source suffix (``a/x.mp4.srt``)."""
        return [(root / f"{source.relative}{writer.suffix}", writer) for root, writer in self.trees]


def plan_outputs(outputs: Sequence[str], tree_format: str, writers: Mapping[str, Writer]) -> Outputs:
    """Sort ``-o`` values into files (by suffix), trees (a trailing slash or an existing folder) and stdout (``-``).

    Raises:
        UsageError: an unknown suffix or format, or one file named twice.
    """
    if not outputs:
        raise UsageError(
            "nowhere to write", hint="add -o out.srt, -o out.jsonl, -o folder/ or -o - for standard output"
        )
    known = ", ".join(sorted(writers))
    files: list[tuple[Path, Writer]] = []
    trees: list[tuple[Path, Writer]] = []
    for text in outputs:
        path = Path(text)
        if text == "-":
            continue
        if text.endswith(("/", os.sep)) or path.is_dir():
            writer = writers.get("." + tree_format.lstrip("."))
            if writer is None:
                raise UsageError(f"unknown --format {tree_format!r}", hint=f"one of: {known}")
            trees.append((path, writer))
        elif path.suffix.lower() in writers:
            files.append((path, writers[path.suffix.lower()]))
        else:
            named = f"unknown suffix {path.suffix!r}" if path.suffix else "no suffix"
            raise UsageError(
                named, path=text, hint=f"use one of {known}, or end the name with / to mirror into a folder"
            )
    names = Counter(os.path.realpath(path) for path, _ in (*files, *trees))
    for name, count in names.items():
        if count > 1:
            raise UsageError("named twice as output", path=name, hint="give each -o its own name")
    return Outputs(tuple(files), tuple(trees), "-" in outputs)


@dataclass(frozen=True)
class Plan:
    """What one run of ``caption`` will do."""

    sources: list[Source]
    outputs: Outputs = field(default_factory=Outputs)


def check_collisions(plan: Plan) -> None:
    """No two videos may share an output file, no output may overwrite an input, every name must fit a file system.

    Raises:
        UsageError: naming both.
    """
    inputs = {os.path.realpath(source.path): source for source in plan.sources}
    taken: dict[str, str] = {}
    targets = [(path, "an output") for path, _ in plan.outputs.files]
    targets += [(target, source.given) for source in plan.sources for target, _ in plan.outputs.tree_targets(source)]
    for path, owner in targets:
        if len(os.fsencode(path.name)) > LONGEST_NAME_BYTES:
            raise UsageError(
                "this output name is too long for a file", path=path, hint="rename the video, or use -o FILE"
            )
        real = os.path.realpath(path)
        if real in inputs:
            raise UsageError("is an input and would be overwritten", path=path, hint="choose another -o")
        if real in taken:
            raise UsageError(
                f"would be written for both {taken[real]} and {owner}",
                path=path,
                hint="caption the folders one by one, or name their common parent as input",
            )
        taken[real] = owner
