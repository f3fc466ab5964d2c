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
    """Make an offline page with thumbnails, captions, emotions and timelines; of many videos, pages of 500.

    Example: evcap report out.jsonl -o report.html
    """
    from evcap_cli.files import check_writable
    from evcap_cli.output.html_report import is_there
    from evcap_cli.output.record_files import RecordFile
    from evcap_cli.output.rendering import write_file
    from evcap_cli.output.writers import HtmlReport

    records = RecordFile(predictions)
    count = gone = 0
    for record in records:
        count, gone = count + 1, gone + (not is_there(record.path))
    check_writable(output)
    if thumbnails and gone:
        where = "not where the records say"
        lost = noun(gone, f"is {where}; it is shown", f"are {where}; they are shown")
        console.warn(f"{gone} of {counted(count, 'video')} {lost} without a picture")
    write_file(output, HtmlReport(thumbnails=thumbnails), records)
    console.info(f"report of {counted(count, 'video')}: {output}")
