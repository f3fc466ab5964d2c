"""BLEU, ROUGE-L and CIDEr as pycocoevalcap defines them, in parts that any resampling of the videos can be scored from.

The values equal pycocoevalcap's to rounding; that package is what the tests compare with. METEOR is in ``meteor.py``.

Notation: N videos, M references in all, R resamplings; weights (R, N) say how often a video stands in a resampling.
Texts are normalised already: words joined by single spaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

ORDERS: Final = 4
_TINY, _SMALL = 1e-15, 1e-9  # pycocoevalcap's guards against division by zero, part of its published values
_BETA_ROUGE: Final = 1.2
SIGMA: Final = 6.0
"""Of CIDEr-D's penalty for another length."""


@dataclass(frozen=True)
class LanguageParts:
    """What each video adds to the corpus metrics, in the order of the hypotheses.

    Args:
        bleu: (N, 10): hypothesis length, closest reference length, n-grams guessed (4), n-grams right (4).
        rouge_l: (N,).
        cider: scores any weights of the videos.
    """

    bleu: npt.NDArray[np.float64]
    rouge_l: npt.NDArray[np.float64]
    cider: Cider


def language_parts(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> LanguageParts:
    """Compare each hypothesis with the references of its video (at least one, none empty)."""
    owners = np.repeat(np.arange(len(hypotheses)), [len(references[video]) for video in hypotheses])
    captions = [text.split() for text in hypotheses.values()]
    truth = [text.split() for video in hypotheses for text in references[video]]
    grams = _NGrams(captions, truth)
    return LanguageParts(
        bleu=_bleu_counts(captions, truth, owners, grams),
        rouge_l=_rouge_l(captions, truth, owners),
        cider=Cider(captions, truth, owners, grams),
    )


class _NGrams:
    """N-grams of all texts by number.

    ``hypotheses`` and ``references`` are columns (text, n-gram, count), a row for each distinct n-gram of a text,
    sorted by text, then n-gram; ``orders`` is n - 1 of each n-gram.
    """

    def __init__(self, captions: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> None:
        ids: dict[str, int] = {}
        texts = [*captions, *truth]
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        words = np.array([ids.setdefault(word, len(ids)) for text in texts for word in text], dtype=np.int64)
        owner = np.repeat(np.arange(len(texts)), lengths)
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # words from here to the end of its text
        found: list[tuple[npt.NDArray[np.int64], ...]] = []
        orders: list[npt.NDArray[np.int64]] = []
        total, numbers, width = 0, np.zeros(len(words), dtype=np.int64), max(len(ids), 1)
        for order in range(ORDERS):
            here = np.flatnonzero(left > order)
            longer = np.zeros(len(words), dtype=np.int64)
            # an n-gram is the (n-1)-gram before its last word, and that word
            names, longer[here] = np.unique(numbers[here] * width + words[here + order], return_inverse=True)
            numbers = longer
            pairs, counts = np.unique(owner[here] * max(len(names), 1) + numbers[here], return_counts=True)
            text, gram = np.divmod(pairs, max(len(names), 1))
            found.append((text, gram + total, counts))
            orders.append(np.full(len(names), order))
            total += len(names)
        text, gram, count = (np.concatenate(columns) for columns in zip(*found, strict=True))
        arranged = np.lexsort((gram, text))
        text, gram, count = text[arranged], gram[arranged], count[arranged]
        split = int(np.searchsorted(text, len(captions)))
        self.hypotheses = text[:split], gram[:split], count[:split]
        self.references = text[split:] - len(captions), gram[split:], count[split:]
        self.orders = np.concatenate(orders)


def _bleu_counts(
    captions: Sequence[Sequence[str]], truth: Sequence[Sequence[str]], owners: npt.NDArray[np.int64], grams: _NGrams
) -> npt.NDArray[np.float64]:
    """(N, 10), see ``LanguageParts``."""
    lengths = np.array([len(words) for words in captions])
    others = np.array([len(words) for words in truth])
    arranged = np.lexsort((others, np.abs(others - lengths[owners]), owners))
    closest = others[arranged[np.searchsorted(owners, np.arange(len(captions)))]]
    text, gram, count = grams.references
    keys = owners[text] * len(grams.orders) + gram  # video and n-gram
    arranged = np.argsort(keys, kind="stable")
    names, begins = np.unique(keys[arranged], return_index=True)
    most = np.maximum.reduceat(count[arranged], begins) if len(keys) else count
    video, gram, count = grams.hypotheses
    right = np.minimum(count, _values_at(names, most, video * len(grams.orders) + gram))
    out = np.zeros((len(captions), 2 + 2 * ORDERS))
    out[:, 0], out[:, 1] = lengths, closest
    np.add.at(out, (video, 2 + grams.orders[gram]), count)
    np.add.at(out, (video, 2 + ORDERS + grams.orders[gram]), right)
    return out


def _values_at(names: npt.NDArray[Any], values: npt.NDArray[Any], keys: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``values`` of ``keys`` among sorted ``names``, 0 where it is none of them."""
    if not len(names):
        return np.zeros(len(keys), dtype=values.dtype)
    places = np.minimum(np.searchsorted(names, keys), len(names) - 1)
    return np.where(names[places] == keys, values[places], 0)


def bleu(totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Corpus BLEU-1 to 4 from summed parts, (..., 10) -> (..., 4); the same numbers as pycocoevalcap's."""
    length, closest = totals[..., 0:1], totals[..., 1:2]
    guessed, right = totals[..., 2 : 2 + ORDERS], totals[..., 2 + ORDERS :]
    precision = np.cumprod((right + _TINY) / (guessed + _SMALL), axis=-1) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (length + _TINY) / (closest + _SMALL)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)
    return np.asarray(precision * brevity)


def _rouge_l(
    captions: Sequence[Sequence[str]], truth: Sequence[Sequence[str]], owners: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """F of the best precision and the best recall over the references, (N,)."""
    best = np.zeros((len(captions), 2))
    places: dict[str, int] = {}
    last = -1
    for words, video in zip(truth, owners.tolist(), strict=True):
        caption = captions[video]
        if video != last:
            last, places = video, {}
            for place, word in enumerate(caption):
                places[word] = places.get(word, 0) | 1 << place
        common = _longest_common(places, len(caption), words)
        if common:
            best[video, 0] = max(best[video, 0], common / len(caption))
            best[video, 1] = max(best[video, 1], common / len(words))
    precision, recall = best[:, 0], best[:, 1]
    below = recall + _BETA_ROUGE**2 * precision
    return np.where(below > 0, (1 + _BETA_ROUGE**2) * precision * recall / np.where(below > 0, below, 1), 0.0)


def _longest_common(places: Mapping[str, int], length: int, words: Sequence[str]) -> int:
    """Length of the longest common subsequence (Hyyrö 2004: a row of the table is the bits of one number)."""
    full = (1 << length) - 1
    row = full
    for word in words:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & full
    return length - row.bit_count()


class Cider:
    """CIDEr-D of N captions for any weights of the videos; document frequencies are those of the weighted videos.

    All n-gram vectors are counts times inverse document frequency, so a cosine is made of sums of products of counts
    times the squared frequency weight of the n-gram: the counts stay, the weights are what resampling changes.
    """

    def __init__(
        self,
        captions: Sequence[Sequence[str]],
        truth: Sequence[Sequence[str]],
        owners: npt.NDArray[np.int64],
        grams: _NGrams,
    ) -> None:
        N, G = len(captions), len(grams.orders)
        self.videos, self.grams, self.owners = N, G, owners
        self.references = np.bincount(owners, minlength=N)
        text, gram, count = grams.references
        pairs = np.unique(gram * N + owners[text])  # in which videos' references an n-gram stands
        self.seen, self.seen_by = np.divmod(pairs, N)
        video, own_gram, own_count = grams.hypotheses
        own = _values_at(video * G + own_gram, own_count, owners[text] * G + gram)
        common = np.flatnonzero(own)
        clipped = np.minimum(own[common], count[common]) * count[common]
        self.hypothesis_sums = _Sums(video, own_gram, own_count**2, grams.orders, N)
        self.reference_sums = _Sums(text, gram, count**2, grams.orders, len(truth))
        self.common_sums = _Sums(text[common], gram[common], clipped, grams.orders, len(truth))
        # the length that CIDEr-D's code compares is the number of bigrams
        bigrams = [np.array([max(len(words) - 1, 0) for words in texts]) for texts in (captions, truth)]
        self.penalty = np.exp(-((bigrams[0][owners] - bigrams[1]) ** 2) / (2 * SIGMA**2))

    def scores(self, weights: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
        """CIDEr of each video (N,) where the corpus holds it ``weights`` times; None: once each."""
        whole = np.ones(self.videos) if weights is None else weights
        frequency = np.bincount(self.seen, whole[self.seen_by], minlength=self.grams)
        idf = np.log(whole.sum()) - np.log(np.maximum(frequency, 1.0))
        squares = idf**2
        hypothesis, reference = self.hypothesis_sums(squares), self.reference_sums(squares)
        norms = np.sqrt(hypothesis[self.owners] * reference)
        cosines = np.divide(self.common_sums(squares), norms, out=np.zeros_like(norms), where=norms > 0)
        similar = cosines.mean(1) * self.penalty
        return 10 * np.bincount(self.owners, similar, minlength=self.videos) / self.references


class _Sums:
    """Sums over the n-grams of each text, by order: factor times what the n-gram weighs, (texts, 4)."""

    def __init__(
        self,
        text: npt.NDArray[Any],
        gram: npt.NDArray[Any],
        factor: npt.NDArray[Any],
        orders: npt.NDArray[Any],
        texts: int,
    ) -> None:
        self.gram, self.factor, self.texts = gram, factor.astype(np.float64), texts
        self.place = text * ORDERS + orders[gram]

    def __call__(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        sums = np.bincount(self.place, weights[self.gram] * self.factor, minlength=self.texts * ORDERS)
        return np.asarray(sums.reshape(self.texts, ORDERS))
