"""The end of an adapter's run: the test split is scored once, as at the end of any run (``final_scores.py``)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.backbones.identity import digest_of
from evcap_cli.checkpoints.hub import CARD
from evcap_cli.console import noun
from evcap_cli.data.origins import origin_notes
from evcap_cli.files import write_whole
from evcap_cli.systems.tunable_captioner import MULTIMODAL
from evcap_cli.training.final_scores import BOOTSTRAP, CAPTIONS, SCORES, kept, scored_before, whole
from evcap_cli.training.printed_comparison import markdown_table
from evcap_cli.training.run_report import refresh_page
from evcap_cli.training.tuning.adapter_card import adapter_card

if TYPE_CHECKING:
    from evcap_cli.training.tuning.tuning_run import TuningResult, TuningRun

NO_ROWS: Final = "no printed row is one of a ready-made model that was tuned"


def score_adapter(run: TuningRun, result: TuningResult, *, bootstrap: int = BOOTSTRAP) -> dict[str, Any]:
    """Score the chosen adapter of a finished run on the test split; once, also where it is run again.

    Args:
        run: after ``fit``.
        result: of it.
        bootstrap: resamplings for intervals.

    Returns:
        What test.json holds; empty in processes other than the main one.

    Raises:
        TrainingError: no test video has frames.
        WriteError: no permission, a full disk.
    """
    references, folder = run.data.test, run.run
    plain = {video: list(texts) for video, texts in references.items()}
    key = digest_of([result.adapter.digest, plain, run.data.lexicon.digest, bootstrap])
    before = kept(folder)
    if before is not None and before["digest"] == key and whole(before, len(references)):
        document = before
    else:
        captions, scores = run.test(bootstrap=bootstrap)
        if scores is None:
            return {}
        document = {**scores.to_dict(), **_marks(run, result)}
        document["notes"] = [*scores.notes, *_notes(run, len(captions), before, key)]
        document["evaluation"] = 1 if before is None else before["evaluation"] + (before["digest"] != key)
        document["digest"] = key
        mark = {"labels_by": run.data.labels_by} if run.data.labels_by else {}
        lines = (json.dumps({"video_id": video, "caption": text, **mark}) + "\n" for video, text in captions.items())
        write_whole(folder / CAPTIONS, "".join(lines))
    if run.accelerator.is_main_process:
        write_whole(folder / CARD, adapter_card(result.adapter, document, comparison=markdown_table(document)))
        if document is not before:
            write_whole(folder / SCORES, json.dumps(document, indent=1) + "\n")
        if result.history:
            refresh_page(folder)
    return document


def _marks(run: TuningRun, result: TuningResult) -> dict[str, Any]:
    by = run.data.labels_by
    return {
        "system": MULTIMODAL,
        "base": result.adapter.config.base,
        "without": [],
        "select": run.config.select,
        "epoch": result.best_epoch,
        "epochs": len(result.history),
        "published": [],
        "published_reason": NO_ROWS,
        **({"labels_by": by, "references_by": by} if by else {}),
    }


def _notes(run: TuningRun, scored: int, before: dict[str, Any] | None, key: str) -> list[str]:
    by, videos = run.data.labels_by, len(run.data.test)
    notes = list(origin_notes(by, by))
    if scored < videos:
        lacks = noun(videos - scored, "has no frames and is not scored", "have no frames and are not scored")
        notes.append(f"{videos - scored} of {videos} test videos {lacks}")
    return [*notes, *scored_before(before, key, "adapter")]
