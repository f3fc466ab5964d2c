"""N-grams of a corpus by number, block by block: what is kept of a text is its words' numbers, and of the corpus how
many videos' references have each n-gram.

A block is some videos with all their references. N-grams of a block are numbered among themselves, and in the order of
their words' numbers, which are the corpus's: sums over a text's n-grams are the same whatever the blocks are.

Notation: N videos, M references, W words; a text is words joined by single spaces.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]

ORDERS: Final = 4
BLOCK_WORDS: Final = 100_000
"""Of the references of a block; a video is never torn apart."""
_MERGED: Final = 1_000_000
"""N-grams that wait before they are merged with those of the blocks before."""


@dataclass(frozen=True)
class Texts:
    """Texts as numbers of words.

    Args:
        numbers: of all words, one text after the other.
        ends: (texts + 1,), where each text begins, and the end of the last.
    """

    numbers: npt.NDArray[np.uint32]
    ends: Ints

    @classmethod
    def of(cls, texts: Iterable[str], ids: dict[str, int]) -> Texts:
        """Read texts once; words that ``ids`` lacks are added to it."""
        numbers, ends = array("I"), array("q", [0])
        for text in texts:
            numbers.extend([ids.setdefault(word, len(ids)) for word in text.split()])
            ends.append(len(numbers))
        return cls(np.frombuffer(numbers, dtype=np.uint32), np.frombuffer(ends, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def part(self, start: int, stop: int) -> Texts:
        """Texts ``start`` to ``stop``."""
        first, last = int(self.ends[start]), int(self.ends[stop])
        return Texts(self.numbers[first:last], self.ends[start : stop + 1] - first)

    @property
    def lengths(self) -> Ints:
        """Words of each text."""
        return np.diff(self.ends)

    def lists(self) -> Iterator[list[int]]:
        """Each text's numbers."""
        for start, stop in zip(self.ends[:-1].tolist(), self.ends[1:].tolist(), strict=True):
            yield self.numbers[start:stop].tolist()


