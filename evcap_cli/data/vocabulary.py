"""Words and their ids. The ids of the special tokens are fixed in ``data/special_tokens.py``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evcap_cli.data.special_tokens import END, SPECIALS, UNK
from evcap_cli.errors import DataError
from evcap_cli.reading.typed import from_json


@dataclass(frozen=True)
class _File:
    """vocabulary.json."""

    words: list[str]


class Vocabulary:
    """A two-way mapping between words and ids; ids 0 to 3 are padding, start, end and unknown."""

    def __init__(self, words: Sequence[str]) -> None:
        """Number ``words`` (without the special tokens) from 4 on.

        Raises:
            ValueError: for a word given twice, or spelled like a special token.
        """
        self.words: tuple[str, ...] = (*SPECIALS, *words)
        self.ids: dict[str, int] = {word: number for number, word in enumerate(self.words)}
        if len(self.ids) != len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise ValueError(f"the word {twice!r} stands twice in the vocabulary")

    @classmethod
    def from_captions(cls, captions: Iterable[Sequence[str]], *, min_count: int = 1) -> Vocabulary:
        """Words of tokenised captions that occur ``min_count`` times: the most frequent first, ties by spelling."""
        counts = Counter(word for caption in captions for word in caption)
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self.ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def encode(self, words: Sequence[str], *, end: bool = True) -> list[int]:
        """Ids of ``words``, unknown ones as UNK, the end mark after them unless ``end`` is False."""
        ids = [self.ids.get(word, UNK) for word in words]
        return [*ids, END] if end else ids

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Words up to the end mark, special tokens left out."""
        words: list[str] = []
        for number in ids:
            if number == END:
                break
            if number >= len(SPECIALS):
                words.append(self.words[number])
        return words

    def to_json(self) -> str:
        """The words in the order of their ids, specials included."""
        return json.dumps({"words": self.words}, ensure_ascii=False, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, path: Path | None = None) -> Vocabulary:
        """The inverse of ``to_json``.

        Raises:
            DataError: when the text is not a vocabulary, or its special tokens are not this version's.
        """
        try:
            words = from_json(_File, text, path=path).words
            if tuple(words[: len(SPECIALS)]) != SPECIALS:
                raise DataError(f"the vocabulary must begin with {', '.join(SPECIALS)}", path=path)
            return cls(words[len(SPECIALS) :])
        except ValueError as problem:
            raise DataError(f"not a vocabulary ({problem})", path=path) from problem
