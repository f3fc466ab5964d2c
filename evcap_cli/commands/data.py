"""``evcap data``: what a data root holds, and surrogate features in place of videos that are not to be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_NOTHING_DONE


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Examine a data set before training.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(check)
    group.command()(surrogate)
    app.add_typer(group, name="data")


def check(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The data root.", envvar="EVCAP_DATA")],
    videos: Annotated[
        Path | None, typer.Option("--videos", metavar="DIR", help="Folder of the videos.", show_default="ROOT/videos")
    ] = None,
    subset: shared.DataSubset = "both",
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
    from evcap_cli.training.inventory_text import report
    from evcap_cli.training.root_check import take_inventory

    found = take_inventory(root, subset, videos=videos, features=features or ())
    console.data(json.dumps(found.to_dict(), indent=1) + "\n" if as_json else report(found, everything=verbose))
    if not found.ready:
        raise typer.Exit(EXIT_NOTHING_DONE)


def surrogate(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The data root.", envvar="EVCAP_DATA")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the files.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another number, another noise.")] = 0,
    noise: Annotated[
        float, typer.Option("--noise", min=0.0, help="Noise of a row; 1 is as strong as a word that all captions say.")
    ] = 1.0,
    dropout: Annotated[
        float, typer.Option("--dropout", min=0.0, max=1.0, help="Share of a video's words that a stream misses.")
    ] = 0.2,
    width: Annotated[int, typer.Option("--width", help="Numbers a row, a multiple of 8.")] = 128,
    subset: shared.DataSubset = "both",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    config: shared.Config = None,  # noqa: ARG001  read by its callback
    quiet: shared.Quiet = False,  # noqa: ARG001
    verbose: shared.Verbose = False,  # noqa: ARG001
) -> None:
    """Make features from captions, where the videos are not to be had: to compare systems, never for absolute scores.

    Things go to appearance and objects, actions to motion, emotion words to sound and, fainter, to appearance.

    Example: evcap data surrogate EPAN/ -o surrogates
    """
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.data.features_layout import SURROGATE_NOTE
    from evcap_cli.data.surrogate import SurrogateSettings
    from evcap_cli.output.surrogate_files import write_surrogates

    settings = SurrogateSettings(seed=seed, noise=noise, dropout=dropout, width=width)
    opened = DataRoot.open(root, subset)
    for warning in opened.warnings:
        console.warn(warning)
    written = write_surrogates(opened, output, settings, overwrite=overwrite)
    videos = " and ".join(f"{count} {split}" for split, count in written.videos.items())
    words = ", ".join(counted(count, kind) for kind, count in written.words.items())
    console.info(f"{output}: {counted(len(written.files), 'file')} of {videos} videos, {settings.width} wide ({words})")
    console.warn(SURROGATE_NOTE)
    used = "" if subset == "L" else f" --subset {subset}"
    console.info(f"train with: evcap train --data {root}{used} --features {output} -o runs/surrogate")
