"""BLEU, ROUGE-L and CIDEr as pycocoevalcap defines them, in parts that any resampling of the videos can be scored from.

The values equal pycocoevalcap's to rounding; that package is what the tests compare with. METEOR is in ``meteor.py``.

Notation: N videos, M references in all, R resamplings; weights (R, N) say how often a video stands in a resampling.
Texts are normalised already: words joined by single spaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli.scoring.ngrams import ORDERS, Block, Corpus, Frequencies, distinct

if TYPE_CHECKING:
    import numpy.typing as npt

KEPT_WORDS: Final = 250_000
"""Of the references of a corpus whose counts stay in memory for resampling, a hundred bytes a word."""
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
    corpus = Corpus.of(hypotheses, references)
    cider = Cider(corpus)
    counts = [np.zeros((0, 2 + 2 * ORDERS))]
    rouge_l = [np.zeros(0)]
    for block in cider.measured():
        counts.append(_bleu_counts(block))
        rouge_l.append(_rouge_l(block))
    return LanguageParts(bleu=np.concatenate(counts), rouge_l=np.concatenate(rouge_l), cider=cider)


def _bleu_counts(block: Block) -> npt.NDArray[np.float64]:
    """(N, 10) of a block, see ``LanguageParts``."""
    lengths, others, owners = block.captions.lengths, block.truth.lengths, block.owners
    arranged = np.lexsort((others, np.abs(others - lengths[owners]), owners))
    closest = others[arranged[np.searchsorted(owners, np.arange(len(lengths)))]]
    text, gram, count = block.references
    keys = owners[text] * len(block.orders) + gram  # video and n-gram
    arranged = np.argsort(keys, kind="stable")
    names, begins = np.unique(keys[arranged], return_index=True)
    most = np.maximum.reduceat(count[arranged], begins) if len(keys) else count
    video, gram, count = block.hypotheses
    right = np.minimum(count, _values_at(names, most, video * len(block.orders) + gram))
    out = np.zeros((len(lengths), 2 + 2 * ORDERS))
    out[:, 0], out[:, 1] = lengths, closest
    np.add.at(out, (video, 2 + block.orders[gram]), count)
    np.add.at(out, (video, 2 + ORDERS + block.orders[gram]), right)
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


def _rouge_l(block: Block) -> npt.NDArray[np.float64]:
    """F of the best precision and the best recall over the references, (N,) of a block."""
    captions = list(block.captions.lists())
    best = np.zeros((len(captions), 2))
    places: dict[int, int] = {}
    last = -1
    for words, video in zip(block.truth.lists(), block.owners.tolist(), strict=True):
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


def _longest_common(places: Mapping[int, int], length: int, words: Sequence[int]) -> int:
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
    times the squared frequency weight of the n-gram: the counts stay, the weights are what resampling changes. Counts
    of a large corpus are made again where they are needed, until there are weights.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.videos = corpus, len(corpus.captions)
        self.blocks = corpus.blocks()
        # a block that is the whole corpus counts by itself
        self.frequencies = Frequencies.of(corpus) if len(self.blocks) > 1 else None
        self._once = np.zeros(self.videos)
        self._kept: list[_BlockSums] | None = None

    def measured(self) -> Iterator[Block]:
        """Each block, once its videos' own scores are known; to be read to the end before anything else."""
        kept: list[_BlockSums] | None = [] if len(self.corpus.references.numbers) <= KEPT_WORDS else None
        ones = np.ones(self.videos)
        total = np.log(ones.sum())
        counts = None if self.frequencies is None else self.frequencies.counts.astype(np.float64)
        for start, stop in self.blocks:
            block = self.corpus.block(start, stop)
            sums = self._sums(block, start)
            frequency = sums.weighted(ones) if counts is None else sums.of_corpus(counts)
            self._once[start:stop] = sums.scores(total, frequency)
            if kept is not None:
                kept.append(sums)
            yield block
        self._kept = kept

    def _sums(self, block: Block, start: int) -> _BlockSums:
        places = None if self.frequencies is None else self.frequencies.places(block)
        return _BlockSums(block, start, places)

    def scores(self, weights: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
        """CIDEr of each video (N,) where the corpus holds it ``weights`` times; None: once each."""
        if weights is None:
            return self._once
        if self._kept is None:
            self._kept = [self._sums(self.corpus.block(start, stop), start) for start, stop in self.blocks]
        total = np.log(weights.sum())
        if self.frequencies is None:
            return np.concatenate([sums.scores(total, sums.weighted(weights)) for sums in self._kept])
        counts = np.zeros(len(self.frequencies.counts))
        for sums in self._kept:
            sums.add_to(counts, sums.weighted(weights))
        return np.concatenate([sums.scores(total, sums.of_corpus(counts)) for sums in self._kept])


class _BlockSums:
    """What CIDEr sums up of a block's texts.

    Args:
        block: of the corpus.
        start: its first video.
        places: of its n-grams in the frequencies of the corpus; None: the block is the corpus.
    """

    def __init__(self, block: Block, start: int, places: npt.NDArray[np.int64] | None) -> None:
        N, G, owners = len(block.captions), len(block.orders), block.owners
        self.videos, self.grams, self.owners = N, G, owners
        self.places = np.zeros(0, dtype=np.int64) if places is None else places
        self.references = np.bincount(owners, minlength=N)
        text, gram, count = block.references
        pairs = distinct(gram * N + owners[text])  # in which videos' references an n-gram stands
        self.seen, seen_by = np.divmod(pairs, N)
        self.seen_by = start + seen_by
        video, own_gram, own_count = block.hypotheses
        own = _values_at(video * G + own_gram, own_count, owners[text] * G + gram)
        common = np.flatnonzero(own)
        clipped = np.minimum(own[common], count[common]) * count[common]
        texts = len(block.truth)
        self.hypothesis_sums = _Sums(video, own_gram, own_count**2, block.orders, N)
        self.reference_sums = _Sums(text, gram, count**2, block.orders, texts)
        self.common_sums = _Sums(text[common], gram[common], clipped, block.orders, texts)
        # the length that CIDEr-D's code compares is the number of bigrams
        bigrams = [np.maximum(found.lengths - 1, 0) for found in (block.captions, block.truth)]
        self.penalty = np.exp(-((bigrams[0][owners] - bigrams[1]) ** 2) / (2 * SIGMA**2))

    def weighted(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """How many weighted videos of the block have each of its n-grams in their references."""
        return np.asarray(np.bincount(self.seen, weights[self.seen_by], minlength=self.grams), np.float64)

    def add_to(self, counts: npt.NDArray[np.float64], own: npt.NDArray[np.float64]) -> None:
        """Add ``own``, of the n-grams of this block, to those of the corpus."""
        known = self.places >= 0
        counts[self.places[known]] += own[known]

    def of_corpus(self, counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """``counts`` of the corpus for the n-grams of this block."""
        return np.where(self.places >= 0, counts[self.places], 0.0) if len(counts) else np.zeros(self.grams)

    def scores(self, total: np.float64, frequency: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """CIDEr of each video, (N,) of the block.

        Args:
            total: logarithm of the number of videos.
            frequency: videos whose references have each n-gram.
        """
        squares = (total - np.log(np.maximum(frequency, 1.0))) ** 2
        hypothesis, reference = self.hypothesis_sums(squares), self.reference_sums(squares)
        norms = np.sqrt(hypothesis[self.owners] * reference)
        cosines = np.divide(self.common_sums(squares), norms, out=np.zeros_like(norms), where=norms > 0)
        similar = cosines.mean(1) * self.penalty
        return np.asarray(10 * np.bincount(self.owners, similar, minlength=self.videos) / self.references)


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
