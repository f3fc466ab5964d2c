"""The end of a run: the test split is scored once, and what came out goes to test.json, test.jsonl and the model card.

The epoch was chosen before, without the test split (unless ``select`` is ``oracle``: then everything here says so). A
rerun of a finished run finds its test.json and does not score again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.backbones.identity import digest_of, file_digest
from evcap_cli.checkpoints.checkpoint_files import WEIGHTS
from evcap_cli.checkpoints.hub import CARD
from evcap_cli.console import counted, noun
from evcap_cli.data.features_layout import SURROGATE_NOTE, surrogate_kinds
from evcap_cli.data.origins import origin_notes
from evcap_cli.errors import DataError
from evcap_cli.files import write_whole
from evcap_cli.reading.typed import NotOfType, checked, read_json
from evcap_cli.training.epoch_selection import ORACLE_NOTE, best_of_each
from evcap_cli.training.model_card import model_card
from evcap_cli.training.printed_comparison import markdown_table, quoted, rows_beside
from evcap_cli.training.recipe import ORACLE
from evcap_cli.training.run_report import refresh_page

if TYPE_CHECKING:
    from evcap_cli.training.trainer import Trainer, TrainResult

SCORES: Final = "test.json"
CAPTIONS: Final = "test.jsonl"
BOOTSTRAP: Final = 1000
"""Resamplings of the videos for 95 % intervals."""


def score_test(
    trainer: Trainer, result: TrainResult, references: Mapping[str, Sequence[str]], *, bootstrap: int = BOOTSTRAP
) -> dict[str, Any]:
    """Score the checkpoint of a finished run on the test split; once, also where it is run again.

    Args:
        trainer: of the run.
        result: of its ``fit``.
        references: video -> raw captions of the whole test split; a video without features is left out, with a note.
        bootstrap: resamplings for intervals.

    Returns:
        What test.json holds.

    Raises:
        TrainingError: no test video has features.
        WriteError: no permission, a full disk.
    """
    key = _key(trainer, references, bootstrap)
    before = kept(trainer.run)
    if before is not None and before["digest"] == key and whole(before, len(references)):
        document = before
    else:
        captions, scores = trainer.test(references, bootstrap=bootstrap)
        document = {**scores.to_dict(), **_marks(trainer, result, references, official=scores.lexicon["official"])}
        document["notes"] = [*scores.notes, *_notes(trainer, len(captions), len(references), before, key)]
        document["evaluation"] = 1 if before is None else before["evaluation"] + (before["digest"] != key)
        document["digest"] = key
        mark = {"select": ORACLE} if trainer.config.select == ORACLE else {}
        if surrogate_kinds(trainer.source.backbones):
            mark["features"] = "surrogate"
        if trainer.facts.labels_by:
            mark["labels_by"] = trainer.facts.labels_by
        lines = (json.dumps({"video_id": video, "caption": text, **mark}) + "\n" for video, text in captions.items())
        write_whole(trainer.run / CAPTIONS, "".join(lines))
    write_whole(trainer.run / CARD, model_card(result.checkpoint, document, comparison=markdown_table(document)))
    if document is not before:
        write_whole(trainer.run / SCORES, json.dumps(document, indent=1) + "\n")
    if result.history:
        refresh_page(trainer.run)
    return document


def _marks(
    trainer: Trainer, result: TrainResult, references: Mapping[str, Sequence[str]], *, official: bool
) -> dict[str, Any]:
    """How the epoch was chosen, and what may be compared with the scores."""
    appearance = str(trainer.source.backbones["appearance"]["name"])
    surrogates = surrogate_kinds(trainer.source.backbones)
    rows, reason = rows_beside(
        appearance,
        trainer.recipe.without,
        references,
        official=official,
        system=trainer.recipe.system,
        surrogates=surrogates,
        labels_by=trainer.labels_by,
    )
    marks: dict[str, Any] = {
        "system": trainer.recipe.system,
        "without": list(trainer.recipe.without),
        "select": trainer.config.select,
        "epoch": result.best_epoch,
        "epochs": len(result.history),
        "published": quoted(rows),
        "published_reason": reason,
    }
    if surrogates:
        marks["surrogate"] = surrogates
    if trainer.facts.labels_by:
        marks["labels_by"] = trainer.facts.labels_by
    if trainer.labels_by:
        marks["references_by"] = trainer.labels_by
    if trainer.config.select == ORACLE:
        values, epochs = best_of_each(result.history)
        marks["oracle"] = {"metrics": values, "epochs": epochs}
    return marks


def _notes(trainer: Trainer, scored: int, videos: int, before: Mapping[str, Any] | None, key: str) -> list[str]:
    notes = [ORACLE_NOTE] if trainer.config.select == ORACLE else []
    if surrogate_kinds(trainer.source.backbones):
        notes.append(SURROGATE_NOTE)
    notes += origin_notes(trainer.facts.labels_by, trainer.labels_by)
    if scored < videos:
        lacks = noun(videos - scored, "has no features and is not scored", "have no features and are not scored")
        notes.append(f"{videos - scored} of {counted(videos, 'test video')} {lacks}")
    return [*notes, *scored_before(before, key, "checkpoint")]


def scored_before(before: Mapping[str, Any] | None, key: str, what: str) -> list[str]:
    """A note where the test split has scored another of the run's epochs.

    Args:
        before: test.json as an earlier call left it.
        key: digest of what is scored now.
        what: is scored: "checkpoint", "adapter".
    """
    if before is None or before["digest"] == key:
        return []
    return [
        f"another {what} of this run was scored on the test split before, at epoch {before['epoch']}: "
        "choosing between them by these scores is choosing on the test split"
    ]


def _key(trainer: Trainer, references: Mapping[str, Sequence[str]], bootstrap: int) -> str:
    """Digest of what decides the scores; the same wherever the folder lies."""
    weights = file_digest(trainer.run / WEIGHTS)
    plain = {video: list(texts) for video, texts in references.items()}
    lexicon, select = trainer.prepared.lexicon.digest, trainer.config.select
    return digest_of([weights, plain, lexicon, asdict(trainer.beam), bootstrap, select])


@dataclass(frozen=True)
class _Kept:
    """test.json, as far as another call reads it."""

    digest: str
    evaluation: int
    system: str
    without: list[str]
    epoch: int
    epochs: int
    select: str
    metrics: dict[str, float | None]
    published: list[Any]


def kept(run: Path) -> dict[str, Any] | None:
    """What an earlier call left; None where there is nothing, or nothing that this version wrote."""
    try:
        found = read_json(dict[str, Any], run / SCORES)
        checked(_Kept, found)
    except (DataError, NotOfType):
        return None
    return found if (run / CAPTIONS).exists() else None


def whole(document: Mapping[str, Any], videos: int) -> bool:
    """Whether nothing was missing: METEOR without Java, or videos whose features may be there by now."""
    return document["metrics"].get("meteor") is not None and document["videos"] == videos
