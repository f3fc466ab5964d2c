"""Word vectors kept in the feature cache: read whole once, afterwards a memory map of which a run touches its own rows.

An entry is a safetensors file of the cache's own form, so that ``evcap cache info, verify, prune`` look after it. It is
named by the size, the time of change and a digest of samples of the file: reading a gigabyte through to name it would
take as long as the cache saves, and a file that changed keeps none of the three but by intent. Moving or copying a file
(with its time) keeps the entry.

It appears whole or not at all. Reading verifies what it uses: the words by one digest, each vector by its own; anything
wrong, and the entry is built again. Where nothing can be written, ``read`` says so once and gives None.

Notation: N rows, D the width of the vectors.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import safetensors
import xxhash

from evcap_cli import console
from evcap_cli.data.glove_rows import Row, first_row, glove_rows, parsed
from evcap_cli.errors import DataError, WriteError
from evcap_cli.features.cache import TOUCH_SECONDS, FeatureCache
from evcap_cli.features.entries import ABOUT, CHECKSUM, HEADER_LENGTH_BYTES, BadEntry, checksum, read_about
from evcap_cli.output.atomic import WholeFile, write_error
from evcap_cli.reading.regular import open_regular

if TYPE_CHECKING:
    import numpy.typing as npt

    from evcap_cli.features.entries import Arrays

    Vectors = dict[str, npt.NDArray[np.float32]]

FORMAT: Final = 1
"""Part of every name: raised when the layout of entries changes."""
_HEADER_BYTES: Final = 4096
"""Kept free at the start, for N is known at the end; safetensors allows spaces behind its header."""
_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16
_BATCH_ROWS: Final = 250
_THREADS: Final = 2
_DTYPES: Final = {"<f4": "F32", "<u8": "U64", "|u1": "U8"}
_AHEAD: Final = 8
"""Batches that wait to be written: bounds the memory."""


def read(path: Path, words: Collection[str], cache_dir: Path | None = None) -> Vectors | None:
    """Vectors of those of ``words`` that a file knows, from its entry, which is made where there is none that verifies.

    Args:
        path: of the word vectors.
        words: that are asked for.
        cache_dir: of the cache; None: the usual one.

    Returns:
        Word -> (D,) float32; None where no entry can be kept.

    Raises:
        DataError: the file is damaged.
        OSError: it cannot be read.
    """
    cache = FeatureCache(cache_dir)
    key = key_of(path)
    entry = cache.path_of(key)
    try:
        found = _take(entry, key, words)
        if found and len(next(iter(found.values()))) != first_row(path).width:
            raise BadEntry("its vectors have another width than the file's")
    except FileNotFoundError:
        pass
    except (BadEntry, OSError, DataError) as problem:
        console.detail(f"cache entry {entry.name} is damaged and will be made again ({problem})")
    else:
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > TOUCH_SECONDS:
                os.utime(entry)
        return found
    try:
        cache.check_writable()
        console.info(f"{path}: all word vectors are read once and kept for later runs")
        _build(path, key, entry)
        return _take(entry, key, words)
    except WriteError as problem:
        console.warn(
            f"{problem.path}: word vectors cannot be kept and each run reads them anew ({problem.cause}); "
            "free space or choose another EVCAP_CACHE_DIR"
        )
    except BadEntry as problem:
        console.warn(f"{entry}: word vectors were kept and do not read back ({problem}); check the disk")
    return None


def key_of(path: Path) -> str:
    """The name of a file's entry, 32 hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = xxhash.xxh3_128()
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        digest.update(f"glove {FORMAT} {status.st_size} {status.st_mtime_ns} {path.suffix.lower()}".encode())
        for number in range(_SAMPLES):
            file.seek(max(status.st_size - _SAMPLE_BYTES, 0) * number // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _take(entry: Path, key: str, words: Collection[str]) -> Vectors:
    """Verified vectors of an entry.

    Raises:
        BadEntry: it is not whole, was changed, or is another file's.
        OSError: it cannot be read.
    """
    with open_regular(entry, error=DataError) as file:
        head = file.read(HEADER_LENGTH_BYTES)
        start = HEADER_LENGTH_BYTES + int.from_bytes(head, "little")
        if start != _HEADER_BYTES:
            raise BadEntry("no header of ours")
        about = read_about(head + file.read(start - HEADER_LENGTH_BYTES))[0]
    if about.get("key") != key:
        raise BadEntry("belongs to another key")
    try:
        with safetensors.safe_open(entry, framework="numpy") as opened:
            listed, sums = opened.get_tensor("words"), opened.get_tensor("sums")
            vectors = opened.get_slice("vectors")
            count, width = vectors.get_shape()
            kinds = (listed.dtype, listed.ndim, sums.dtype, sums.ndim, vectors.get_dtype())
    except (safetensors.SafetensorError, ValueError, TypeError) as problem:
        raise BadEntry(f"not a whole safetensors file ({problem})") from problem
    if kinds != (np.uint8, 1, np.uint64, 1, "F32"):
        raise BadEntry("its arrays are of another kind")
    found_words = listed.tobytes().split(b"\n")
    if _index_digest(listed.tobytes(), sums, width) != about.get("index") or not len(sums) == count == len(found_words):
        raise BadEntry("the digest of its words does not match")
    asked = {word.encode(): word for word in words}
    rows = {word: row for row, word in enumerate(found_words) if word in asked}
    if not rows:
        return {}
    if start + 4 * count * width > entry.stat().st_size:
        raise BadEntry("its vectors are not where they belong")
    vectors = np.memmap(entry, dtype=np.float32, mode="r", offset=start, shape=(count, width))
    found: Vectors = {}
    for word, row in rows.items():
        vector = np.array(vectors[row])
        if xxhash.xxh3_64_intdigest(vector.data) != sums[row]:
            raise BadEntry(f"vector {row} was changed")
        if not np.isfinite(vector).all():
            raise BadEntry(f"vector {row} is not finite")
        found[asked[word]] = vector
    return found


def _index_digest(listed: bytes, sums: npt.NDArray[np.uint64], width: int) -> str:
    digest = xxhash.xxh3_128(listed)
    digest.update(sums.tobytes())
    digest.update(struct.pack("<q", width))
    return digest.hexdigest()


def _build(path: Path, key: str, entry: Path) -> None:
    """Write the entry of a file, the vectors first, as they come; only their words and digests are held in memory.

    Raises:
        WriteError: no room, no permission. DataError: the file is damaged. OSError: it cannot be read.
    """
    width = first_row(path).width
    words: list[bytes] = []
    sums: list[int] = []
    whole = WholeFile(entry)
    try:
        with _told(entry):
            file = whole.temporary.open("r+b", buffering=0)
        with file:
            _put(file, entry, bytes(_HEADER_BYTES))
            for rows, values in _batches(path, width):
                _put(file, entry, values.tobytes())
                # a line end in a word would shift all words behind it: nobody asks for such a word
                words += [row.word.replace(b"\n", b" ") for row in rows]
                sums += [xxhash.xxh3_64_intdigest(vector.data) for vector in values]
            listed, digests = b"\n".join(words), np.array(sums, dtype=np.uint64)
            _put(file, entry, digests.tobytes() + listed)
            about = {
                "key": key,
                "backbone": f"word vectors {path.name}",
                "index": _index_digest(listed, digests, width),
            }
            text = json.dumps(about, sort_keys=True)
            vectors = np.memmap(whole.temporary, np.float32, "r", offset=_HEADER_BYTES, shape=(len(sums), width))
            arrays: Arrays = {"vectors": vectors, "sums": digests, "words": np.frombuffer(listed, dtype=np.uint8)}
            file.seek(0)
            _put(file, entry, _header(text, arrays))
        # not flushed to disk: after a power cut a torn entry does not verify and is made again
        whole.commit(flush=False)
    finally:
        whole.discard()


@contextlib.contextmanager
def _told(entry: Path) -> Iterator[None]:
    """Tell what cannot be written from what cannot be read."""
    try:
        yield
    except OSError as problem:
        raise write_error(entry, problem) from problem


def _put(file: IO[bytes], entry: Path, data: bytes) -> None:
    view = memoryview(data)
    with _told(entry):
        while view:
            view = view[file.write(view) :]


def _batches(path: Path, width: int) -> Iterator[tuple[list[Row], npt.NDArray[np.float32]]]:
    """Rows with their numbers, in order; threads parse while the next rows are read (numpy lets go of the lock)."""
    rows = glove_rows(path)
    waiting: deque[tuple[list[Row], Future[npt.NDArray[np.float32]]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(rows, _BATCH_ROWS)):
            waiting.append((batch, pool.submit(parsed, path, batch, width)))
            if len(waiting) > _AHEAD:
                first, values = waiting.popleft()
                yield first, values.result()
        for first, values in waiting:
            yield first, values.result()


def _header(text: str, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """The first ``_HEADER_BYTES`` of an entry whose arrays follow in their order."""
    header: dict[str, Any] = {"__metadata__": {ABOUT: text, CHECKSUM: checksum(text, arrays)}}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": _DTYPES[array.dtype.str], "shape": array.shape, "data_offsets": (start, end)}
    length = _HEADER_BYTES - HEADER_LENGTH_BYTES
    return length.to_bytes(HEADER_LENGTH_BYTES, "little") + json.dumps(header).encode().ljust(length)
