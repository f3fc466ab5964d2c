"""The constant caption: one sentence for every video, the floor that a captioner must leave far below.

It scores better than it deserves: a frequent sentence shares many words with any reference, and a frequent emotion is
often right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evcap_cli.data.caption_text import normalise

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot


@dataclass(frozen=True)
class ConstantRow:
    """The caption that every video gets, and its metrics x 100."""

    caption: str
    metrics: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"caption": self.caption, "metrics": self.metrics}


def constant_caption(captions: Iterable[str]) -> str:
    """The most frequent of ``captions`` (the first in alphabetical order of several)."""
    counts = Counter(captions)
    return min(counts, key=lambda caption: (-counts[caption], caption))


def constant_of(root: DataRoot) -> str | None:
    """The most frequent training caption of a data root, without case and punctuation; None: it has none."""
    texts = [normalise(text) for captions in root.train.values() for text in captions]
    known = [text for text in texts if text]
    return constant_caption(known) if known else None
