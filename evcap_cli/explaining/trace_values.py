"""What the page shows of one clip: words, emotion, gates and objects as plain numbers, free of torch.

Notation: N real moments, M objects that were found, N_c categories.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from evcap_cli.search.beam_search import Hypothesis

END_MARK: Final = "(end)"

Row = tuple[float, ...]


@dataclass(frozen=True)
class DecodedWord:
    """One step of the decoder.

    Args:
        text: the word; ``END_MARK`` for the end of the caption.
        log_probability: of this word after those before it.
        others: the likeliest other words that may be predicted, with their probabilities.
        attention: weights of Z_t over the moments, (N,), which sum to one.
        objects: weights over the objects, (M,), which sum to one, of a decoder that attends to them itself.
    """

    text: str
    log_probability: float
    others: tuple[tuple[str, float], ...]
    attention: Row | None = None
    objects: Row | None = None

    @property
    def probability(self) -> float:
        """Of this word after those before it."""
        return exp(self.log_probability)


@dataclass(frozen=True)
class Branch:
    """What one branch of emotion perception (section 1.4) read out of its stream.

    Args:
        name: ``picture`` or ``sound``.
        present: False where the clip lacks the stream: the branch saw the trained "absent" token and does not count.
        categories: P_c, (N_c,). words: the likeliest emotion words of P_w, with their probabilities.
    """

    name: str
    present: bool
    categories: Row
    words: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ObjectAttention:
    """One object row.

    Args:
        seconds: of its key frame, from the clip's start.
        by_appearance, by_motion: weights of MHCA(V_a, V_o) and MHCA(V_m, V_o), averaged over heads, of this object at
            each moment, (N,).
    """

    seconds: float
    by_appearance: Row
    by_motion: Row


@dataclass(frozen=True)
class ClipTrace:
    """Everything the page shows of one clip.

    Args:
        hypothesis: the best one of the search.
        words: of it, the end mark last.
        moments: seconds from the clip's start, (N,).
        categories: the emotion that ``evcap caption`` reports, (N_c,) probabilities.
        branches: of emotion perception.
        appearance_share: the gate a of Eq. 1 averaged over the width, at each moment, (N,): 1 takes appearance only.
        audio_attention: how much each moment attends to the global vector of the audio in module A, averaged over
            heads and levels, (N,).
        objects: those that were found, in time order.
    """

    hypothesis: Hypothesis
    words: tuple[DecodedWord, ...]
    moments: Row
    categories: Row | None = None
    branches: tuple[Branch, ...] = ()
    appearance_share: Row | None = None
    audio_attention: Row | None = None
    objects: tuple[ObjectAttention, ...] | None = None
    lacks: tuple[str, ...] = ()
    """Sentences about what the system, or the clip, does not have."""

    def through_attention(self, word: DecodedWord, values: Row) -> float:
        """The mean of a value per moment, weighted by what ``word`` attends to."""
        if word.attention is None:
            raise ValueError("this system does not show its attention")
        return sum(weight * value for weight, value in zip(word.attention, values, strict=True))
