"""From ``-o`` values to a plan of outputs: files by suffix, mirrored trees, standard output; no collisions."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evcap_cli.errors import UsageError
from evcap_cli.inputs import Source
from evcap_cli.output.writers import Writer
from evcap_cli.paths import LONGEST_NAME_BYTES, check_output_name, expanded, is_folder
from evcap_cli.scratch import Scratch, packed, unpacked


@dataclass(frozen=True)
class Outputs:
    """Where captions go: whole files, mirrored trees, or JSONL on stdout."""

    files: tuple[tuple[Path, Writer], ...] = ()
    trees: tuple[tuple[Path, Writer], ...] = ()
    stdout: bool = False

    @property
    def paths(self) -> list[Path]:
        """Files and trees."""
        return [path for path, _ in (*self.files, *self.trees)]

    @property
    def journal(self) -> Path | None:
        """``OUT.partial`` next to the first output, ``/evcap.partial`` for ``/``; none for stdout alone."""
        for path in self.paths:
            if path.name in {"", ".."}:
                path = Path(os.path.abspath(path))  # noqa: PTH100  no link of a path is resolved
            return path.with_name(f"{path.name}.partial") if path.name else path / "evcap.partial"
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
    for typed in outputs:
        if typed == "-":
            continue
        if not typed:
            raise UsageError("an output is empty", hint="name a file, or a folder/")
        text = expanded(typed)
        path = Path(text)
        check_output_name(path)
        if text.endswith(("/", os.sep)) or is_folder(path):
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
class CaptionPlan:
    """What one run of ``evcap caption`` will do: which videos, and into which outputs."""

    sources: Sequence[Source]
    outputs: Outputs = field(default_factory=Outputs)


def check_collisions(plan: CaptionPlan) -> None:
    """No two videos may share an output file, no output may overwrite an input, every name must fit a file system.

    Raises:
        UsageError: naming both.
    """
    table = Scratch(
        """CREATE TABLE inputs (path BLOB PRIMARY KEY) WITHOUT ROWID;
        CREATE TABLE taken (path BLOB PRIMARY KEY, owner BLOB) WITHOUT ROWID;"""
    )
    whole = {os.path.realpath(path) for path, _ in plan.outputs.files}
    paths = (os.path.realpath(source.path) for source in plan.sources)
    # whole files alone are few enough to be compared as the inputs go by
    inputs = ((packed(path),) for path in paths if plan.outputs.trees or path in whole)
    table.change_many("INSERT OR IGNORE INTO inputs VALUES (?)", inputs)
    for path, owner in _targets(plan):
        if len(os.fsencode(path.name)) > LONGEST_NAME_BYTES:
            raise UsageError(
                "this output name is too long for a file", path=path, hint="rename the video, or use -o FILE"
            )
        real = packed(os.path.realpath(path))
        if table.row("SELECT 1 FROM inputs WHERE path = ?", (real,)):
            raise UsageError("is an input and would be overwritten", path=path, hint="choose another -o")
        if not table.change("INSERT OR IGNORE INTO taken VALUES (?, ?)", (real, packed(owner))):
            (first,) = table.row("SELECT owner FROM taken WHERE path = ?", (real,)) or (b"",)
            raise UsageError(
                f"would be written for both {unpacked(first)} and {owner}",
                path=path,
                hint="caption the folders one by one, or name their common parent as input",
            )


def _targets(plan: CaptionPlan) -> Iterator[tuple[Path, str]]:
    """All files that will be written, each with what it is written for."""
    yield from ((path, "an output") for path, _ in plan.outputs.files)
    for source in plan.sources if plan.outputs.trees else ():
        yield from ((target, source.given) for target, _ in plan.outputs.tree_targets(source))
