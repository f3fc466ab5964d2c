"""Captions against references, in every form in which people have both: what `evcap score` and Python call.

Which caption belongs to which references is decided here, and what has no counterpart is named; ``score_texts.py``
computes, ``prediction_files.py`` reads files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from evcap_cli import console, plugins
from evcap_cli.console import counted, listed, noun
from evcap_cli.data.caption_text import tokens
from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.data.features_layout import SURROGATE_NOTE
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.origins import labels_of, origin_notes, together
from evcap_cli.data.parts import Subset
from evcap_cli.errors import DataError, UsageError
from evcap_cli.scoring.prediction_files import Predictions, match_ids, read_predictions, read_references
from evcap_cli.scoring.score_texts import Protocol, Scores, score_texts

if TYPE_CHECKING:
    from evcap_cli.output.records import Record

    CaptionSource = str | Path | Mapping[str, str] | Iterable[Record | Mapping[str, Any]] | Predictions
    ReferenceSource = str | Path | Mapping[str, Sequence[str]] | DataRoot

Split = Literal["test", "train", "all"]
_NAMED: Final = 3
"""Ids that a warning names; ``-v`` names all."""


def score_captions(
    predictions: CaptionSource,
    references: ReferenceSource | None = None,
    protocol: Protocol = "paper",
    bootstrap: int = 0,
    *,
    lexicon: Lexicon | str | Path | None = None,
    split: Split = "test",
    subset: Subset = "L",
    meteor: bool = True,
    compare: CaptionSource | None = None,
    human: bool = False,
    constant: str | None = None,
    seed: int = 0,
) -> Scores:
    """Score one caption a video: the eleven metrics of the field, and those of plugins.

    A caption without references, or references without a caption, are left out with a warning.

    Args:
        predictions: a file in any form that ``evcap score`` reads, a mapping of id to caption, or records.
        references: a file, an EmVidCap data root, a mapping of id to captions; None: those in the predictions.
        protocol: "paper", as every published number of EmVidCap, or "coco" (PTB tokens, no cut; needs Java).
        bootstrap: resamplings of the videos for 95 % intervals; 0: none.
        lexicon: or its path (see ``Lexicon.from_path``); None: that of the data root, else evcap's general one.
        split: whose references of a data root.
        subset: part of a data root.
        meteor: False leaves METEOR and its Java process out.
        compare: captions of another system, in any form of ``predictions``: the two are compared on the videos of both
            by ``bootstrap`` resamplings, 1,000 where that is 0.
        human: score people too: a reference of each video against its others.
        constant: a caption to score for every video too, as the floor.
        seed: of the resampling.

    Returns:
        ``metrics`` x 100 by key, None where one was not computed; ``intervals`` where requested; ``per_video``.

    Raises:
        UsageError: there are no references.
        DataError: a file that cannot be read, or is none of these; captions and references without a common video.

    Example:
        ```python
        import evcap_cli as evcap

        references = {"clip1": ["a man is happily dancing", "someone dances"], "clip2": ["a dog runs"]}
        scores = evcap.score_captions("out.jsonl", references, protocol="paper", bootstrap=1000)
        for name, value in scores.metrics.items():
            print(name, value, scores.intervals.get(name))
        for video in scores.per_video:
            print(video.video, video.right, video.wrong, video.missing)
        ```
    """
    this, other = _predictions(predictions), None if compare is None else _predictions(compare, "compare")
    if isinstance(references, (str, Path)) and Path(references).is_dir():
        references = DataRoot.open(Path(references), subset)
    if lexicon is None:
        lexicon = references.lexicon if isinstance(references, DataRoot) else Lexicon.general()
    elif not isinstance(lexicon, Lexicon):
        lexicon = Lexicon.from_path(Path(lexicon))
    truth, references_by = _references(this, references, split)
    chosen = _matched(this, truth)
    if len(this.captioners) > 1:
        names = listed([captioner.title for captioner in this.captioners], _NAMED)
        console.warn(f"{this.name}: captions of {len(this.captioners)} captioners, scored as one system: {names}")
    scores = score_texts(
        {video: this.captions[video] for video in chosen},
        {video: truth[name] for video, name in chosen.items()},
        lexicon,
        meteor=meteor,
        bootstrap=bootstrap,
        protocol=protocol,
        seed=seed,
        extra=plugins.metrics(),
        compare=None if other is None else _counterparts(chosen, other, truth),
        human=human,
        constant=constant,
    )
    both = [this] if other is None else [this, other]
    surrogate, labels_by = any(one.surrogate for one in both), together(one.labels_by for one in both)
    return replace(
        scores,
        captioned_by=this.captioned_by,
        surrogate=surrogate,
        labels_by=labels_by,
        references_by=references_by,
        notes=[*scores.notes, *([SURROGATE_NOTE] if surrogate else []), *origin_notes(labels_by, references_by)],
    )


def _predictions(given: CaptionSource, name: str = "predictions") -> Predictions:
    if isinstance(given, Predictions):
        return given
    if isinstance(given, (str, Path)):
        return read_predictions(Path(given))
    if isinstance(given, Mapping):
        entries: Iterable[Any] = ({"video_id": video, "caption": text} for video, text in given.items())
    else:
        entries = (entry if isinstance(entry, Mapping) else entry.to_dict() for entry in given)
    return Predictions.of(name, ((f"entry {number}", entry) for number, entry in enumerate(entries, 1)))


def _references(
    given: Predictions, references: ReferenceSource | None, split: Split
) -> tuple[Mapping[str, Sequence[str]], str]:
    """References by video, and who wrote them, where people did not."""
    if references is None:
        if given.references:
            return given.references, ""
        raise UsageError(
            "there is nothing to score against",
            hint="give references with --data ROOT (or EVCAP_DATA) or --refs FILE",
        )
    if isinstance(references, (str, Path)):
        return read_references(Path(references)), labels_of(Path(references))
    if not isinstance(references, DataRoot):
        return references, ""
    if split == "test" and not references.test:
        hint = "give --split train, or references with --refs"
        raise DataError("has no test captions", path=references.root, hint=hint)
    found = {**(references.train if split != "test" else {}), **(references.test if split != "train" else {})}
    return found, references.labels_by


def _matched(given: Predictions, references: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Videos that have both, with the references' name for them; warns of what is missing on either side."""
    chosen = match_ids(given.captions, references)
    if not chosen:
        first = next(iter(given.captions))
        raise DataError(
            f"none of its {counted(len(given.captions), 'video')} has references: the first is {first} "
            f"({given.places[first]}), the references begin with {next(iter(references), 'nothing')}",
            path=given.name,
            hint="these are captions of another data set or split: check --data, --refs, --split and --subset",
        )
    by_name: dict[str, str] = {}
    for video, name in chosen.items():
        if by_name.setdefault(name, video) != video:
            raise DataError(
                f"{given.places[video]}: {video} is the same video as {by_name[name]} ({given.places[by_name[name]]})",
                path=given.name,
                hint="keep one caption a video",
            )
    alone = [video for video in given.captions if video not in chosen]
    uncaptioned = [name for name in references if name not in by_name]
    empty = [f"{video} ({given.places[video]})" for video in chosen if not tokens(given.captions[video])]
    _warn(
        given.name,
        alone,
        noun(len(alone), "caption has no references and is left out", "captions have no references and are left out"),
    )
    missing = noun(len(uncaptioned), "has no caption and is left out", "have no caption and are left out")
    _warn(given.name, uncaptioned, f"of {counted(len(references), 'video')} with references {missing}")
    empty_ones = "captions have no word: they score as they are, caption these videos again"
    _warn(
        given.name,
        empty,
        noun(len(empty), "caption has no word: it scores as it is, caption this video again", empty_ones),
    )
    return chosen


def _counterparts(
    chosen: Mapping[str, str], other: Predictions, references: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The other system's captions under this system's ids, for the videos that both have."""
    names = {name: video for video, name in _matched(other, references).items()}
    common = {video: other.captions[names[name]] for video, name in chosen.items() if name in names}
    if not common:
        cause = "has no video in common with the captions it is compared to"
        raise DataError(cause, path=other.name, hint="check the file")
    return common


def _warn(file: str, names: Sequence[str], what: str) -> None:
    if names:
        more = " (-v names all)" if len(names) > _NAMED else ""
        console.warn(f"{file}: {len(names)} {what}: {listed(names, _NAMED)}{more}")
        if more:
            console.detail(f"all {len(names)}: {', '.join(names)}")
