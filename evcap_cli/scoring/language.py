"""BLEU, ROUGE-L and CIDEr by pycocoevalcap's scorers, with the per-video parts that resampling needs.

Notation: N videos. Texts are normalised already: words joined by single spaces. METEOR is ``meteor.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

ORDERS = 4
_TINY, _SMALL = 1e-15, 1e-9  # pycocoevalcap's guards against division by zero, part of its published values


@dataclass(frozen=True)
class LanguageParts:
    """What each video adds to the corpus metrics, in the order of the hypotheses.

    Args:
        bleu: (N, 10): hypothesis length, closest reference length, n-grams guessed (4), n-grams right (4).
        rouge_l: (N,). cider: (N,), document frequencies over all N videos.
    """

    bleu: npt.NDArray[np.float64]
    rouge_l: npt.NDArray[np.float64]
    cider: npt.NDArray[np.float64]


def language_parts(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> LanguageParts:
    """Score each hypothesis against the references of its video."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    answers = {video: [text] for video, text in hypotheses.items()}
    truth = {video: list(references[video]) for video in hypotheses}
    scorer = BleuScorer(n=ORDERS)
    for video, answer in answers.items():
        scorer += (answer[0], truth[video])
    rows: list[list[float]] = []
    for counts in scorer.ctest:
        lengths: Any = counts["reflen"]
        length = counts["testlen"]
        closest = min((abs(reference - length), reference) for reference in lengths)[1]
        rows.append([length, closest, *counts["guess"], *counts["correct"]])
    return LanguageParts(
        bleu=np.array(rows, dtype=np.float64).reshape(len(rows), 2 + 2 * ORDERS),
        rouge_l=np.asarray(Rouge().compute_score(truth, answers)[1], dtype=np.float64),
        cider=np.asarray(Cider().compute_score(truth, answers)[1], dtype=np.float64),
    )


def bleu(totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Corpus BLEU-1 to 4 from summed parts, (..., 10) -> (..., 4); the same numbers as pycocoevalcap's."""
    length, closest = totals[..., 0:1], totals[..., 1:2]
    guessed, right = totals[..., 2 : 2 + ORDERS], totals[..., 2 + ORDERS :]
    precision = np.cumprod((right + _TINY) / (guessed + _SMALL), axis=-1) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (length + _TINY) / (closest + _SMALL)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)
    return np.asarray(precision * brevity)
