"""Acc_sw and Acc_c: whether the emotion of a caption is one of its references' emotions.

Notation: N videos; per video the counts (right, wrong, silent, any_right, both), see ``COUNTS``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy.typing as npt

    from evcap_cli.data.lexicon import Lexicon

COUNTS: Final = ("right", "wrong", "silent", "any_right", "both")
"""Right and wrong distinct categories; then 0 or 1: no lexicon word at all; any right; both right and wrong."""


@dataclass(frozen=True)
class EmotionVerdict:
    """Categories of one caption against its references, by number."""

    right: frozenset[int]
    wrong: frozenset[int]
    missing: frozenset[int]
    """Mentioned by a reference and not by the caption."""

    def counts(self) -> tuple[int, int, int, int, int]:
        """In the order of ``COUNTS``."""
        right, wrong = len(self.right), len(self.wrong)
        return right, wrong, int(right + wrong == 0), int(right > 0), int(right > 0 and wrong > 0)


def judge(hypothesis: Sequence[str], references: Sequence[Sequence[str]], lexicon: Lexicon) -> EmotionVerdict:
    """Compare words of a caption (each counts for its first category) with words of its references (all categories)."""
    firsts = (lexicon.first_category(word) for word in hypothesis)
    mentioned = frozenset(number for number in firsts if number is not None)
    true = frozenset(number for words in references for number in lexicon.mentioned_categories(words))
    return EmotionVerdict(right=mentioned & true, wrong=mentioned - true, missing=true - mentioned)


def acc_sw(totals: Sequence[Any] | npt.NDArray[Any]) -> float:
    """N_r / (N_r + N_w + phi), from summed counts."""
    right, wrong, silent = (float(total) for total in totals[:3])
    return right / (right + wrong + silent)


def acc_c(totals: Sequence[Any] | npt.NDArray[Any], videos: int) -> float:
    """exp(N_h / (N_h - N_r1 + 1e-4)) N_r1 / N; where the published code overflows (N_h = N_r1 > 0), its limit, 0."""
    any_right, both = float(totals[3]), float(totals[4])
    if any_right == 0 or both == any_right:
        return 0.0
    return math.exp(both / (both - any_right + 1e-4)) * any_right / videos
