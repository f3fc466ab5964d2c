"""``evcap score``: the eleven metrics of the field for a file of captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from evcap_cli import console, plugins
from evcap_cli.commands import options as shared
from evcap_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.scoring.reading import Predictions
    from evcap_cli.scoring.score import Protocol, Scores

SPLITS = ("test", "train", "all")
PROTOCOLS = ("paper", "coco")
NAMED = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(score)


def score(
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
        int, typer.Option("--bootstrap", min=0, metavar="N", help="Resamplings for 95 % intervals.")
    ] = 0,
    meteor: Annotated[bool, typer.Option("--meteor/--no-meteor", help="Compute METEOR, which needs Java.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: shared.Config = None,  # noqa: ARG001  read by its callback
    quiet: shared.Quiet = False,  # noqa: ARG001
    verbose: shared.Verbose = False,  # noqa: ARG001
) -> None:
    """Score captions against references: emotion accuracy, BLEU, METEOR, ROUGE-L, CIDEr, BFS, CFS.

    References come from the records themselves, --refs, --data or EVCAP_DATA, in this order.

    Example: evcap score preds.jsonl --data EPAN/
    """
    _check("--split", split, SPLITS)
    _check("--protocol", protocol, PROTOCOLS)
    _check("--subset", subset, ("L", "S", "both"))

    from evcap_cli.scoring.reading import read_predictions
    from evcap_cli.scoring.score import score_captions

    given = read_predictions(predictions)
    root = None if data is None else _open(data, subset)
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
    )
    for note in scores.notes:
        console.warn(note)
    typer.echo(json.dumps(scores.to_dict(), indent=1) if as_json else table(scores))


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{option} {value!r} is not one of {', '.join(known)}")


def _open(data: Path, subset: str) -> DataRoot:
    from evcap_cli.data.emvidcap import DataRoot

    root = DataRoot.open(data, cast("Any", subset))
    for warning in root.warnings:
        console.detail(warning)
    return root


def _references(given: Predictions, refs: Path | None, root: DataRoot | None, split: str) -> dict[str, list[str]]:
    from evcap_cli.scoring.reading import read_references

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
    from evcap_cli.scoring.reading import match_ids

    chosen = match_ids(given.captions, references)
    if not chosen:
        first = next(iter(given.captions))
        raise DataError(
            f"none of its {len(given.captions)} videos has references (the first is {first})",
            path=path,
            hint="check --data, --split and --subset",
        )
    by_name: dict[str, str] = {}
    for video, name in chosen.items():
        if by_name.setdefault(name, video) != video:
            raise DataError(
                f"{by_name[name]} and {video} are the same video", path=path, hint="keep one caption a video"
            )
    _tell([video for video in given.captions if video not in chosen], "captions have no references and are left out")
    _tell([name for name in references if name not in by_name], "videos with references have no caption")
    return chosen


def _tell(names: list[str], what: str) -> None:
    if names:
        console.warn(f"{len(names)} {what}: {', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''}")


def _lexicon(path: Path | None, root: DataRoot | None) -> Lexicon:
    from evcap_cli.data.lexicon import Lexicon

    if path is None:
        return Lexicon.general() if root is None else root.lexicon
    file = path / "lexicon.json" if path.is_dir() else path
    if not file.exists():
        return Lexicon.from_folder(path)
    try:
        return Lexicon.from_json(file.read_text(encoding="utf-8"), path=file)
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError("cannot read this lexicon", path=file) from problem


def table(scores: Scores) -> str:
    """Scores as people read them."""
    from evcap_cli.training.model_card import LABELS

    lines = [f"{scores.videos} videos, {scores.protocol} protocol, lexicon {scores.lexicon['name']}"]
    for name, label in LABELS.items():
        value = scores.metrics[name]
        line = f"{label:<8} {'-' if value is None else f'{value:.2f}':>7}"
        if name in scores.intervals:
            low, high = scores.intervals[name]
            line += f"   {low:.2f} to {high:.2f}"
        lines.append(line)
    lines += [f"{name:<8} {'-' if value is None else f'{value:.2f}':>7}" for name, value in scores.extra.items()]
    return "\n".join(lines)
