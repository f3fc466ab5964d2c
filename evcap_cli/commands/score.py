"""``evcap score``: the eleven metrics of the field for a file of captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.errors import EXIT_SOME_FAILED, DataError

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.data.parts import Subset


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(score)


def score(
    context: typer.Context,
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDS", help="Captions: evcap's .jsonl, COCO results, video_id/caption lines, EPAN's csv."
        ),
    ],
    data: Annotated[
        Path | None, typer.Option("--data", envvar="EVCAP_DATA", metavar="ROOT", help="EmVidCap data root.")
    ] = None,
    refs: Annotated[
        Path | None, typer.Option("--refs", metavar="FILE", help="References: a caption csv, JSON or JSON lines.")
    ] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option("--lexicon", metavar="PATH", help="Word list folder, lexicon.json, or checkpoint folder."),
    ] = None,
    split: Annotated[
        Literal["test", "train", "all"], typer.Option("--split", help="Whose references of --data.")
    ] = "test",
    subset: shared.DataSubset = "L",
    protocol: Annotated[
        Literal["paper", "coco"], typer.Option("--protocol", help="As every published number, or with PTB tokens.")
    ] = "paper",
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, metavar="N", help="Resamplings of the videos for 95 % intervals.")
    ] = 0,
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare",
            metavar="OTHER",
            help="Captions of another system: differences with 95 % intervals and p-values (1,000 resamplings).",
        ),
    ] = None,
    human: Annotated[
        bool, typer.Option("--human", help="Score people too: a reference of each video against its others.")
    ] = False,
    rows: Annotated[
        Literal["paper", "literature"] | None,
        typer.Option("--rows", help="Print published rows, people and a constant caption underneath."),
    ] = None,
    per_video: Annotated[
        Path | None,
        typer.Option("--per-video", metavar="FILE", help="Write a JSON line a video: its emotions, its own metrics."),
    ] = None,
    meteor: Annotated[bool, typer.Option("--meteor/--no-meteor", help="Compute METEOR, which needs Java.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: shared.Config = None,  # noqa: ARG001  read by its callback
    quiet: shared.Quiet = False,  # noqa: ARG001
    verbose: shared.Verbose = False,  # noqa: ARG001
) -> None:
    """Score captions against references: emotion accuracy, BLEU, METEOR, ROUGE-L, CIDEr, BFS, CFS.

    References come from the records themselves, --refs, --data or EVCAP_DATA, in this order.

    Example: evcap score preds.jsonl --data EPAN/ --bootstrap 1000
    """
    from evcap_cli.files import check_writable, write_pieces
    from evcap_cli.scoring import score_table
    from evcap_cli.scoring.constant_row import constant_of
    from evcap_cli.scoring.prediction_files import read_predictions
    from evcap_cli.scoring.score_captions import score_captions

    if per_video is not None:
        check_writable(per_video)
    given = read_predictions(predictions)
    other = None if compare is None else read_predictions(compare)
    source = context.get_parameter_source("data")
    needed = not given.references and refs is None
    root = _root(data, subset, needed=needed or source is None or source.name != "ENVIRONMENT")
    constant = None if rows is None or root is None else constant_of(root)
    if rows is not None and constant is None:
        console.warn("no row of a constant caption: the training captions of --data ROOT decide which caption it is")
    scores = score_captions(
        given,
        None if given.references else refs or root,
        protocol,
        bootstrap,
        lexicon=lexicon or (None if root is None else root.lexicon),
        split=split,
        meteor=meteor,
        compare=other,
        human=human or rows is not None,
        constant=constant,
    )
    for note in scores.notes:
        if note not in scores.missing.values():
            console.warn(note)
    for reason in scores.missing.values():
        console.error(reason)
    published = rows
    if rows is not None and scores.surrogate:
        published = None
        console.warn(f"the {rows}'s rows are not shown: captions of surrogate features do not compare with them")
    elif rows is not None and scores.references_by:
        published = None
        console.warn(f"the {rows}'s rows are not shown: references that a model wrote do not compare with them")
    elif rows is not None and (subset, split, protocol) != ("L", "test", "paper"):
        console.warn(f"the {rows}'s rows are of EmVidCap-L, test split, paper protocol")
    if per_video is not None:
        write_pieces(per_video, score_table.per_video_lines(scores))
    if as_json:
        console.data(score_table.score_json(scores, published=published))
    else:
        console.data(score_table.score_text(scores, str(predictions), str(compare or ""), published=published))
    if scores.missing:
        raise typer.Exit(EXIT_SOME_FAILED)


def _root(data: Path | None, subset: Subset, *, needed: bool) -> DataRoot | None:
    """The data root; one that only the environment names may be bad where its lexicon is all it would give."""
    from evcap_cli.data.emvidcap import DataRoot

    if data is None:
        return None
    try:
        root = DataRoot.open(data, subset)
    except DataError as problem:
        if needed:
            raise
        console.warn(f"EVCAP_DATA is not used: {problem}")
        return None
    for warning in root.warnings:
        console.detail(warning)
    return root
