"""Reading GloVe of the real size: the first time, again, and as a loop over the lines reads it.

``python -m tests.benchmarks.word_vectors [--rows 400000] [--words 14000]`` writes a file of such vectors to a temporary
folder (1 GB at the real size), reads the vectors of every so manyeth word in each way, and removes everything.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from evcap_cli.data import glove
from tests.benchmarks.timing import in_turn, ratio, table

WIDTH = 300
BLOCK = 500
"""Rows of numbers that are drawn; a file repeats them."""


def word(number: int) -> str:
    """A word of letters for each number."""
    letters = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return letters


def write(path: Path, rows: int) -> None:
    """A file of vectors with GloVe's digits."""
    drawn = np.random.default_rng(0).normal(0, 0.4, (BLOCK, WIDTH))
    numbers = [" ".join(f"{value:.5g}" for value in row) for row in drawn]
    with path.open("w") as file:
        for number in range(rows):
            file.write(f"{word(number)} {numbers[number * 7 % BLOCK]}\n")


def all_by_float(path: Path) -> dict[str, object]:
    """What a short script does: every vector of the file, by ``float``."""
    found: dict[str, object] = {}
    with path.open() as file:
        for line in file:
            name, *numbers = line.split()
            found[name] = np.array([float(number) for number in numbers], dtype=np.float32)
    return found


def once(work: Callable[[], object]) -> dict[str, list[float]]:
    """Wall and processor seconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {"wall": [time.perf_counter() - wall], "processor": [time.process_time() - processor]}


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--words", type=int, default=14_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    words = [word(number) for number in range(0, given.rows, max(given.rows // given.words, 1))]
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "glove.6B.300d.txt", Path(folder) / "cache"
        write(path, given.rows)
        glove.CACHE_FROM_BYTES = 0

        def kept() -> object:
            return glove.read_glove(path, words, WIDTH, cache_dir=cache)

        first = once(kept)
        print(f"{given.rows} rows, {path.stat().st_size / 1e6:.0f} MB of text, {len(words)} words asked for")
        print(f"first reading, all parsed and kept: {first['wall'][0]:.1f} s, processor {first['processor'][0]:.1f} s")
        short = Path(folder) / "short.txt"
        write(short, given.rows // 20)
        plain = once(lambda: all_by_float(short))
        print(
            f"a loop over the lines with float, a twentieth of the rows: {plain['wall'][0]:.1f} s, processor "
            f"{plain['processor'][0]:.1f} s: the first reading takes "
            f"{first['processor'][0] / plain['processor'][0] / 20:.2f}x its processor time"
        )
        seconds = in_turn({"streamed": lambda: glove._scanned(path, words, WIDTH), "kept": kept}, given.rounds)
        print(table(seconds))
        print(f"streamed against kept: {ratio(seconds, 'streamed', 'kept')}")


if __name__ == "__main__":
    main()
