"""``evcap demo-world``: a data set of drawn clips with captions, in EmVidCap's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.console import counted


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="demo-world")(demo_world)


def demo_world(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The data root to write.")],
    videos: Annotated[int, typer.Option("--videos", min=1, help="How many clips.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Another number, another world.")] = 1,
    test_share: Annotated[
        float, typer.Option("--test-share", min=0.0, max=1.0, help="Part of the clips that is the test split.")
    ] = 0.2,
    conflict: Annotated[
        float,
        typer.Option(
            "--conflict", min=0.0, max=1.0, metavar="SHARE", help="Part of the clips whose sound contradicts the face."
        ),
    ] = 0.0,
    variant: Annotated[
        bool,
        typer.Option(
            "--variant",
            help="Another world: other subjects, actions and words, another style of drawing, same emotions.",
        ),
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Drawing processes.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another world that is there.")] = False,
    config: shared.Config = None,  # noqa: ARG001  read by its callback
    quiet: shared.Quiet = False,  # noqa: ARG001
    verbose: shared.Verbose = False,  # noqa: ARG001
) -> None:
    """Draw a small world of clips whose truth is known, with captions, in EmVidCap's layout.

    Example: evcap demo-world world --videos 1500 --seed 1

    Example: evcap demo-world other --variant --videos 60
    """
    from evcap_cli.demo.layout import TEST, TRAIN, write_world
    from evcap_cli.demo.make_facts import make_facts

    facts = make_facts(videos, seed, conflict=conflict, variant=variant)
    world = write_world(folder, facts, workers=workers, test_share=test_share, overwrite=overwrite)
    console.info(f"{folder}: {counted(len(world.of(TRAIN)), 'clip')} to train on, {len(world.of(TEST))} to test")
    console.info(f"train with: evcap train --backbone lite --data {folder}")
