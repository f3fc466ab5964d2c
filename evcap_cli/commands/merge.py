"""``evcap merge``: join the JSONL of shards, or turn one format into another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evcap_cli import console, plugins
from evcap_cli.commands.options import lost_much
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_NOTHING_DONE, EXIT_SOME_FAILED, UsageError
from evcap_cli.output.output_plan import plan_outputs
from evcap_cli.paths import name_key
from evcap_cli.standard_streams import check_output

if TYPE_CHECKING:
    from evcap_cli.output.records import Record


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(merge)


def merge(
    inputs: Annotated[list[Path], typer.Argument(metavar="JSONL...", help="Outputs of evcap caption, one or more.")],
    output: Annotated[list[str], typer.Option("--output", "-o", metavar="OUT", help="As in evcap caption.")],
) -> None:
    """Join the outputs of shards, or turn JSONL into subtitles, tables or a report.

    Example: evcap merge part1.jsonl part2.jsonl -o all.srt
    """
    from evcap_cli.output.record_files import read_records
    from evcap_cli.output.rendering import write_files

    outputs = plan_outputs(output, "srt", plugins.writers())
    if outputs.stdout:
        check_output()
    if outputs.trees:
        raise UsageError(
            "merge writes files, not folders", path=outputs.trees[0][0], hint="name a file such as all.srt"
        )
    records: dict[str, Record] = {}
    alike: dict[str, str] = {}
    for path in inputs:
        found = read_records(path)
        here = {record.path for record in found}
        for record in found:
            name = record.path if record.path in records else alike.setdefault(name_key(record.path), record.path)
            if name != record.path and name in here:
                name = record.path  # both in one file: two videos whose names look the same
            earlier = records.get(name)
            same = earlier is not None and replace(record, path=earlier.path, id=earlier.id) == earlier
            if earlier is not None and earlier.status == "ok" and not same:
                if record.status == "ok":
                    raise UsageError(
                        f"{record.path} is captioned here and, differently, in an earlier file",
                        path=path,
                        hint="merge shards of one run only",
                    )
                continue
            records[name] = record
    ordered = [records[path] for path in sorted(records)]
    problems = write_files(outputs.files, ordered)
    if outputs.stdout:
        console.data("".join(record.to_line() + "\n" for record in ordered))
    if problems:
        for problem in problems:
            console.error(problem)
        raise typer.Exit(
            EXIT_SOME_FAILED if outputs.stdout or len(problems) < len(outputs.files) else EXIT_NOTHING_DONE
        )
    lost = lost_much(sum(record.lost_much for record in ordered))
    videos, files = counted(len(ordered), "video"), counted(len(inputs), "file")
    console.info(f"merged {videos} from {files}{lost}: {', '.join(output)}")
