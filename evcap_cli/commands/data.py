"""``evcap data check``: what a data root holds, and what to do about what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.errors import EXIT_NOTHING_DONE, UsageError


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Look at a data set before training.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(check)
    app.add_typer(group, name="data")


def check(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The data root.", envvar="EVCAP_DATA")],
    videos: Annotated[
        Path | None, typer.Option("--videos", metavar="DIR", help="Folder of the videos.", show_default="ROOT/videos")
    ] = None,
    subset: Annotated[str, typer.Option("--subset", help="Part of EmVidCap: L, S or both.")] = "both",
    features: Annotated[
        list[str] | None,
        typer.Option("--features", metavar="NAME", help="A stream of features that must be there, or their folder."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON, with all names.")] = False,
    verbose: shared.Verbose = False,
) -> None:
    """Say what a data root holds: captions, lexicon, videos, features, word vectors, and what is missing.

    Exit code 0: training can start from it; 1: it cannot, and the report says why; 2: there is no data set here.

    Example: evcap data check EPAN --videos clips
    """
    from evcap_cli.data.emvidcap import SUBSETS
    from evcap_cli.data.inventory_text import report
    from evcap_cli.data.root_check import take_inventory

    if subset not in SUBSETS:
        raise UsageError(f"--subset {subset!r} is not one of {', '.join(SUBSETS)}")
    found = take_inventory(root, subset, videos=videos, features=features or ())
    console.data(json.dumps(found.to_dict(), indent=1) + "\n" if as_json else report(found, everything=verbose))
    if not found.ready:
        raise typer.Exit(EXIT_NOTHING_DONE)
