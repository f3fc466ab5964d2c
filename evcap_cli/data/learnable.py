"""What training can learn from a set of captions. ``evcap train`` and ``evcap data check`` both ask here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from evcap_cli.console import counted
from evcap_cli.data.caption_text import MAX_WORDS, tokens
from evcap_cli.data.emvidcap import hold_out
from evcap_cli.errors import TrainingError

VALIDATION_SHARE: Final = 0.1
"""Of the videos, where a recipe does not say otherwise."""
_NO_WORDS: Final[list[list[str]]] = []


@dataclass(frozen=True)
class Learnable:
    """Videos with words.

    Args:
        words: video -> the words of each of its captions; captions without a word are left out. Empty where only the
            split was asked for.
        train: videos to learn from. validation: videos that choose the epoch.
    """

    words: Mapping[str, list[list[str]]]
    train: Sequence[str]
    validation: Sequence[str]

    def check(self, there: Collection[str]) -> None:
        """See that a video to learn from is ``there``: has features, or a file to take them from.

        Raises:
            TrainingError: none has.
        """
        if not any(video in there for video in self.train):
            raise TrainingError(
                f"none of the {counted(len(self.train), 'training video')} with a caption in words has features:"
                " there is nothing to train on"
            )


def learnable(
    captions: Mapping[str, Sequence[str]],
    *,
    max_words: int = MAX_WORDS,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
    files: Mapping[str, str] | None = None,
    split_only: bool = False,
) -> Learnable:
    """Split the videos of ``captions`` that have words.

    Args:
        captions: video -> raw captions, training and validation together.
        max_words: captions are cut there.
        validation_share: of the videos.
        seed: of the split.
        files: video -> its file, of those that are segments of one: segments of a file stay together, unless it is
            the only one.
        split_only: keep no words, of which there may be many.

    Raises:
        TrainingError: no video has a caption, or no caption has a word.
    """
    words: dict[str, list[list[str]]] = {}
    for video, texts in captions.items():
        if split_only:
            if any(tokens(text, max_words) for text in texts):
                words[video] = _NO_WORDS
        elif kept := [cut for text in texts if (cut := tokens(text, max_words))]:
            words[video] = kept
    whole = {video: (files or {}).get(video, video) for video in words}
    if len(set(whole.values())) == 1:
        whole = {video: video for video in words}
    _, held_out = hold_out(list(whole.values()), validation_share, seed)
    chosen = set(held_out)
    train, validation = (sorted(v for v in words if (whole[v] in chosen) == held) for held in (False, True))
    if not train:
        first = next((text for texts in captions.values() for text in texts if text.strip()), None)
        if first is None:
            raise TrainingError("no video has a caption: there is nothing to train on")
        raise TrainingError(
            f"no caption has a word in ASCII letters or digits, the only ones that EmVidCap's protocol reads"
            f" (the first caption is {first[:40]!r}): there is nothing to train on"
        )
    return Learnable({} if split_only else words, train, validation)
