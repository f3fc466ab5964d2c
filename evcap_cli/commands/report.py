"""``evcap report``: the HTML page of records that exist already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evcap_cli import console
from evcap_cli.console import counted, noun


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    predictions: Annotated[Path, typer.Argument(metavar="JSONL", help="Output of evcap caption.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="HTML", help="The page to write.")] = Path(
        "report.html"
    ),
    thumbnails: Annotated[bool, typer.Option(help="Put pictures of the videos in, where they still lie.")] = True,
) -> None:
    """Make one offline page with thumbnails, captions, emotions and timelines.

    Example: evcap report out.jsonl -o report.html
    """
    from evcap_cli.files import check_writable, write_whole
    from evcap_cli.output.html_report import is_there, render_report
    from evcap_cli.output.record_files import read_records

    records = read_records(predictions)
    check_writable(output)
    gone = sum(not is_there(record.path) for record in records)
    if thumbnails and gone:
        where = "not where the records say"
        lost = noun(gone, f"is {where}; it is shown", f"are {where}; they are shown")
        console.warn(f"{gone} of {counted(len(records), 'video')} {lost} without a picture")
    write_whole(output, render_report(records, thumbnails=thumbnails, folder=output.parent))
    console.info(f"report of {counted(len(records), 'video')}: {output}")
