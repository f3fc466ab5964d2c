"""The eleven metrics of the field from captions and references, as published, with intervals over videos.

Reading files is ``evcap score``'s business (``scoring/reading.py``); what is compared here are plain texts by video.

Notation: N videos, all values x 100.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from evcap_cli.data.text import MAX_WORDS, normalise
from evcap_cli.errors import DataError
from evcap_cli.scoring import emotion, language

if TYPE_CHECKING:
    import numpy.typing as npt

    from evcap_cli.data.lexicon import Lexicon

Protocol = Literal["paper", "coco"]
Metric = Callable[[Mapping[str, str], Mapping[str, Sequence[str]]], float]
"""A plugin's: video -> caption and video -> references, normalised by the protocol, to a value shown as it is."""
METRICS: Final = (
    "acc_sw", "acc_c", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider", "bfs", "cfs",
)  # fmt: skip
"""In the order in which the tables of the field print them."""
_CHUNK = 64  # resamples computed together: bounds memory at 64 x N x 10 numbers


@dataclass(frozen=True)
class Scores:
    """Values x 100; None where a metric was not computed, with the reason in ``notes``.

    Args:
        metrics: one entry for each of ``METRICS``.
        intervals: 95 % bootstrap intervals, where asked for.
        extra: metrics of plugins, as they gave them; None where one failed.
        lexicon: name, digest and whether it is EmVidCap's own.
        videos: N.
    """

    metrics: dict[str, float | None]
    videos: int
    protocol: str
    lexicon: dict[str, Any]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    extra: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """What ``evcap score --json`` prints."""
        out: dict[str, Any] = {
            "metrics": {**self.metrics, **self.extra},
            "protocol": self.protocol,
            "lexicon": self.lexicon,
            "videos": self.videos,
        }
        if self.intervals:
            out["intervals"] = {name: list(pair) for name, pair in self.intervals.items()}
        if self.notes:
            out["notes"] = self.notes
        return out

    @property
    def cfs(self) -> float:
        """The number that chooses an epoch."""
        value = self.metrics["cfs"]
        return 0.0 if value is None else value


def score_captions(
    hypotheses: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    lexicon: Lexicon,
    *,
    meteor: bool = True,
    bootstrap: int = 0,
    protocol: Protocol = "paper",
    seed: int = 0,
    extra: Mapping[str, Metric] | None = None,
) -> Scores:
    """Score one caption a video against its references; references of other videos are left out.

    Args:
        hypotheses: video -> caption, raw text.
        references: video -> captions, raw text.
        lexicon: decides Acc_sw and Acc_c.
        meteor: False leaves METEOR (and its Java process) out.
        bootstrap: number of resamplings of the videos for 95 % intervals; 0: none.
        protocol: "paper" (see ``data/text.py``) or "coco" (PTB tokens, no cut; needs Java).
        seed: of the resampling.
        extra: metrics of plugins by name; one that fails is left out with a note.

    Raises:
        DataError: nothing to score, or a video without references.
    """
    words, truth = _normalised(hypotheses, references, protocol)
    notes: list[str] = []
    with ThreadPoolExecutor(1) as beside:
        pending = beside.submit(_meteor, words, truth) if meteor else None
        parts = language.language_parts(words, truth)
        counts = emotion.count_emotions(
            {video: text.split() for video, text in words.items()},
            {video: [text.split() for text in texts] for video, texts in truth.items()},
            lexicon,
        )
        metrics: dict[str, float | None] = dict(_corpus(parts, counts, np.ones((1, len(words))))[0])
        intervals = _intervals(parts, counts, bootstrap, seed) if bootstrap else {}
        value, note = (None, None) if pending is None else pending.result()
    metrics["meteor"] = value
    if note:
        notes.append(note)
    if not lexicon.official:
        notes.append(
            f"emotions by the lexicon {lexicon.name!r}, not EmVidCap's own: not comparable with printed tables"
        )
    added, failures = _extra(extra or {}, words, truth)
    notes += failures
    return Scores(
        metrics={name: metrics[name] for name in METRICS},
        videos=len(words),
        protocol=protocol,
        lexicon={"name": lexicon.name, "digest": lexicon.digest, "official": lexicon.official},
        intervals=intervals,
        extra=added,
        notes=notes,
    )


