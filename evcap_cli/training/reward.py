"""CFS of a single caption against the training references of its video: what self-critical epochs reward.

``scoring/`` scores a corpus once and is thorough about it; here the references of all videos are measured once and each
of many thousand captions must then cost microseconds. The numbers are the same (tests compare both).

Notation: N videos, M references of a video, G distinct n-grams of them, k those that the caption has too; texts are
normalised as scores are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evcap_cli.data.caption_text import MAX_WORDS, tokens
from evcap_cli.scoring.bleu_rouge_cider import SIGMA
from evcap_cli.scoring.emotion_accuracy import acc_c, acc_sw, judge
from evcap_cli.scoring.ngrams import ORDERS

if TYPE_CHECKING:
    import numpy.typing as npt

    from evcap_cli.data.lexicon import Lexicon

    Gram = tuple[str, ...]


@dataclass(frozen=True)
class _Truth:
    """The references of a video.

    Args:
        rows: n-gram -> its row, G of them. counts: how often each reference has it, (G, M).
        bigrams: of each reference, (M,): the length that CIDEr-D's code compares.
        emotion_words: their words that are in the lexicon.
    """

    rows: dict[Gram, int]
    counts: npt.NDArray[np.uint8]
    bigrams: npt.NDArray[np.int64]
    emotion_words: list[str]


class CaptionReward:
    """CFS of captions one by one: 0.8 CIDEr-D + 0.1 (Acc_sw + Acc_c), x 100.

    CIDEr-D is that of a corpus in which every video of ``references`` has a caption: document frequencies are those of
    all of them (Vedantam et al. 2015, as pycocoevalcap computes it). The accuracies of one caption are its share of
    right categories among those that it mentions, and whether it mentions right ones only.

    Args:
        references: video -> raw captions; empty ones are dropped.
        lexicon: decides the accuracies.
    """

    def __init__(self, references: Mapping[str, Sequence[str]], lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.truth: dict[str, _Truth] = {}
        frequency: Counter[Gram] = Counter()
        for video, texts in references.items():
            self.truth[video] = truth = _measured([words for text in texts if (words := tokens(text))], lexicon)
            frequency.update(truth.rows.keys())
        self.unseen = math.log(len(self.truth)) if self.truth else 0.0
        self.idf = {gram: self.unseen - math.log(count) for gram, count in frequency.items()}
        self._squares: dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}

    def __call__(self, video: str, words: Sequence[str]) -> float:
        """The reward of a caption, 0 to 820 or so.

        Args:
            video: one of the references'.
            words: of the caption, normalised; cut as scores cut it.

        Raises:
            KeyError: no such video.
        """
        kept, truth = list(words[:MAX_WORDS]), self.truth[video]
        counts = judge(kept, [truth.emotion_words], self.lexicon).counts()
        return 100 * (0.8 * self.cider(video, kept) + 0.1 * (acc_sw(counts) + acc_c(counts, 1)))

    def cider(self, video: str, words: Sequence[str]) -> float:
        """CIDEr-D of a caption, 0 to 10."""
        truth = self.truth[video]
        if not len(truth.bigrams):
            return 0.0
        squares, norms = self._measures(video)
        own = np.zeros(ORDERS)
        rows, counts, orders = [], [], []
        for gram, count in _grams(words).items():
            own[len(gram) - 1] += (count * self.idf.get(gram, self.unseen)) ** 2
            row = truth.rows.get(gram)
            if row is not None:
                rows.append(row)
                counts.append(count)
                orders.append(len(gram) - 1)
        if not rows:
            return 0.0
        theirs = truth.counts[rows].astype(np.float64)
        shared = np.minimum(theirs, np.array(counts)[:, None]) * theirs * squares[rows, None]
        sums = (np.arange(ORDERS)[:, None] == np.array(orders)) @ shared  # (4, M)
        lengths = np.sqrt(own)[:, None] * norms
        cosines = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
        penalty = np.exp(-((max(len(words) - 1, 0) - truth.bigrams) ** 2) / (2 * SIGMA**2))
        return float(10 * (cosines.mean(axis=0) * penalty).mean())

    def _measures(self, video: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Squared weights of a video's n-grams, (G,), and the lengths of its references' vectors by order, (4, M)."""
        found = self._squares.get(video)
        if found is None:
            truth = self.truth[video]
            squares = np.array([self.idf[gram] ** 2 for gram in truth.rows])
            orders = np.array([len(gram) - 1 for gram in truth.rows])
            weighted = truth.counts.astype(np.float64) ** 2 * squares[:, None]
            norms = np.sqrt((np.arange(ORDERS)[:, None] == orders) @ weighted)
            found = self._squares[video] = squares, norms
        return found


def _measured(references: Sequence[Sequence[str]], lexicon: Lexicon) -> _Truth:
    counted = [_grams(words) for words in references]
    rows = {gram: row for row, gram in enumerate(dict.fromkeys(gram for grams in counted for gram in grams))}
    counts = np.zeros((len(rows), len(references)), dtype=np.uint8)
    for column, grams in enumerate(counted):
        for gram, count in grams.items():
            counts[rows[gram], column] = count  # at most MAX_WORDS
    emotion_words = {word for words in references for word in words if word in lexicon.word_ids}
    bigrams = np.array([len(words) - 1 for words in references], dtype=np.int64)
    return _Truth(rows, counts, bigrams, sorted(emotion_words))


def _grams(words: Sequence[str]) -> Counter[Gram]:
    """How often each n-gram of one to four words stands in a text."""
    return Counter(
        tuple(words[start : start + order]) for order in range(1, ORDERS + 1) for start in range(len(words) - order + 1)
    )
