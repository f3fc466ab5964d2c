"""Surrogate features: numbers in place of a video's own, made from what its captions say (``docs/surrogate.md``).

For a data set whose captions are at hand and whose videos are not. Things go to appearance and objects, actions to
motion, emotion words to sound and more faintly to appearance; each is seen for a part of the clip, some not at all, all
in noise. Nothing else of a caption is left: no word, no order, no sentence. ``word_classes.py`` finds the class
of a word, ``output/surrogate_files.py`` writes the files, ``features_layout.py`` has their layout and the mark.

Notation: D width of a stream, n rows, k words of one class, s share of a video's captions that say a word.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from evcap_cli.backbones.identity import digest_of
from evcap_cli.data.caption_text import tokens
from evcap_cli.data.features_layout import SURROGATE
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.word_classes import WordClass, WordClasses, singular, stem
from evcap_cli.errors import UsageError

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.features.streams import ClipFeatures

KINDS: Final[tuple[Kind, ...]] = ("appearance", "motion", "object", "audio")
VERSION: Final = "1"
"""Of the recipe: other numbers from the same captions are another version."""
MOMENTS, OBJECTS, FEWEST_AUDIO, AUDIO = 30, 16, 20, 60
"""Rows: of appearance and motion, of objects at most, of sound between these two."""
SECONDS: Final = 10.0
"""Nominal length of every video: captions do not give it."""
SHORTEST_SPAN: Final = 0.3
"""Least part of the clip for which a word is in the features."""
EMOTION_IN_PICTURE: Final = 0.5
"""How strong an emotion word is in appearance, where 1 is a thing that as many captions name."""
_BITS: Final = 8
_DIRECTIONS: Final = 1 << 13
"""Directions kept at hand; any other is drawn again from its word."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SurrogateSettings:
    """How hard the features are to read.

    Args:
        seed: of noise, spans and dropout. The directions of words do not depend on it.
        noise: length of the noise of a row, where 1 is a word that every caption says. Half of its power is the same
            in all rows of a video, so that no average over rows removes it.
        dropout: share of words that a stream misses, drawn for each video, stream and word.
        width: D, of all streams; a multiple of 8.

    Raises:
        UsageError: a value out of its range.
    """

    seed: int = 0
    noise: float = 1.0
    dropout: float = 0.2
    width: int = 128

    def __post_init__(self) -> None:
        if not (0 <= self.noise < float("inf")):
            raise UsageError(f"noise must be 0 or more, not {self.noise}")
        if not 0 <= self.dropout <= 1:
            raise UsageError(f"dropout must be between 0 and 1, not {self.dropout}")
        if self.width < _BITS or self.width % _BITS:
            raise UsageError(f"width must be a multiple of {_BITS}, not {self.width}")


@dataclass(frozen=True)
class Seen:
    """The words of one class that a video's captions say.

    Args:
        words: (k,) in sorted order, without inflection.
        strengths: (k,) s of each.
    """

    words: tuple[str, ...]
    strengths: Floats


def seen(captions: Iterable[Sequence[str]], classes: WordClasses) -> dict[WordClass, Seen]:
    """The bag of words of a video's tokenised captions, by class; a caption counts a word once."""
    counts: dict[WordClass, Counter[str]] = {"noun": Counter(), "verb": Counter(), "emotion": Counter()}
    total = 0
    for words in captions:
        total += bool(words)
        for kind, word in {(kind, _base(kind, word)) for word in words if (kind := classes.of(word)) is not None}:
            counts[kind][word] += 1
    return {
        kind: Seen(tuple(sorted(found)), np.array([found[word] / total for word in sorted(found)], np.float32))
        for kind, found in counts.items()
    }


def _base(kind: WordClass, word: str) -> str:
    """Forms of one word show the same; emotion words are the lexicon's, which lists forms."""
    return singular(word) if kind == "noun" else stem(word) if kind == "verb" else word


