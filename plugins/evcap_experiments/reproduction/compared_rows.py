"""Rows below a table that are not trained here: captions of other captioners, one caption for every video, people, and
what was printed since.

All values x 100. A person's caption is one of the references, so people are judged by one reference fewer than systems;
every row that is scored here therefore has a second line against such reduced references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evcap_cli.console import counted, noun
from evcap_cli.scoring.constant_row import constant_of
from evcap_cli.scoring.published_rows import LITERATURE_ROWS, LITERATURE_SOURCE
from evcap_cli.scoring.score_captions import score_captions
from evcap_cli.training.final_scores import BOOTSTRAP

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.scoring.captioned_by import CaptionedBy
    from evcap_cli.scoring.prediction_files import Predictions
    from evcap_cli.scoring.score_texts import Scores

Values = Mapping[str, float | None]
"""A value of each metric, None where there is none."""


@dataclass(frozen=True)
class ComparedRow:
    """One row; what is empty is not shown.

    Args:
        title: what it is.
        scored: against all references of the test split.
        intervals: 95 % of these, over resampled test videos.
        fewer: against one reference fewer of each video, as people are.
        printed: as ``source`` prints it.
        captioner: what wrote the captions, where they say so.
        notes: what a reader of the row must know.
    """

    title: str
    scored: Values = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fewer: Values = field(default_factory=dict)
    printed: Values = field(default_factory=dict)
    source: str = ""
    captioner: CaptionedBy | None = None
    notes: tuple[str, ...] = ()

    def lines(self) -> list[tuple[str, Values]]:
        """What stands in the row below each other, with labels."""
        low, high = ({metric: pair[end] for metric, pair in self.intervals.items()} for end in range(2))
        labelled = {
            "printed": self.printed,
            "scored": self.scored,
            "95 % from": low,
            "95 % to": high,
            "one ref. fewer": self.fewer,
        }
        return [(label, values) for label, values in labelled.items() if values]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "title": self.title,
            "captioner": None if self.captioner is None else self.captioner.to_dict(),
            "scored": dict(self.scored) or None,
            "intervals": {name: list(pair) for name, pair in self.intervals.items()} or None,
            "one_reference_fewer": dict(self.fewer) or None,
            "printed": dict(self.printed) or None,
            "source": self.source or None,
        }


def compare_rows(files: Mapping[Path, Predictions], root: DataRoot, *, literature: bool) -> tuple[ComparedRow, ...]:
    """Score captions on the test split, with one caption for every video and people next to them.

    Args:
        files: captions, read. Without any, and without ``literature``, there are no rows.
        root: the data set, with both splits.
        literature: rows that were printed since the paper.

    Raises:
        DataError: captions of other videos.
    """
    if not files and not literature:
        return ()
    rows = [_of_file(path, given, root) for path, given in files.items()]
    rows += _constant_and_people(root)
    if literature:
        rows += [ComparedRow(row.system, printed=row.metrics, source=LITERATURE_SOURCE) for row in LITERATURE_ROWS]
    return tuple(rows)


def title_of(path: Path, given: Predictions) -> str:
    """The name of the row of a file: the captioner that needed no training, else the file."""
    captioner = given.captioned_by
    return captioner.title if captioner is not None and captioner.ready_made else f"captions of {path.name}"


def _of_file(path: Path, given: Predictions, root: DataRoot) -> ComparedRow:
    title, scores = title_of(path, given), _score(given, root)
    expected = len(root.test)
    left_out = []
    if scores.videos < expected:
        words = f"{counted(expected, 'test video')} {noun(expected, 'was', 'were')} scored"
        left_out = [f"{title}: {scores.videos} of {words}"]
    return replace(_scored(title, scores), captioner=given.captioned_by, notes=(*left_out, *scores.notes))


def _constant_and_people(root: DataRoot) -> list[ComparedRow]:
    caption = constant_of(root)
    if caption is None:
        return []
    scores = _score(dict.fromkeys(root.test, caption), root)
    rows = [_scored(f'"{caption}" for every video', scores)]
    if scores.human is not None:
        rows.append(ComparedRow("people", fewer=scores.human.person))
    return rows


def _score(given: Predictions | Mapping[str, str], root: DataRoot) -> Scores:
    """Captions of test videos: with intervals against all references, and against one fewer."""
    return score_captions(given, root, bootstrap=BOOTSTRAP, human=True)


def _scored(title: str, scores: Scores) -> ComparedRow:
    fewer = {} if scores.human is None else scores.human.system
    return ComparedRow(title, scored=scores.metrics, intervals=scores.intervals, fewer=fewer, notes=tuple(scores.notes))
