"""METEOR's paraphrase table cut to the phrases that can occur in given texts.

METEOR reads a table of 5.3 million pairs before its first answer, most of its time for a test set. A pair takes part
only if one phrase stands in a reference and the other in its caption, whichever of the two the table has first, so a
table without the others gives the same alignments and the same scores. What is kept may be a little too much (a hash
distinguishes phrases, and all videos are taken together) and is never too little. The cut by the references is kept
below evcap's cache folder, for any captions scored against them later; of it, the cut by the captions is made
each time.

``meteor.py`` runs METEOR.

Notation: a row of the table is three lines: a probability and two phrases.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xxhash

from evcap_cli import console
from evcap_cli.errors import WriteError
from evcap_cli.features.cache import default_root
from evcap_cli.files import cause_of, write_whole

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_PHRASE_WORDS: Final = 7
"""The longest phrase of METEOR 1.5's English table."""
KEPT_TABLES: Final = 16
"""Cut tables that the cache holds; the ones used longest ago go first."""
FORMAT: Final = b"evcap cut paraphrases 1\n"
_PLAIN: Final = re.compile(r"[a-z0-9 ]*")
_RUN: Final = re.compile(r"[a-z0-9]+")
_GZIP: Final = 31  # zlib's number for gzip wrapping
_BLOCK_BYTES: Final = 1 << 20  # of the packed table, which grows to four times as much
_KEY_BITS: Final = 24
_BELOW: Final = np.array([(1 << (8 * n)) - 1 for n in range(9)], dtype=np.uint64)  # masks for a phrase's first n bytes
_ODD: Final = np.array([not (bytes([sign]).isalnum() and sign < 128) and sign not in b" \n" for sign in range(256)])
_FACTORS: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


def can_cut(texts: Iterable[str]) -> bool:
    """Whether the rules here cover these texts: METEOR's own for letters of other alphabets are not repeated."""
    return all(text.isascii() for text in texts)


def cut_table(table: Path, captions: Iterable[str], references: Iterable[str], root: Path | None = None) -> bytes:
    """The rows of ``table`` that captions and references can use, gzipped as METEOR wants them.

    Args:
        table: METEOR's gzipped paraphrase table.
        captions: hypotheses, as METEOR is given them.
        references: of all videos, the same way.
        root: evcap's cache folder; None: where it lies by default. A folder that cannot be written costs time only.

    Raises:
        OSError: the table cannot be read.
        zlib.error: it is damaged.
    """
    references = sorted(set(references))
    path = _entry(table, references, default_root() if root is None else root)
    rows = _read(path)
    if rows is None:
        rows = _cut(_blocks(table), _in_references(_Phrases(references)))
        _write(path, rows)
    packer = zlib.compressobj(1, wbits=_GZIP)
    return packer.compress(_cut([rows], _in_captions(_Phrases(set(captions))))) + packer.flush()