@lru_cache(maxsize=_DIRECTIONS)
def direction(stream: str, word: str, width: int) -> Floats:
    """The fixed direction of a word in a stream, (D,), of length 1: signs by the bits of a hash of the word.

    A random projection (Achlioptas 2003) that needs no table: whoever meets the word, in training or in the test split,
    on this machine or another, gets the same one, and two words are nearly at right angles.
    """
    bits = hashlib.shake_128(f"evcap surrogate {VERSION} {stream} {word}".encode()).digest(width // _BITS)
    signs = np.unpackbits(np.frombuffer(bits, np.uint8)).astype(np.float32) * 2 - 1
    drawn: Floats = (signs / np.sqrt(width)).astype(np.float32)
    drawn.setflags(write=False)
    return drawn


class SurrogateMaker:
    """Makes the features of one video after another; the same captions, settings and name give the same numbers.

    Args:
        classes: of the words of all captions.
        settings: how hard they are to read.
    """

    def __init__(self, classes: WordClasses, settings: SurrogateSettings) -> None:
        self.classes, self.settings = classes, settings

    def features(self, key: str, captions: Iterable[str]) -> ClipFeatures:
        """The four streams of a video.

        Args:
            key: its name in the files.
            captions: raw, in any order.
        """
        import torch

        from evcap_cli.features.streams import ClipFeatures, StreamFeatures

        found = seen((tokens(text, None) for text in captions), self.classes)
        rng = np.random.default_rng(_number(f"{self.settings.seed} {key}"))
        nouns, verbs, emotions = found["noun"], found["verb"], found["emotion"]
        noun_spans, verb_spans, emotion_spans = (self._spans(rng, len(some.words)) for some in (nouns, verbs, emotions))
        moments = _middles(MOMENTS)
        bins = _middles(int(rng.integers(FEWEST_AUDIO, AUDIO + 1)))
        faces = self._rows(rng, emotions, emotion_spans, self._emotions("appearance", emotions.words), moments)
        things = self._rows(rng, nouns, noun_spans, self._directions("appearance", nouns.words), moments)
        actions = self._rows(rng, verbs, verb_spans, self._directions("motion", verbs.words), moments)
        sounds = self._rows(rng, emotions, emotion_spans, self._emotions("audio", emotions.words), bins)
        objects, at = self._objects(rng, nouns, noun_spans)
        rows: dict[Kind, tuple[Floats, Floats]] = {
            "appearance": (things + EMOTION_IN_PICTURE * faces, moments),
            "motion": (actions, moments),
            "object": (objects, at),
            "audio": (sounds, bins),
        }
        streams = {
            kind: StreamFeatures(
                torch.from_numpy(values + self._noise(rng, len(values))), torch.from_numpy(times * np.float32(SECONDS))
            )
            for kind, (values, times) in rows.items()
        }
        return ClipFeatures(streams, SECONDS)

    def _spans(self, rng: np.random.Generator, count: int) -> Floats:
        """Begin and end of the one stretch in which each word shows, (k, 2), as parts of the clip."""
        length = rng.uniform(SHORTEST_SPAN, 1, count)
        begin = rng.uniform(0, 1, count) * (1 - length)
        return np.stack([begin, begin + length], axis=1).astype(np.float32)

    def _kept(self, rng: np.random.Generator, count: int) -> NDArray[np.bool_]:
        """(k,), False for the words that a stream misses."""
        return rng.random(count) >= self.settings.dropout

    def _rows(self, rng: np.random.Generator, some: Seen, spans: Floats, directions: Floats, times: Floats) -> Floats:
        """What is seen at each time, (n, D): the sum of the words that show then."""
        shown = (spans[:, 0] <= times[:, None]) & (times[:, None] < spans[:, 1])  # (n, k)
        weights = shown * (some.strengths * self._kept(rng, len(some.words)))
        return np.asarray(weights.astype(np.float32) @ directions, np.float32)

    def _objects(self, rng: np.random.Generator, nouns: Seen, spans: Floats) -> tuple[Floats, Floats]:
        """The things that most captions name, a row each in the order of their first sight: (n, D), times (n,)."""
        kept = np.flatnonzero(self._kept(rng, len(nouns.words)))
        most = kept[np.argsort(-nouns.strengths[kept], kind="stable")][:OBJECTS]
        most = most[np.argsort(spans[most, 0], kind="stable")]
        directions = self._directions("object", [nouns.words[number] for number in most])
        return directions * nouns.strengths[most, None], spans[most].mean(axis=1).astype(np.float32)

    def _directions(self, stream: Kind, words: Sequence[str]) -> Floats:
        width = self.settings.width
        return np.array([direction(stream, word, width) for word in words], np.float32).reshape(len(words), width)

    def _emotions(self, stream: Kind, words: Sequence[str]) -> Floats:
        """Directions of emotion words, (k, D): each its own and that of its categories, as joy sounds like joy."""
        lexicon, width = self.classes.lexicon, self.settings.width
        found = np.zeros((len(words), width), np.float32)
        for number, word in enumerate(words):
            found[number] = direction(stream, f"word {word}", width)
            for category in lexicon.category_ids[word]:
                found[number] += direction(stream, f"category {lexicon.categories[category]}", width)
            found[number] /= max(float(np.linalg.norm(found[number])), np.finfo(np.float32).tiny)
        return found

    def _noise(self, rng: np.random.Generator, rows: int) -> Floats:
        """(n, D): half of the power is the video's own, half is each row's."""
        width = self.settings.width
        both = rng.standard_normal((rows + 1, width), np.float32)
        scale = np.float32(self.settings.noise / np.sqrt(2 * width))
        return np.asarray((both[1:] + both[0]) * scale, np.float32)


def _middles(count: int) -> Floats:
    """The middles of ``count`` equal parts of a clip, as parts of it."""
    return ((np.arange(count) + 0.5) / count).astype(np.float32)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.shake_128(text.encode()).digest(16), "little")


def backbone_records(
    settings: SurrogateSettings, splits: Mapping[str, Mapping[str, Sequence[str]]], lexicon: Lexicon
) -> dict[Kind, dict[str, Any]]:
    """What files, checkpoints and model cards call the streams: ``surrogate-appearance`` and so on.

    The options hold the settings and a digest of the captions and the lexicon that the features are made from.
    """
    plain = {split: {key: sorted(texts) for key, texts in videos.items()} for split, videos in splits.items()}
    options = {
        "captions": digest_of([plain, lexicon.digest]),
        "dropout": f"{settings.dropout:g}",
        "noise": f"{settings.noise:g}",
        "seed": str(settings.seed),
    }
    return {
        kind: {
            "name": f"{SURROGATE}{kind}",
            "options": options,
            "version": VERSION,
            "dim": settings.width,
            "weights_digest": "",
        }
        for kind in KINDS
    }
