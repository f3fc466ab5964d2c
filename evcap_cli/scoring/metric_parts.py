"""What each video adds to every metric, and the corpus values of any weighting of the videos.

All corpus metrics of the field are functions of sums over videos (CIDEr also of document frequencies), so the value of
a resampled corpus is computed exactly, without duplicating a text.

Notation: N videos, R weightings; weights (R, N) say how often each video stands in the corpus. All values x 100.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli.scoring import bleu_rouge_cider, emotion_accuracy
from evcap_cli.scoring.meteor import additive, meteor_scores
from evcap_cli.scoring.metrics import METRICS
from evcap_cli.scoring.ngrams import ORDERS

if TYPE_CHECKING:
    import numpy.typing as npt

    from evcap_cli.data.lexicon import Lexicon

BLEU_SHARES: Final = (0.1, 0.2, 0.3, 0.4)
"""Of BLEU-1 to 4 in BFS."""


@dataclass(frozen=True)
class Parts:
    """Captions of N videos against their references, measured.

    Args:
        verdicts: emotions of each caption.
        emotions: (N, 5), see ``emotion_accuracy.COUNTS``.
        meteor: (N, 23), see ``meteor.py``; None where METEOR was not computed.
    """

    language: bleu_rouge_cider.LanguageParts
    verdicts: list[emotion_accuracy.EmotionVerdict]
    emotions: npt.NDArray[np.int64]
    meteor: npt.NDArray[np.float64] | None = None

    @property
    def videos(self) -> int:
        """N."""
        return len(self.verdicts)

    def with_meteor(self, statistics: npt.NDArray[np.float64] | None) -> Parts:
        """The same with METEOR's counts."""
        return replace(self, meteor=statistics)

    def corpus(self, weights: npt.NDArray[np.float64] | None = None) -> dict[str, npt.NDArray[np.float64] | None]:
        """Every metric for each weighting, (R,); None where it was not computed.

        Args:
            weights: (R, N); None: the corpus itself.
        """
        once = weights is None
        weights = np.ones((1, self.videos)) if weights is None else weights
        videos = weights.sum(1)
        bleus = bleu_rouge_cider.bleu(weights @ self.language.bleu)
        totals = weights @ self.emotions
        sw = np.array([emotion_accuracy.acc_sw(row) for row in totals])
        c = np.array([emotion_accuracy.acc_c(row, round(count)) for row, count in zip(totals, videos, strict=True)])
        ciders = (row @ self.language.cider.scores(None if once else row) for row in weights)
        cider = np.array(list(ciders)) / videos
        meteor = None if self.meteor is None else meteor_scores(weights @ additive(self.meteor))
        values: dict[str, Any] = {
            "acc_sw": sw,
            "acc_c": c,
            **{f"bleu_{order + 1}": bleus[:, order] for order in range(ORDERS)},
            "meteor": meteor,
            "rouge_l": weights @ self.language.rouge_l / videos,
            "cider": cider,
            "bfs": 0.8 * (bleus @ np.array(BLEU_SHARES)) + 0.1 * (sw + c),
            "cfs": 0.8 * cider + 0.1 * (sw + c),
        }
        return {name: None if values[name] is None else 100 * values[name] for name in METRICS}

    def values(self) -> dict[str, float | None]:
        """Every metric of the corpus itself."""
        return {name: None if value is None else float(value[0]) for name, value in self.corpus().items()}

    def segments(self) -> Segments:
        """Metrics of each video alone; what only resampling needs is not kept by it."""
        return Segments(self.language.bleu, self.language.rouge_l, self.language.cider.scores(), self.meteor)


@dataclass(frozen=True)
class Segments:
    """BLEU-1 to 4, METEOR, ROUGE-L and CIDEr of each video alone; BLEU-n is None for a caption shorter than n.

    CIDEr keeps the document frequencies of the corpus, so its mean is the corpus value; so is ROUGE-L's. BLEU and
    METEOR of the corpus are no means of these.

    Args:
        counts, rouge_l: see ``LanguageParts``.
        cider: (N,).
        statistics: (N, 23) of METEOR, or None.
    """

    counts: npt.NDArray[np.float64]
    rouge_l: npt.NDArray[np.float64]
    cider: npt.NDArray[np.float64]
    statistics: npt.NDArray[np.float64] | None

    def __getitem__(self, video: int) -> dict[str, float | None]:
        """Of the video of this number, x 100."""
        guessed = self.counts[video][2 : 2 + ORDERS]
        row: dict[str, float | None] = {
            f"bleu_{order + 1}": 100 * float(self._bleus[video][order]) if guessed[order] else None
            for order in range(ORDERS)
        }
        row["meteor"] = None if self._meteor is None else 100 * float(self._meteor[video])
        row["rouge_l"] = 100 * float(self.rouge_l[video])
        row["cider"] = 100 * float(self.cider[video])
        return row

    @cached_property
    def _bleus(self) -> npt.NDArray[np.float64]:
        return bleu_rouge_cider.bleu(self.counts)

    @cached_property
    def _meteor(self) -> npt.NDArray[np.float64] | None:
        return None if self.statistics is None else meteor_scores(self.statistics)


def measure(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]], lexicon: Lexicon) -> Parts:
    """Everything but METEOR, of normalised texts; each video needs at least one reference that is not empty."""
    counts = array("q")
    known: dict[emotion_accuracy.EmotionVerdict, emotion_accuracy.EmotionVerdict] = {}
    verdicts = []
    for video, text in hypotheses.items():
        verdict = emotion_accuracy.judge(text.split(), [other.split() for other in references[video]], lexicon)
        verdicts.append(known.setdefault(verdict, verdict))  # the few that there are, each once
        counts.extend(verdict.counts())
    return Parts(
        language=bleu_rouge_cider.language_parts(hypotheses, references),
        verdicts=verdicts,
        emotions=np.frombuffer(counts, dtype=np.int64).reshape(len(verdicts), len(emotion_accuracy.COUNTS)),
    )