@dataclass(frozen=True)
class Corpus:
    """Captions of N videos with their references.

    Args:
        captions: one a video.
        references: of all videos, those of a video next to each other.
        firsts: (N + 1,), the first reference of each video, and their number.
        words: W.
    """

    captions: Texts
    references: Texts
    firsts: Ints
    words: int

    @classmethod
    def of(cls, hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> Corpus:
        """Read both twice over at most, in the order of the hypotheses."""
        ids: dict[str, int] = {}
        captions = Texts.of(hypotheses.values(), ids)
        firsts = array("q", [0])

        def all_references() -> Iterator[str]:
            for video in hypotheses:
                several = references[video]
                firsts.append(firsts[-1] + len(several))
                yield from several

        found = Texts.of(all_references(), ids)
        return cls(captions, found, np.frombuffer(firsts, dtype=np.int64), len(ids))

    def blocks(self) -> list[tuple[int, int]]:
        """First video and end of each block."""
        begins, begin = [0], 0
        words = self.references.ends[self.firsts]  # before each video
        while begin < len(self.captions):
            begin = max(int(np.searchsorted(words, words[begin] + BLOCK_WORDS, side="right")) - 1, begin + 1)
            begins.append(min(begin, len(self.captions)))
        return list(pairwise(begins))

    def block(self, start: int, stop: int) -> Block:
        """The block of videos ``start`` to ``stop``."""
        first, last = int(self.firsts[start]), int(self.firsts[stop])
        owners = np.repeat(np.arange(stop - start), np.diff(self.firsts[start : stop + 1]))
        return Block(self.captions.part(start, stop), self.references.part(first, last), owners, self.words)


class Block:
    """Captions of some videos, their references, and the n-grams of both by number.

    ``hypotheses`` and ``references`` are columns (text, n-gram, count), a row for each distinct n-gram of a text,
    sorted by text, then n-gram; ``orders`` is n - 1 of each n-gram. ``before`` is the number of the n-gram without its
    last word, among those of its own order, and ``last`` the number of that word in the corpus.

    Args:
        captions: of the videos.
        truth: their references.
        owners: video of each reference.
        width: W.
    """

    def __init__(self, captions: Texts, truth: Texts, owners: Ints, width: int) -> None:
        self.captions, self.truth, self.owners = captions, truth, owners
        lengths = np.concatenate([captions.lengths, truth.lengths])
        words = np.concatenate([captions.numbers, truth.numbers]).astype(np.int64)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # words from here to the end of its text
        found: list[tuple[npt.NDArray[np.int64], ...]] = []
        self.before: list[Ints] = []
        self.last: list[Ints] = []
        total, numbers, width = 0, np.zeros(len(words), dtype=np.int64), max(width, 1)
        for order in range(ORDERS):
            here = np.flatnonzero(left > order)
            longer = np.zeros(len(words), dtype=np.int64)
            # an n-gram is the (n-1)-gram before its last word, and that word
            names, longer[here] = np.unique(numbers[here] * width + words[here + order], return_inverse=True)
            numbers = longer
            pairs, counts = np.unique(owner[here] * max(len(names), 1) + numbers[here], return_counts=True)
            text, gram = np.divmod(pairs, max(len(names), 1))
            found.append((text, gram + total, counts))
            before, last = np.divmod(names, width)
            self.before.append(before)
            self.last.append(last)
            total += len(names)
        text, gram, count = (np.concatenate(columns) for columns in zip(*found, strict=True))
        arranged = np.lexsort((gram, text))
        text, gram, count = text[arranged], gram[arranged], count[arranged]
        split = int(np.searchsorted(text, len(captions)))
        self.hypotheses = text[:split], gram[:split], count[:split]
        self.references = text[split:] - len(captions), gram[split:], count[split:]
        self.orders = np.repeat(np.arange(ORDERS), [len(names) for names in self.last])


@dataclass(frozen=True)
class Frequencies:
    """In how many videos' references each n-gram of the corpus's references stands.

    Args:
        names: of each order, sorted: number of the n-gram without its last word times W, and that word.
        counts: videos, those of all orders one after the other.
        words: W.
    """

    names: Sequence[Ints]
    counts: npt.NDArray[np.int32]
    words: int

    @classmethod
    def of(cls, corpus: Corpus) -> Frequencies:
        """Count, an order at a time."""
        references, width = corpus.references, max(corpus.words, 1)
        numbers: npt.NDArray[Any] = np.zeros(len(references.numbers), dtype=np.int32)
        blocks = [(int(corpus.firsts[start]), int(corpus.firsts[stop]), start) for start, stop in corpus.blocks()]
        names, counts = [], []
        for order in range(ORDERS):
            merged = _Merged()
            for first, last, start in blocks:
                here, keys = _names_in(references, first, last, numbers, order, width)
                text = np.searchsorted(references.ends, here, side="right") - 1
                video = np.searchsorted(corpus.firsts, text, side="right") - 1 - start
                grams, local = np.unique(keys, return_inverse=True)
                pairs = distinct(local * (int(video.max(initial=0)) + 1) + video)
                merged.add(grams, np.bincount(pairs // (int(video.max(initial=0)) + 1), minlength=len(grams)))
            found, videos = merged.finished()
            for first, last, _ in blocks if order < ORDERS - 1 else ():
                here, keys = _names_in(references, first, last, numbers, order, width)
                numbers[here] = np.searchsorted(found, keys)
            names.append(found)
            counts.append(videos.astype(np.int32))
        return cls(names, np.concatenate(counts), corpus.words)

    def places(self, block: Block) -> Ints:
        """The place in ``counts`` of each n-gram of a block; -1 of those that no reference has."""
        width, total = max(self.words, 1), 0
        before = np.zeros(1, dtype=np.int64)  # of one n-gram of no word
        found = []
        for order, names in enumerate(self.names):
            known = before[block.before[order]]
            keys = known * width + block.last[order]
            number = np.minimum(np.searchsorted(names, keys), max(len(names) - 1, 0))
            there = (known >= 0) & (names[number] == keys) if len(names) else np.zeros(len(keys), dtype=np.bool_)
            before = np.where(there, number, -1)
            found.append(np.where(there, number + total, -1))
            total += len(names)
        return np.concatenate(found)


def distinct(numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers from 0, sorted, each once. ``numpy.unique`` hashes them first, which takes ten times as long here."""
    arranged = np.sort(numbers)
    return arranged[np.diff(arranged, prepend=-1) > 0]


def _names_in(
    references: Texts, first: int, last: int, numbers: npt.NDArray[Any], order: int, width: int
) -> tuple[Ints, Ints]:
    """Where n-grams of ``order`` begin in references ``first`` to ``last``, and their names."""
    start, stop = int(references.ends[first]), int(references.ends[last])
    ends = np.repeat(references.ends[first + 1 : last + 1], np.diff(references.ends[first : last + 1]))
    here = np.arange(start, stop)
    here = here[ends - here > order]
    return here, numbers[here].astype(np.int64) * width + references.numbers[here + order]


class _Merged:
    """Counts by name, given in pieces."""

    def __init__(self) -> None:
        self.names, self.counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self._waiting: list[tuple[Ints, Ints]] = []
        self._size = 0

    def add(self, names: Ints, counts: Ints) -> None:
        """Add counts of ``names``, each there once."""
        self._waiting.append((names, counts))
        self._size += len(names)
        if self._size > max(_MERGED, len(self.names)):
            self._merge()

    def _merge(self) -> None:
        names = np.concatenate([self.names, *(names for names, _ in self._waiting)])
        counts = np.concatenate([self.counts, *(counts for _, counts in self._waiting)])
        self._waiting, self._size = [], 0
        self.names, inverse = np.unique(names, return_inverse=True)
        self.counts = np.bincount(inverse, counts, minlength=len(self.names)).astype(np.int64)

    def finished(self) -> tuple[Ints, Ints]:
        """All names, sorted, and their counts."""
        self._merge()
        return self.names, self.counts
