"""``evcap score``: the eleven metrics of the field for a file of captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from evcap_cli import console, plugins
from evcap_cli.commands import options as shared
from evcap_cli.console import counted, noun
from evcap_cli.errors import EXIT_SOME_FAILED, DataError, UsageError

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.scoring.prediction_files import Predictions
    from evcap_cli.scoring.score_texts import Protocol, Scores

SPLITS = ("test", "train", "all")
PROTOCOLS = ("paper", "coco")
SUBSETS = ("L", "S", "both")
ROWS = ("paper",)
NAMED = 3
"""Ids that a warning names; ``-v`` names all."""


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
    split: Annotated[str, typer.Option("--split", help="Whose references of --data: test, train or all.")] = "test",
    subset: Annotated[str, typer.Option("--subset", help="Part of EmVidCap: L, S or both.")] = "L",
    protocol: Annotated[
        str, typer.Option("--protocol", help="paper (as every published number) or coco (PTB tokens).")
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
        str | None, typer.Option("--rows", metavar="paper", help="Print published rows underneath: paper.")
    ] = None,
    per_video: Annotated[
        Path | None,
        typer.Option("--per-video", metavar="FILE", help="Write a JSON line a video: emotions told, own metrics."),
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
    for option, value, known in (
        ("--split", split, SPLITS),
        ("--protocol", protocol, PROTOCOLS),
        ("--subset", subset, SUBSETS),
        ("--rows", rows or ROWS[0], ROWS),
    ):
        if value not in known:
            raise UsageError(f"{option} {value!r} is not one of {', '.join(known)}")

    from evcap_cli.files import check_writable, write_whole
    from evcap_cli.scoring.prediction_files import read_predictions
    from evcap_cli.scoring.score_table import per_video_lines
    from evcap_cli.scoring.score_texts import score_captions

    if per_video is not None:
        check_writable(per_video)
    given = read_predictions(predictions)
    other = None if compare is None else read_predictions(compare)
    source = context.get_parameter_source("data")
    needed = not given.references and refs is None
    root = _root(data, subset, needed=needed or source is None or source.name != "ENVIRONMENT")
    references = _references(given, refs, root, split)
    chosen = _matched(given, references, predictions)
    scores = score_captions(
        {video: given.captions[video] for video in chosen},
        {video: references[name] for video, name in chosen.items()},
        _lexicon(lexicon, root),
        meteor=meteor,
        bootstrap=bootstrap,
        protocol=cast("Protocol", protocol),
        extra=plugins.metrics(),
        compare=None if other is None or compare is None else _counterparts(chosen, other, references, compare),
        human=human,
    )
    surrogate = given.surrogate or (other is not None and other.surrogate)
    if surrogate:
        from evcap_cli.data.features_layout import SURROGATE_NOTE

        scores.notes.append(SURROGATE_NOTE)
    for note in scores.notes:
        if note not in scores.missing.values():
            console.warn(note)
    for reason in scores.missing.values():
        console.error(reason)
    if rows and surrogate:
        rows = None
        console.warn("the paper's rows are not shown: captions told from surrogate features do not compare with them")
    if rows and (subset != "L" or split != "test" or protocol != "paper"):
        console.warn("the paper's rows are of EmVidCap-L, test split, paper protocol")
    if per_video is not None:
        write_whole(per_video, per_video_lines(scores))
    console.data(_shown(scores, predictions, compare, published=rows is not None, as_json=as_json))
    if scores.missing:
        raise typer.Exit(EXIT_SOME_FAILED)


def _shown(scores: Scores, this: Path, other: Path | None, *, published: bool, as_json: bool) -> str:
    from evcap_cli.scoring import score_table

    if as_json:
        quoted = {"published": score_table.published_dicts()} if published else {}
        return json.dumps({**scores.to_dict(), **quoted}, indent=1) + "\n"
    parts = [score_table.table(scores), score_table.human_table(scores)]
    if scores.comparison is not None and other is not None:
        parts.append(score_table.comparison_table(scores.comparison, str(this), str(other)))
    if published:
        parts.append(score_table.published_table())
    return "\n\n".join(part for part in parts if part) + "\n"


def _root(data: Path | None, subset: str, *, needed: bool) -> DataRoot | None:
    """The data root; one that only the environment names may be bad where its lexicon is all it would give."""
    from evcap_cli.data.emvidcap import DataRoot

    if data is None:
        return None
    try:
        root = DataRoot.open(data, cast("Any", subset))
    except DataError as problem:
        if needed:
            raise
        console.warn(f"EVCAP_DATA is not used: {problem}")
        return None
    for warning in root.warnings:
        console.detail(warning)
    return root


def _references(given: Predictions, refs: Path | None, root: DataRoot | None, split: str) -> dict[str, list[str]]:
    from evcap_cli.scoring.prediction_files import read_references

    if given.references:
        return given.references
    if refs is not None:
        return read_references(refs)
    if root is None:
        raise UsageError(
            "there is nothing to score against",
            hint="give references with --data ROOT (or EVCAP_DATA) or --refs FILE",
        )
    if split == "test" and not root.test:
        raise DataError("has no test captions", path=root.root, hint="give --split train, or references with --refs")
    return {**(root.train if split != "test" else {}), **(root.test if split != "train" else {})}


def _matched(given: Predictions, references: dict[str, list[str]], path: Path) -> dict[str, str]:
    """Videos that have both, with the references' name for them; says what is missing on either side."""
    from evcap_cli.data.caption_text import tokens
    from evcap_cli.scoring.prediction_files import match_ids

    chosen = match_ids(given.captions, references)
    if not chosen:
        first = next(iter(given.captions))
        raise DataError(
            f"none of its {counted(len(given.captions), 'video')} has references: the first is {first} "
            f"({given.places[first]}), the references begin with {next(iter(references))}",
            path=path,
            hint="these are captions of another data set or split: check --data, --refs, --split and --subset",
        )
    by_name: dict[str, str] = {}
    for video, name in chosen.items():
        if by_name.setdefault(name, video) != video:
            raise DataError(
                f"{given.places[video]}: {video} is the same video as {by_name[name]} ({given.places[by_name[name]]})",
                path=path,
                hint="keep one caption a video",
            )
    lost = [video for video in given.captions if video not in chosen]
    silent = [name for name in references if name not in by_name]
    empty = [f"{video} ({given.places[video]})" for video in chosen if not tokens(given.captions[video])]
    _tell(
        path,
        lost,
        noun(len(lost), "caption has no references and is left out", "captions have no references and are left out"),
    )
    missing = noun(len(silent), "has no caption and is left out", "have no caption and are left out")
    _tell(path, silent, f"of {counted(len(references), 'video')} with references {missing}")
    empty_ones = "captions have no word: they score as they are, caption these videos again"
    _tell(
        path, empty, noun(len(empty), "caption has no word: it scores as it is, caption this video again", empty_ones)
    )
    return chosen


