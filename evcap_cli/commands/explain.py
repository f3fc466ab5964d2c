"""``evcap explain``: one page about what the system did with one video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.commands.config_file import ENGINE
from evcap_cli.commands.run_flags import CaptionFlags, takes
from evcap_cli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(
        takes(without=(*ENGINE, "segment", "sampling", "max_words", "workers", "style", "prompt", "no_emotion"))(
            explain
        )
    )


def explain(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="One video.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="HTML", help="The page to write.")] = Path(
        "explain.html"
    ),
    checkpoint: shared.Checkpoint = "demo",
    *,
    flags: CaptionFlags,
) -> None:
    """Show what the system attends to in picture and audio for each word of a caption, and which emotion it perceives.

    Example: evcap explain videos/a.mp4 -c runs/mine -o page.html
    """
    from evcap_cli.captioning.checkpoint_captioner import CheckpointCaptioner
    from evcap_cli.explaining.explain_page import render
    from evcap_cli.explaining.explain_video import explain as explain_video
    from evcap_cli.explaining.explain_video import one_video
    from evcap_cli.files import check_writable, write_whole
    from evcap_cli.systems.captioners import find_captioner

    if output.suffix.lower() != ".html":
        raise UsageError("the page is HTML", path=output, hint="end its name with .html")
    source = one_video(video)
    if output.exists() and output.samefile(source.path):
        raise UsageError("is the video itself", path=output, hint="choose another -o")
    check_writable(output)
    options = replace(flags.caption_options(checkpoint), workers=1)
    if find_captioner(options.checkpoint) is not None:
        raise UsageError(
            f"evcap explain cannot look into the ready-made captioner {checkpoint}", hint="give a trained checkpoint"
        )
    captioner = CheckpointCaptioner(options)
    shared.note_demo(checkpoint)
    explained = explain_video(source, captioner)
    for text in explained.warnings:
        console.warn(f"{source.given}: {text}")
    write_whole(output, render(explained, captioner.checkpoint))
    console.info(f"the inside of {source.given}: {output}")
