"""``evcap demo``: the whole way on rendered clips, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from evcap_cli.demo.run import DemoResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the demo goes.")] = Path("evcap-demo"),
    videos: Annotated[int, typer.Option(min=1, help="Clips to render.")] = 12,
    quiet: shared.Quiet = False,  # noqa: ARG001  read by its callback
) -> None:
    """Render a few clips, caption them with the bundled checkpoint, print captions and scores.

    Writes DIR/videos, DIR/out.srt, DIR/out.jsonl and DIR/report.html; needs no network.
    """
    from evcap_cli.demo.run import OUTPUTS, run_demo

    console.info(f"rendering {counted(videos, 'clip')} that the demo checkpoint has never seen, in {folder}/videos")
    result = run_demo(folder, clips=videos)
    for line in lines(result):
        console.answer(line)
    for lost in result.summary.unwritten:
        console.error(lost)
    console.info("wrote " + ", ".join(str(folder / name) for name in OUTPUTS))
    for reason in result.scores.missing.values():
        console.error(reason)
    raise typer.Exit(result.summary.exit_code or (EXIT_SOME_FAILED if result.scores.missing else 0))


def lines(result: DemoResult) -> list[str]:
    """Captions with their emotions, and the scores below them."""
    shown = []
    for record in result.records:
        for caption in record.captions:
            emotion = caption.emotion
            note = "" if emotion is None else emotion.category
            note += "" if emotion is None or emotion.probability is None else f" {emotion.probability:.0%}"
            shown.append(f"{record.id}  {note:<18}  {caption.text}")
    scores = "  ".join(f"{name} {value:.1f}" for name, value in result.scores.metrics.items() if value is not None)
    return [*shown, "", f"scores of {counted(len(result.records), 'clip')}: {scores}"]
