"""``evcap data``: what a data root holds, people's own captions as one, and surrogate features in place of videos."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_NOTHING_DONE, EXIT_SOME_FAILED, UsageError

if TYPE_CHECKING:
    from evcap_cli.data.imports.caption_rows import Problem, Role

NAMED_PROBLEMS: Final = 5
"""Lines of one kind that are named one by one."""


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Examine a data set before training.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(check)
    group.command(name="import")(import_)
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
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="Compare the videos of both splits by a preset's appearance and motion: lite, open, ...; features"
            " come from the cache, else are extracted.",
        ),
    ] = None,
    appearance: shared.Appearance = None,
    motion: shared.Motion = None,
    device: shared.Device = "auto",
    workers: shared.Workers = 2,
    cache_dir: shared.CacheDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON, with all names.")] = False,
    verbose: shared.Verbose = False,
) -> None:
    """Say what a data root holds: captions, lexicon, videos, features, word vectors, and what is missing.

    Videos that both splits have are named: by their bytes and, with --backbone or feature files, by how they look.

    Exit code 0: training can start from it; 1: it cannot, and the report says why; 2: there is no data set here.

    Example: evcap data check EPAN --videos clips

    Example: evcap data check mine --backbone lite
    """
    from evcap_cli.training.inventory_text import report
    from evcap_cli.training.root_check import take_inventory

    compare = None
    if backbone is not None or appearance is not None or motion is not None:
        from evcap_cli.features.options import FeatureOptions

        named = {kind: name for kind, name in (("appearance", appearance), ("motion", motion)) if name is not None}
        compare = FeatureOptions(
            backbone=backbone, backbones=named, device=device, workers=workers, cache_dir=cache_dir
        )
    found = take_inventory(root, subset, videos=videos, features=features or (), compare=compare)
    console.data(json.dumps(found.to_dict(), indent=1) + "\n" if as_json else report(found, everything=verbose))
    if not found.ready:
        raise typer.Exit(EXIT_NOTHING_DONE)


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Captions: CSV, TSV or JSON lines with file name and caption, COCO captions, MSR-VTT or VATEX JSON,"
            " .srt or .vtt, or a folder of these two.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="ROOT", help="Folder of the data root.")],
    videos: Annotated[
        Path | None, typer.Option("--videos", metavar="DIR", help="Folder of the videos.", show_default="FILE's folder")
    ] = None,
    test_share: Annotated[
        float | None,
        typer.Option(
            "--test-share",
            min=0.0,
            max=0.9,
            help="Share of the videos that becomes the test split.",
            show_default="as FILE says, else 0.2",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another number, another split.")] = 0,
    lexicon: Annotated[
        Path | None,
        typer.Option(
            "--lexicon",
            metavar="PATH",
            help="Word list folder, lexicon.json, or checkpoint folder.",
            show_default="evcap's general one",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column", metavar="ROLE=NAME", help="Name of a column or key: file, caption, start, end or split."
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", metavar="NAME", help="Of a FILE that is not UTF-8, such as latin-1 or cp1252."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the root of an earlier import.")] = False,
    config: shared.Config = None,  # noqa: ARG001  read by its callback
    quiet: shared.Quiet = False,  # noqa: ARG001
    verbose: shared.Verbose = False,
) -> None:
    """Make a data root of your own captions and videos, to train on; videos are linked, not copied or cut.

    Lines that cannot be imported are named, and the rest is imported (exit code 3).

    Example: evcap data import captions.csv --videos clips/ -o mine
    """
    from evcap_cli.data.imports.importing import ImportPlan, import_captions
    from evcap_cli.data.imports.recognising import read_caption_rows
    from evcap_cli.data.imports.video_names import VideoNames
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.data.root_files import VIDEO_FOLDER
    from evcap_cli.media.decoder import Decoder
    from evcap_cli.training.inventory_text import report
    from evcap_cli.training.root_check import take_inventory

    columns = column_roles(column or ())
    plan = ImportPlan(Lexicon.general() if lexicon is None else Lexicon.from_path(lexicon), test_share, seed)
    names = VideoNames(videos or (file if file.is_dir() else file.parent))
    source = read_caption_rows(file, names, columns=columns, encoding=encoding)
    with Decoder() as decoder:
        found = import_captions(
            source, names, output, plan, end_of=lambda path: decoder.open(path).end, overwrite=overwrite
        )
    for note in found.notes:
        console.info(f"{file}: {note}")
    for line in problem_lines(source.problems, output, everything=verbose):
        console.warn(line)
    if not found.linked:
        console.warn(
            f"{output / VIDEO_FOLDER} could not be linked to {names.folder}: train with --videos {names.folder}"
        )
    console.info(found.sentence(output))
    console.data(report(take_inventory(output, videos=None if found.linked else names.folder), everything=verbose))
    if source.problems:
        raise typer.Exit(EXIT_SOME_FAILED)


def column_roles(values: Sequence[str]) -> dict[Role, str]:
    """``--column ROLE=NAME``.

    Raises:
        UsageError: another form, or no such role.
    """
    from evcap_cli.data.imports.caption_rows import ROLES

    named = shared.pairs(values, "--column")
    for name in named:
        if name not in ROLES:
            raise UsageError(f"--column {name}=: there is no role {name!r}", hint=f"the roles are {', '.join(ROLES)}")
    return {role: named[role] for role in ROLES if role in named}


def problem_lines(problems: Sequence[Problem], root: Path, *, everything: bool) -> Iterator[str]:
    """Lines that were not imported, those of one kind together, and the first few of each or everything."""
    from evcap_cli.data.origins import ORIGIN_FILE

    for kind in dict.fromkeys(problem.kind for problem in problems):
        several = [problem for problem in problems if problem.kind == kind]
        for problem in several if everything else several[:NAMED_PROBLEMS]:
            yield f"{problem.place}: {problem.text}"
        more = len(several) - NAMED_PROBLEMS
        if more > 0 and not everything:
            yield f"and {counted(more, 'more line')} of this kind (-v names all, {root / ORIGIN_FILE} lists them)"


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