def _extra(
    metrics: Mapping[str, Metric], words: Mapping[str, str], truth: Mapping[str, Sequence[str]]
) -> tuple[dict[str, float | None], list[str]]:
    """Values of plugins' metrics, and a note for each that failed; a name of ours stays ours."""
    values: dict[str, float | None] = {}
    notes = []
    for name, metric in metrics.items():
        if name in METRICS:
            notes.append(f"the metric {name!r} of a plugin has the name of one of evcap's own and is left out")
            continue
        try:
            values[name] = float(metric(words, truth))
        except Exception as problem:
            values[name] = None
            notes.append(f"the metric {name!r} of a plugin failed: {type(problem).__name__}: {problem}")
    return values, notes


def _normalised(
    hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]], protocol: Protocol
) -> tuple[dict[str, str], dict[str, list[str]]]:
    if not hypotheses:
        raise DataError("there is no caption to score")
    without = [video for video in hypotheses if not references.get(video)]
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        raise DataError(f"no references for {without[0]}{more}")
    if protocol == "paper":
        words = {video: normalise(text, MAX_WORDS) for video, text in hypotheses.items()}
        truth = {video: [normalise(text, MAX_WORDS) for text in references[video]] for video in hypotheses}
    else:
        words, truth = _coco(hypotheses, references)
    truth = {video: [text for text in texts if text] for video, texts in truth.items()}
    empty = [video for video, texts in truth.items() if not texts]
    if empty:
        raise DataError(f"all references of {empty[0]} are empty")
    return words, truth


def _coco(
    hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    from evcap_cli.scoring.java import JAVA_HINT, JavaError, ptb_tokens

    texts = [*hypotheses.values(), *(text for video in hypotheses for text in references[video])]
    try:
        lines = iter(ptb_tokens(texts))
    except JavaError as problem:
        raise DataError(
            "the coco protocol tokenises with a Java program and there is no Java", hint=JAVA_HINT
        ) from problem
    words = {video: next(lines) for video in hypotheses}
    return words, {video: [next(lines) for _ in references[video]] for video in hypotheses}


def _meteor(words: Mapping[str, str], truth: Mapping[str, Sequence[str]]) -> tuple[float | None, str | None]:
    from evcap_cli.scoring.java import JavaError, meteor

    try:
        return 100 * meteor(words, truth)[0], None
    except JavaError as problem:
        return None, f"METEOR was not computed: {problem}"


def _corpus(
    parts: language.LanguageParts, counts: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
) -> list[dict[str, float]]:
    """All metrics but METEOR for each row of ``weights`` (R, N): how often each video stands in that resample."""
    videos = weights.sum(1)
    bleus = language.bleu(weights @ parts.bleu)
    rouge, cider = weights @ parts.rouge_l / videos, weights @ parts.cider / videos
    totals = weights @ counts
    rows: list[dict[str, float]] = []
    for row in range(len(weights)):
        sw, c = emotion.acc_sw(totals[row]), emotion.acc_c(totals[row], int(videos[row]))
        semantic = float(bleus[row] @ np.array([0.1, 0.2, 0.3, 0.4]))
        values = {
            "acc_sw": sw,
            "acc_c": c,
            **{f"bleu_{order + 1}": float(bleus[row, order]) for order in range(language.ORDERS)},
            "rouge_l": float(rouge[row]),
            "cider": float(cider[row]),
            "bfs": 0.8 * semantic + 0.1 * (sw + c),
            "cfs": 0.8 * float(cider[row]) + 0.1 * (sw + c),
        }
        rows.append({name: 100 * value for name, value in values.items()})
    return rows


def _intervals(
    parts: language.LanguageParts, counts: npt.NDArray[np.int64], times: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Percentile intervals over resampled videos; CIDEr keeps the document frequencies of all videos."""
    videos = len(counts)
    generator = np.random.default_rng(seed)
    rows: list[dict[str, float]] = []
    for start in range(0, times, _CHUNK):
        drawn = generator.integers(0, videos, (min(_CHUNK, times - start), videos))
        weights = np.stack([np.bincount(row, minlength=videos) for row in drawn]).astype(np.float64)
        rows.extend(_corpus(parts, counts, weights))
    out: dict[str, tuple[float, float]] = {}
    for name in rows[0]:
        low, high = np.percentile([row[name] for row in rows], [2.5, 97.5])
        out[name] = (float(low), float(high))
    return out
