"""``evcap merge``: join the JSONL of shards, or turn one format into another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evcap_cli import console, plugins
from evcap_cli.commands.options import lost_much
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_NOTHING_DONE, EXIT_SOME_FAILED, UsageError
from evcap_cli.output.output_plan import plan_outputs
from evcap_cli.standard_streams import check_output


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
    from evcap_cli.output.merged_records import MergedRecords
    from evcap_cli.output.rendering import write_files

    outputs = plan_outputs(output, "srt", plugins.writers())
    if outputs.stdout:
        check_output()
    if outputs.trees:
        raise UsageError(
            "merge writes files, not folders", path=outputs.trees[0][0], hint="name a file such as all.srt"
        )
    records = MergedRecords()
    for path in inputs:
        records.add(path)
    problems = write_files(outputs.files, records)
    for record in records if outputs.stdout else ():
        console.data(record.to_line() + "\n")
    if problems:
        for problem in problems:
            console.error(problem)
        raise typer.Exit(
            EXIT_SOME_FAILED if outputs.stdout or len(problems) < len(outputs.files) else EXIT_NOTHING_DONE
        )
    lost = lost_much(records.lost_much)
    videos, files = counted(len(records), "video"), counted(len(inputs), "file")
    console.info(f"merged {videos} from {files}{lost}: {', '.join(output)}")
