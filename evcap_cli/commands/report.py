"""``evcap report``: the HTML page of records that exist already, or of a run of training."""

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
    predictions: Annotated[
        Path, typer.Argument(metavar="JSONL|RUN", help="Output of evcap caption, or a run folder of evcap train.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="HTML",
            help="The page to write.",
            show_default="report.html; of a run RUN/report.html",
        ),
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option(help="Put pictures of the videos in, where they still lie; of a run those that it keeps.")
    ] = True,
) -> None:
    """Make an offline page with thumbnails, captions, emotions and timelines; of many videos, pages of 500.

    Of a run folder, the page that training writes.

    Example: evcap report out.jsonl -o report.html

    Example: evcap report runs/mine
    """
    if predictions.is_dir():
        from evcap_cli.training.run_page import write_page

        console.info(f"report of the run: {write_page(predictions, output, thumbnails=thumbnails)}")
    else:
        _of_records(predictions, output or Path("report.html"), thumbnails=thumbnails)


def _of_records(predictions: Path, output: Path, *, thumbnails: bool) -> None:
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
