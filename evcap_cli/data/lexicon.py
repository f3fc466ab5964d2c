"""The emotion lexicon: categories ("catalog words") and the emotion words that stand for them ("lexical words").

It decides what the emotion losses learn, what the emotion mask keeps and what Acc_sw and Acc_c count. Official copies
travel with EmVidCap's data root; a general one of our own serves where there is no data root.

Notation: N_c categories, N_w distinct words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli.console import counted
from evcap_cli.errors import DataError
from evcap_cli.reading.regular import check_regular
from evcap_cli.reading.text import as_utf8, read_text
from evcap_cli.reading.typed import from_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WORD_FOLDER = "sentiment-words-E"
_DEPTH = 3
"""``WORD_FOLDER`` lies at most this many folders below a data root."""
_LIST_BYTES = 1 << 16
OFFICIAL_COUNTS = (34, 183, 179)
"""Categories, entries and distinct words of the official lexicon."""
_OFFICIAL_TWICE = {
    "annoying": ("anger", "annoyance"),
    "worried": ("annoyance", "worry"),
    "hopeful": ("anticipation", "optimistic"),
    "timid": ("fear", "shy"),
}


@dataclass(frozen=True)
class _File:
    """lexicon.json."""

    name: str
    categories: dict[str, list[str]]


class Lexicon:
    """Categories in sorted order, each with its words; a word may stand in several.

    Args:
        categories: category name -> its words.
        name: what scores and model cards call this lexicon.
    """

    def __init__(self, categories: Mapping[str, Iterable[str]], *, name: str = "lexicon") -> None:
        self.name = name
        self.table: dict[str, tuple[str, ...]] = {
            category: tuple(dict.fromkeys(word.strip().lower() for word in categories[category] if word.strip()))
            for category in sorted(categories)
        }
        self.categories: tuple[str, ...] = tuple(self.table)
        self.words: tuple[str, ...] = tuple(sorted({word for words in self.table.values() for word in words}))
        if not self.words:
            raise DataError("the lexicon holds no word")

    @cached_property
    def category_ids(self) -> dict[str, tuple[int, ...]]:
        """Word -> all its categories, in order."""
        found: dict[str, list[int]] = {word: [] for word in self.words}
        for number, words in enumerate(self.table.values()):
            for word in words:
                found[word].append(number)
        return {word: tuple(numbers) for word, numbers in found.items()}

    @cached_property
    def word_ids(self) -> dict[str, int]:
        """Word -> its number in ``words``."""
        return {word: number for number, word in enumerate(self.words)}

    def first_category(self, word: str) -> int | None:
        """The category a hypothesis word counts for: its first; None for a word outside the lexicon."""
        numbers = self.category_ids.get(word)
        return None if numbers is None else numbers[0]

    def mentioned_categories(self, words: Sequence[str]) -> set[int]:
        """All categories of all lexicon words among ``words`` (how references and labels count)."""
        return {number for word in words for number in self.category_ids.get(word, ())}

    def mentioned_words(self, words: Sequence[str]) -> set[int]:
        """Numbers of the lexicon words among ``words``."""
        return {self.word_ids[word] for word in words if word in self.word_ids}

    def named_by(self) -> list[int]:
        """Number of the word that names each category: the word of its name, or its first word where it has none.

        A category that lists no word is named by the first of all.
        """
        names = (
            category if category in self.word_ids else (*words, self.words[0])[0]
            for category, words in self.table.items()
        )
        return [self.word_ids[name] for name in names]

    def mask(self) -> npt.NDArray[np.bool_]:
        """(N_c, N_w), True where a word's first category is the row's: what the emotion mask M keeps."""
        import numpy as np

        kept = np.zeros((len(self.categories), len(self.words)), dtype=np.bool_)
        for word, number in self.word_ids.items():
            kept[self.category_ids[word][0], number] = True
        return kept

    @property
    def entries(self) -> int:
        """Words counted once for each category they stand in."""
        return sum(len(words) for words in self.table.values())

    @property
    def official(self) -> bool:
        """Whether this is EmVidCap's lexicon, by its counts and by the words that are in two categories."""
        counts = (len(self.categories), self.entries, len(self.words))
        return counts == OFFICIAL_COUNTS and all(
            tuple(self.categories[number] for number in self.category_ids.get(word, ())) == names
            for word, names in _OFFICIAL_TWICE.items()
        )

    @cached_property
    def digest(self) -> str:
        """xxh3_128 of categories and words, whatever the lexicon is called and wherever it was read."""
        import xxhash

        plain = {category: sorted(words) for category, words in self.table.items()}
        return xxhash.xxh3_128_hexdigest(json.dumps(plain, sort_keys=True).encode())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lexicon) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def to_json(self) -> str:
        """Name and categories."""
        return json.dumps({"name": self.name, "categories": self.table}, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, path: Path | None = None) -> Lexicon:
        """The inverse of ``to_json``.

        Raises:
            DataError: when the text is not a lexicon.
        """
        found = from_json(_File, text, path=path)
        try:
            return cls(found.categories, name=found.name)
        except DataError as problem:
            raise DataError(problem.cause, path=path) from problem

    @classmethod
    def from_folder(cls, folder: Path, *, name: str | None = None) -> Lexicon:
        """Read ``<category>.txt`` files: of this folder, or of the ``sentiment-words-E`` in it or below it.

        Raises:
            DataError: when there is none, or a file cannot be read.
        """
        place = word_folder(folder)
        if place is None:
            raise DataError(
                f"no lexicon found (a folder {WORD_FOLDER} with one <category>.txt each)",
                path=folder,
                hint="point to an EPAN checkout or to the lexicon folder itself",
            )
        table: dict[str, list[str]] = {}
        for file in sorted(path for path in place.glob("*.txt") if not path.name.startswith(".")):
            check_regular(file, hint="a word list is a file, a word a line")
            table[file.stem] = read_text(file, hint="save it as UTF-8, a word a line").split("\n")
        if not any(line.strip() for lines in table.values() for line in lines):
            raise DataError("the lexicon holds no word", path=place, hint="copy sentiment-words-E again")
        found = cls(table, name=name or "")
        own = f"own ({counted(len(found.categories), 'category', 'categories')})"
        general = cls.general()
        found.name = name or ("emvidcap" if found.official else general.name if found == general else own)
        return found

    @classmethod
    def from_path(cls, path: Path) -> Lexicon:
        """Read a folder of word lists, lexicon.json, or the lexicon of a checkpoint folder.

        Raises:
            DataError: it is none of these.
        """
        file = path / "lexicon.json" if path.is_dir() else path
        if not file.exists():
            return cls.from_folder(path)
        check_regular(file, hint="a lexicon is a folder of word lists, lexicon.json or a checkpoint")
        return cls.from_json(read_text(file), path=file)

    @classmethod
    def general(cls) -> Lexicon:
        """The lexicon that comes with evcap, for use without a data root; not the official one."""
        source = files("evcap_cli.data").joinpath("general_lexicon.json")
        return cls.from_json(source.read_text(encoding="utf-8"))


def word_folder(folder: Path) -> Path | None:
    """The folder of word lists that ``folder`` is or holds, the official place first; None where there is none."""
    if folder.name == WORD_FOLDER and folder.is_dir():
        return folder
    places = [folder / "EmotionEval" / WORD_FOLDER]
    for depth in range(_DEPTH + 1):
        places += sorted(folder.glob("*/" * depth + WORD_FOLDER))
    return next((place for place in places if place.is_dir()), folder if _holds_lists_only(folder) else None)


def _holds_lists_only(folder: Path) -> bool:
    """Whether a folder of another name is one of word lists: several small text files, a word a line, and nothing else.

    A data root may hold all kinds of text, word vectors of a gigabyte among them.
    """
    if not folder.is_dir():
        return False
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return len(entries) > 1 and all(map(_is_list, entries))


def _is_list(path: Path) -> bool:
    if path.suffix != ".txt" or not path.is_file() or path.stat().st_size > _LIST_BYTES:
        return False
    return all(len(line.split()) <= 1 for line in as_utf8(path.read_bytes()).split(b"\n"))
