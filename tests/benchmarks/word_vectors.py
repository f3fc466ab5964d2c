"""Reading GloVe of the real size, as text and as JSON.

``python -m tests.benchmarks.word_vectors [--rows 400000] [--words 14000]`` writes such vectors to a temporary folder
(1 GB a file at the real size), reads those of every so manyeth word, and removes everything. No run leaves anything for
the next one, so that each reading is a first one; the operating system may hold the file in memory.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from evcap_cli.data.glove import read_glove
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, table

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


def write_json(path: Path, text: Path) -> None:
    """The same vectors as one JSON object."""
    with path.open("w") as file, text.open() as lines:
        for line in lines:
            name, _, numbers = line.strip().partition(" ")
            file.write(f'{", " if file.tell() else "{"}"{name}": [{numbers.replace(" ", ", ")}]')
        file.write("}")


def main() -> None:
    """Print the seconds of each form, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--words", type=int, default=14_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    words = [word(number) for number in range(0, given.rows, max(given.rows // given.words, 1))]
    with tempfile.TemporaryDirectory() as folder:
        text, listed = Path(folder) / "glove.6B.300d.txt", Path(folder) / "GloVe_300.json"
        write(text, given.rows)
        write_json(listed, text)
        print(f"{given.rows} rows, {text.stat().st_size / 1e6:.0f} MB of text, {len(words)} requested words")
        forms = {path.suffix: partial(read_glove, path, words, WIDTH) for path in (text, listed)}
        taken = in_turn(forms, given.rounds)
        print(table(taken))
        what = (
            f"vectors of {len(words):,} words out of {given.rows:,} rows of {WIDTH} numbers, nothing kept from earlier"
        )
        for suffix, seconds in taken.items():
            report(Measured(suffix[1:], f"{what} readings, {suffix}", tuple(seconds), "s", at_most=2.0))


if __name__ == "__main__":
    main()