class _Phrases:
    """Which phrases texts hold.

    A phrase that matches whole words of a normalised text also matches its runs of letters and digits: METEOR's
    normaliser moves punctuation and never touches those. So runs decide, whatever punctuation the text has.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.plain = True
        """Whether no text has punctuation: phrases with any cannot match then."""
        self.phrases: set[str] = set()
        for text in texts:
            low = text.lower()
            if _PLAIN.fullmatch(low):
                runs = low.split()
            else:
                runs, self.plain = _RUN.findall(low), False
            for start in range(len(runs)):
                for end in range(start + 1, min(start + MAX_PHRASE_WORDS, len(runs)) + 1):
                    self.phrases.add(" ".join(runs[start:end]))
        self.table = np.zeros(1 << _KEY_BITS, dtype=np.bool_)
        if self.phrases:
            data = "\n".join(self.phrases).encode() + b"\n"
            ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10)
            self.table[_keys(data, np.concatenate([[0], ends[:-1] + 1]), ends)] = True

    def odd(self, phrase: bytes) -> bool:
        """Whether a phrase with punctuation may match."""
        runs = _RUN.findall(phrase.decode("utf-8", "replace"))
        return len(runs) > MAX_PHRASE_WORDS or not runs or " ".join(runs) in self.phrases


def _keys(data: bytes, starts: npt.NDArray[Any], ends: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """A hash of each ``data[start:end]``, of its first and last eight bytes and its length."""
    padded = np.frombuffer(data + bytes(8), dtype=np.uint8)
    words: npt.NDArray[np.uint64] = np.ndarray((len(data) + 1,), dtype="<u8", buffer=padded.data, strides=(1,))
    lengths = ends - starts
    mask = _BELOW[np.minimum(lengths, 8)]
    first, last = words[starts] & mask, words[np.maximum(ends - 8, starts)] & mask
    mixed = first * _FACTORS[0] ^ last * _FACTORS[1] ^ lengths.astype(np.uint64) * _FACTORS[2]
    return np.asarray((mixed * _FACTORS[0]) >> np.uint64(64 - _KEY_BITS))


def _blocks(table: Path) -> Iterator[bytes]:
    """The unpacked table in blocks, unpacked in a thread of its own while the last block is worked on."""
    packed = table.read_bytes()
    waiting: queue.Queue[bytes | Exception] = queue.Queue(maxsize=4)

    def unpack() -> None:
        try:
            reader = zlib.decompressobj(_GZIP)
            for start in range(0, len(packed), _BLOCK_BYTES):
                if block := reader.decompress(packed[start : start + _BLOCK_BYTES]):
                    waiting.put(block)
            waiting.put(b"" if reader.eof else EOFError())
        except zlib.error as problem:
            waiting.put(problem)

    threading.Thread(target=unpack, daemon=True).start()
    while block := waiting.get():
        if isinstance(block, Exception):
            raise zlib.error(f"{table} is damaged") from block
        yield block


def _cut(blocks: Iterable[bytes], mark: Callable[[_Rows], npt.NDArray[np.uint8]]) -> bytes:
    """The rows that ``mark`` does not give 0, in the order of the table, their marks in place of their probabilities.

    METEOR does not use the probabilities.
    """
    kept: list[bytes] = []
    rest = b""
    for block in blocks:
        data = rest + block
        rows = _Rows(data)
        marks = mark(rows)
        here = np.flatnonzero(marks)
        begins, stops = (rows.ends[0::3][here] + 1).tolist(), (rows.ends[2::3][here] + 1).tolist()
        heads = [b"%d\n" % sign for sign in marks[here].tolist()]
        kept += [head + data[begin:stop] for head, begin, stop in zip(heads, begins, stops, strict=True)]
        rest = data[rows.length :]
    return b"".join(kept)


def _in_references(references: _Phrases) -> Callable[[_Rows], npt.NDArray[np.uint8]]:
    """Mark 1 for the first phrase in the references, 2 for the second, 3 for both."""
    return lambda rows: rows.matching(references, 1) * np.uint8(1) | rows.matching(references, 2) * np.uint8(2)


def _in_captions(captions: _Phrases) -> Callable[[_Rows], npt.NDArray[np.uint8]]:
    """Mark 1 where the references have one phrase, by the mark so far, and the captions the other."""

    def mark(rows: _Rows) -> npt.NDArray[np.uint8]:
        marks = rows.marks()
        one_way = ((marks & 1) > 0) & rows.matching(captions, 2)
        other_way = ((marks & 2) > 0) & rows.matching(captions, 1)
        return (one_way | other_way).astype(np.uint8)

    return mark


class _Rows:
    """The whole rows at the beginning of ``data``: ``ends`` are the places of their line feeds, three a row."""

    def __init__(self, data: bytes) -> None:
        ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10)
        self.data, self.ends = data, ends[: len(ends) // 3 * 3]
        self.length = int(self.ends[-1]) + 1 if len(self.ends) else 0

    def marks(self) -> npt.NDArray[np.uint8]:
        """Those that ``_cut`` wrote."""
        begins = np.concatenate([[0], self.ends[2::3] + 1])[: len(self.ends) // 3]
        return np.asarray(np.frombuffer(self.data, dtype=np.uint8)[begins] - np.uint8(ord("0")))

    def matching(self, phrases: _Phrases, line: int) -> npt.NDArray[np.bool_]:
        """Rows whose phrase in ``line`` (1 or 2) is one of ``phrases``."""
        keep = phrases.table[_keys(self.data, self.ends[line - 1 :: 3] + 1, self.ends[line::3])]
        if not phrases.plain:
            self._add_odd(keep, phrases, line)
        return np.asarray(keep)

    @cached_property
    def odd_lines(self) -> npt.NDArray[np.intp]:
        """Numbers of the lines that hold punctuation, each once."""
        odd = np.flatnonzero(_ODD[np.frombuffer(self.data, dtype=np.uint8, count=self.length)])
        lines = np.searchsorted(self.ends, odd, side="left")
        return np.asarray(lines[np.flatnonzero(np.diff(lines, prepend=-1))])

    def _add_odd(self, keep: npt.NDArray[np.bool_], phrases: _Phrases, line: int) -> None:
        """Mark rows whose phrase has punctuation and may match."""
        known: dict[bytes, bool] = {}
        for number in self.odd_lines[self.odd_lines % 3 == line].tolist():
            phrase = self.data[int(self.ends[number - 1]) + 1 : int(self.ends[number])]
            if phrase not in known:
                known[phrase] = phrases.odd(phrase)
            keep[number // 3] |= known[phrase]


def _entry(table: Path, references: Iterable[str], root: Path) -> Path:
    """Where the cut by these references lies: its name covers the table, the references and the rules of cutting."""
    about = table.stat()
    digest = xxhash.xxh3_128(FORMAT + f"{about.st_size} {about.st_mtime_ns}\n".encode())
    digest.update("\n".join(references).encode())
    return root / "meteor" / f"{digest.hexdigest()}.rows"


def _read(path: Path) -> bytes | None:
    """The rows kept under ``path``; None where there are none, or none that verify."""
    try:
        head, _, packed = path.read_bytes().partition(b"\n")
        if head != _seal(packed):
            raise zlib.error("its digest is another one")
        rows = zlib.decompress(packed)
    except FileNotFoundError:
        return None
    except (OSError, zlib.error) as problem:
        console.detail(f"the cut paraphrase table {path.name} is damaged and will be made again ({problem})")
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return rows


def _write(path: Path, rows: bytes) -> None:
    """Keep a cut table, whole or not at all, and let the oldest go; a failure is said with ``-v`` only."""
    packed = zlib.compress(rows, 1)
    try:
        write_whole(path, _seal(packed) + b"\n" + packed)
        tables = sorted(path.parent.glob("*.rows"), key=lambda kept: kept.stat().st_mtime, reverse=True)
        for old in tables[KEPT_TABLES:]:
            old.unlink(missing_ok=True)
    except (OSError, WriteError) as problem:
        console.detail(f"{path.parent}: the cut paraphrase table cannot be kept ({cause_of(problem)})")


def _seal(packed: bytes) -> bytes:
    return xxhash.xxh3_128_hexdigest(FORMAT + packed).encode()
