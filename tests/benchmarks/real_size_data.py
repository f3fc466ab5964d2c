"""An invented data set of EmVidCap-L's size, in its layout: captions, lexicon, published HDF5 features.

What makes training cost what it costs is as in the real one: the counts of videos and captions, the lengths of the
captions, a vocabulary of Zipf's law, the shapes of the features. Words and numbers mean nothing. The same seed gives
the same files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from evcap_cli.data.emvidcap import TEST_FILE, TRAIN_FILE
from evcap_cli.data.features_hdf5 import key_of
from evcap_cli.data.lexicon import OFFICIAL_COUNTS, WORD_FOLDER

if TYPE_CHECKING:
    import numpy.typing as npt

TRAIN: Final = (1141, 19_398)
"""Videos and captions, as the papers count them."""
TEST: Final = (382, 6_527)
VOCABULARY: Final = 13_980
STREAMS: Final = {"clip": (30, 512), "resnext3d": (30, 2048), "fasterrcnn": (16, 1024), "hubert": (60, 768)}
"""Name of a file -> rows at most, width."""
FEWEST: Final = {"fasterrcnn": 4, "hubert": 10}
"""Streams whose videos differ in rows; a few have none at all."""
ABSENT_SHARE: Final = 0.03
CLASSES: Final = 8
"""Of VideoEmotion-8: the first digit of an id."""
EMOTIONAL_SHARE: Final = 0.85
"""Captions with a word of their video's emotion."""
SYLLABLES: Final = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


@dataclass(frozen=True)
class Size:
    """How large a data set is; the defaults are the real one's.

    Args:
        train, test: videos and captions of the split. vocabulary: distinct words of the training captions.
    """

    train: tuple[int, int] = TRAIN
    test: tuple[int, int] = TEST
    vocabulary: int = VOCABULARY


def make(root: Path, seed: int = 0, size: Size | None = None) -> None:
    """Write the data set into ``root``: ``data/EmVidCap-L``, ``data/EmVideo-L/features`` and ``EmotionEval``."""
    size = size or Size()
    draw = np.random.default_rng(seed)
    words = [_word(number) for number in range(size.vocabulary)]
    lexicon = _lexicon(words, draw)
    folder = root / "EmotionEval" / WORD_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for category, several in lexicon.items():
        (folder / f"{category}.txt").write_text("\n".join(several) + "\n", encoding="utf-8")
    captions, features = root / "data/EmVidCap-L", root / "data/EmVideo-L/features"
    for place in (captions, features):
        place.mkdir(parents=True, exist_ok=True)
    emotions = list(lexicon.values())
    taken = 0
    for split, file, (videos, count) in (("train", TRAIN_FILE, size.train), ("test", TEST_FILE, size.test)):
        names = [f"vid{1 + number % CLASSES}{taken + number // CLASSES:04d}" for number in range(videos)]
        taken += videos
        of_video = np.sort(np.arange(count) % videos)
        texts = _captions(of_video, words, emotions, draw, every_word=split == "train")
        rows = (f"{names[video]}\t{text}\n" for video, text in zip(of_video, texts, strict=True))
        (captions / file).write_text("VideoID\tEmCaptions\n" + "".join(rows), encoding="utf-8", newline="\n")
        _write_features(features, split, names, draw)


def _word(number: int) -> str:
    """Frequent words are short, no two are alike."""
    spelled = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, len(SYLLABLES))
        spelled += SYLLABLES[digit]
    return spelled


def _lexicon(words: list[str], draw: np.random.Generator) -> dict[str, list[str]]:
    """As many categories, entries and words as the official one, a category named after its first word."""
    categories, entries, distinct = OFFICIAL_COUNTS
    chosen = [
        words[number] for number in np.sort(draw.choice(np.arange(20, min(2000, len(words))), distinct, replace=False))
    ]
    table = {name: [name] for name in chosen[:categories]}
    for number, word in enumerate([*chosen[categories:], *chosen[-(entries - distinct) :]]):
        # one category further in the second round: the last words stand in two
        table[chosen[(number + number // (distinct - categories)) % categories]].append(word)
    return {name: sorted(set(several)) for name, several in sorted(table.items())}


def _captions(
    of_video: npt.NDArray[np.int64],
    words: list[str],
    emotions: list[list[str]],
    draw: np.random.Generator,
    *,
    every_word: bool,
) -> Iterator[str]:
    """Captions of 3 to 30 words, 9 to 10 in the mean. With ``every_word`` each stands in captions of two videos."""
    lengths = np.clip(np.rint(draw.lognormal(np.log(9.0), 0.35, len(of_video))), 3, 30).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    chances = 1.0 / np.arange(1, len(words) + 1)
    numbers = draw.choice(len(words), int(starts[-1]), p=chances / chances.sum())
    if every_word:
        # the third word of a caption and the first: the emotion word comes second, and no cut reaches them
        for place, captions in ((2, np.arange(len(of_video))), (0, np.arange(len(of_video))[::-1])):
            rare = np.arange(len(words))
            numbers[starts[captions[: len(rare)]] + place] = rare[: len(captions)]
    emotional = draw.random(len(of_video)) < EMOTIONAL_SHARE
    picks = draw.integers(0, 1 << 30, len(of_video))
    for caption, video in enumerate(of_video):
        told = [words[number] for number in numbers[starts[caption] : starts[caption + 1]]]
        if emotional[caption]:
            own = emotions[int(video) % len(emotions)]
            told[1] = own[int(picks[caption]) % len(own)]
        yield " ".join(told)


def _write_features(folder: Path, split: str, names: list[str], draw: np.random.Generator) -> None:
    """One file a stream: normal numbers, no attributes, as published."""
    import h5py

    for stream, (most, width) in STREAMS.items():
        fewest = FEWEST.get(stream, most)
        with h5py.File(folder / f"{stream}_{split}.hdf5", "w") as file:
            for name in names:
                rows = int(draw.integers(fewest, most + 1))
                if fewest < most and draw.random() < ABSENT_SHARE:
                    rows = 0
                values = draw.standard_normal((rows, width), dtype=np.float32)
                file.create_dataset(key_of(name), data=values, track_times=False)
