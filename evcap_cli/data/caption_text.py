"""Text as every published number of EmVidCap has it (the "paper protocol"): for training, vocabulary and scores alike.

``scoring/java.py`` tokenises as the COCO scripts do.
"""

from __future__ import annotations

import string
from typing import Final

MAX_WORDS: Final = 15
"""Captions are cut here before training and before scoring, references too."""

_DELETE = str.maketrans("", "", string.punctuation)


def tokens(text: str, max_words: int | None = MAX_WORDS) -> list[str]:
    """Words of a caption: ASCII only, lower case, punctuation deleted ("doesn't" -> "doesnt"), cut at ``max_words``."""
    plain = text.encode("ascii", "ignore").decode("ascii").lower().translate(_DELETE)
    return plain.split()[:max_words]


def normalise(text: str, max_words: int | None = MAX_WORDS) -> str:
    """``tokens`` joined by single spaces."""
    return " ".join(tokens(text, max_words))
