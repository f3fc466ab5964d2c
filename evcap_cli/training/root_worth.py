"""What a data root is worth for training: figures of its captions, and videos that both splits have.

``root_check.py`` calls this; a poor figure becomes a line of advice with the next step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evcap_cli.backbones.identity import file_digest
from evcap_cli.console import counted, listed
from evcap_cli.data.caption_text import MAX_WORDS, tokens
from evcap_cli.data.lexicon import Lexicon

FEW_VIDEOS: Final = 50
FEW_CAPTIONS: Final = 2.0
FEW_EMOTIONAL: Final = 0.3
FEW_CATEGORIES: Final = 0.5
MANY_ONCE: Final = 0.5
MANY_CUT: Final = 0.1
_NAMED: Final = 3


@dataclass(frozen=True)
class Worth:
    """Figures of the captions to train on, and videos with the same bytes in both splits.

    Args:
        videos: with a caption. captions: of them all. fewest, most: captions of a video.
        emotional: captions with an emotion word of the lexicon.
        categories, category_count: of the lexicon that the captions mention, and that it has.
        emotion_words, emotion_word_count: the same for its words.
        words: of the captions. once: of those, the ones that stand in one caption only.
        cut: captions with more words than training reads.
        same_bytes: training video and test video of each file that is in both splits under two names, or twice there.
    """

    videos: int
    captions: int
    fewest: int
    most: int
    emotional: int
    categories: int
    category_count: int
    emotion_words: int
    emotion_word_count: int
    words: int
    once: int
    cut: int
    same_bytes: Sequence[tuple[str, str]] = ()

    @property
    def captions_a_video(self) -> float:
        """On average."""
        return self.captions / self.videos


def worth(
    train: Mapping[str, Sequence[str]], lexicon: Lexicon, same_bytes: Sequence[tuple[str, str]] = ()
) -> Worth | None:
    """The figures of training captions; None where there is none.

    Args:
        train: video -> its captions.
        lexicon: of the root.
        same_bytes: see ``in_both_by_bytes``.
    """
    counts = [len(texts) for texts in train.values() if texts]
    if not counts:
        return None
    captions_with: Counter[str] = Counter()
    mentioned: set[int] = set()
    emotional = cut = 0
    for words in (tokens(text, None) for texts in train.values() for text in texts):  # one caption in memory at a time
        captions_with.update(set(words))
        mentioned.update(lexicon.mentioned_categories(words))
        emotional += bool(lexicon.mentioned_words(words))
        cut += len(words) > MAX_WORDS
    return Worth(
        videos=len(counts),
        captions=sum(counts),
        fewest=min(counts),
        most=max(counts),
        emotional=emotional,
        categories=len(mentioned),
        category_count=len(lexicon.categories),
        emotion_words=len(lexicon.mentioned_words(list(captions_with))),
        emotion_word_count=len(lexicon.words),
        words=len(captions_with),
        once=sum(count == 1 for count in captions_with.values()),
        cut=cut,
        same_bytes=same_bytes,
    )


def in_both_by_bytes(files: Mapping[str, Path], train: Sequence[str], test: Sequence[str]) -> list[tuple[str, str]]:
    """Training and test videos whose files have the same bytes, segments of one file among them.

    Only files of equal size are read. A video that has the same id in both splits is left to ``in_both_splits``.

    Args:
        files: video -> its file.
        train: ids of the training split.
        test: ids of the test split.
    """
    by_size: dict[int, list[str]] = {}
    for video in train:
        if (size := _size(files.get(video))) is not None:
            by_size.setdefault(size, []).append(video)
    digests: dict[Path, str] = {}

    def digest(path: Path) -> str:
        if path not in digests:
            try:
                digests[path] = file_digest(path)
            except OSError:
                digests[path] = str(path)  # of a file that cannot be read nothing is known
        return digests[path]

    found: list[tuple[str, str]] = []
    for video in test:
        size = _size(files.get(video))
        others = [] if size is None else by_size.get(size, [])
        found += [
            (other, video)
            for other in others
            if other != video and (files[other] == files[video] or digest(files[other]) == digest(files[video]))
        ][:1]
    return found


def _size(path: Path | None) -> int | None:
    """Bytes of a file; None where there is none, or nothing in it."""
    try:
        return None if path is None else path.stat().st_size or None
    except OSError:
        return None


def worth_lines(found: Worth) -> Iterator[str]:
    """The figures as people read them, a line each."""
    span = f"{found.fewest}" if found.fewest == found.most else f"{found.fewest} to {found.most}"
    emotional, cut = (_percent(count, found.captions) for count in (found.emotional, found.cut))
    yield (
        f"{found.captions_a_video:.1f} captions a video ({span}), {emotional} with an emotion word,"
        f" {cut} longer than {MAX_WORDS} words"
    )
    yield (
        f"{found.categories} of {counted(found.category_count, 'emotion category', 'emotion categories')} and"
        f" {found.emotion_words} of {counted(found.emotion_word_count, 'emotion word')} are in the captions"
    )
    yield f"{found.once:,} of {counted(found.words, 'word')} stand in one caption only"
    yield f"{counted(len(found.same_bytes), 'test video')} with the bytes of a training video"


def worth_advice(found: Worth) -> Iterator[tuple[str, str]]:
    """What is poor and what to do about it, for each figure that is."""
    if found.videos < FEW_VIDEOS:
        yield (
            f"{counted(found.videos, 'video')} to train on are few for a captioner that starts from nothing",
            "add videos, or start from a trained one: evcap train --init CHECKPOINT",
        )
    if found.captions_a_video < FEW_CAPTIONS:
        yield (
            f"{found.captions_a_video:.1f} captions a video are few: each shows one wording only",
            "let several people describe each video; five captions are usual",
        )
    if found.emotional < FEW_EMOTIONAL * found.captions:
        yield (
            f"{_percent(found.emotional, found.captions)} of the captions name an emotion: little is learned of it",
            "use words of the lexicon in the captions, or give a lexicon of your captions' own words",
        )
    elif found.categories < FEW_CATEGORIES * found.category_count:
        yield (
            f"{found.category_count - found.categories} of {found.category_count} emotion categories are in no caption",
            "give a lexicon of the categories that you need",
        )
    if found.once > MANY_ONCE * found.words:
        yield (
            f"{_percent(found.once, found.words)} of the words stand in one caption only, too few times to be learned",
            "set min_count = 2 in the recipe, which makes them unknown words, or add captions",
        )
    if found.cut > MANY_CUT * found.captions:
        yield (
            f"{_percent(found.cut, found.captions)} of the captions are cut at {MAX_WORDS} words",
            "shorten them, or raise max_words in the recipe",
        )


def leak_advice(found: Worth) -> tuple[str, str] | None:
    """What to do about test videos that are training videos too; None where there is none."""
    if not found.same_bytes:
        return None
    pairs = [f"{test} is {train}" for train, test in found.same_bytes]
    is_there = counted(len(pairs), "test video is a training video", "test videos are training videos")
    return f"{is_there} by the bytes of the file: {listed(pairs, _NAMED)}", "remove them from one of the splits"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.0f} %"