def _counterparts(
    chosen: dict[str, str], other: Predictions, references: dict[str, list[str]], path: Path
) -> dict[str, str]:
    """The other system's captions under this system's ids, for the videos that both have."""
    names = {name: video for video, name in _matched(other, references, path).items()}
    common = {video: other.captions[names[name]] for video, name in chosen.items() if name in names}
    if not common:
        raise DataError("has no video in common with the captions it is compared to", path=path, hint="check the file")
    return common


def _tell(path: Path, names: list[str], what: str) -> None:
    if names:
        more = ", ... (-v names all)" if len(names) > NAMED else ""
        console.warn(f"{path}: {len(names)} {what}: {', '.join(names[:NAMED])}{more}")
        if more:
            console.detail(f"all {len(names)}: {', '.join(names)}")


def _lexicon(path: Path | None, root: DataRoot | None) -> Lexicon:
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.reading.regular import check_regular
    from evcap_cli.reading.text import read_text

    if path is None:
        return Lexicon.general() if root is None else root.lexicon
    file = path / "lexicon.json" if path.is_dir() else path
    if not file.exists():
        return Lexicon.from_folder(path)
    if file.exists():
        check_regular(file, hint="--lexicon names a folder of word lists, lexicon.json or a checkpoint")
    return Lexicon.from_json(read_text(file), path=file)
