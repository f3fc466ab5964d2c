"""Which of a captioner's captions of a clip become labels: different ones, of which the others say the same.

Agreement is the consensus of ``search/reranking.py``: the expected similarity of a caption to the clip's other
candidates. Diversity is maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998) with the same similarity.

Notation: N candidates of a clip, L words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from evcap_cli.data.caption_text import tokens

if TYPE_CHECKING:
    from torch import Tensor

    from evcap_cli.output.records import Caption

DIVERSITY: Final = 1.0
"""Score that a caption's likeness to those already chosen costs; a caption that is the same in all n-grams has 1."""


@dataclass(frozen=True)
class Choice:
    """What is taken of a clip's candidates.

    Args:
        captions: the labels, the best first.
        disagreeing: how many other candidates are below the least agreement.
        agreement: the greatest among the candidates; None where no candidate has a word.
    """

    captions: tuple[Caption, ...]
    disagreeing: int
    agreement: float | None


def choose(candidates: Sequence[Caption], most: int, least_agreement: float | None = None) -> Choice:
    """Choose labels of one clip.

    Args:
        candidates: the best first. Those without a word are left out, and those that say what an earlier one says.
        most: labels of a clip.
        least_agreement: consensus that a label needs, from 0 to 1; None: it does not count.

    Returns:
        The first candidate that agrees enough, and then in turn the one whose score, less its likeness to those chosen,
        is greatest. Where all candidates say the same, their agreement is 1.
    """
    distinct: dict[tuple[str, ...], Caption] = {}
    for caption in candidates:
        words = tuple(tokens(caption.text, None))
        if words:
            distinct.setdefault(words, caption)
    captions = list(distinct.values())
    if len(captions) < 2:
        return Choice(tuple(captions), 0, 1.0 if captions else None)
    scores, alike = _compared(list(distinct), [caption.score for caption in captions])
    agreements = _agreements(scores, alike)
    left = [number for number, value in enumerate(agreements) if least_agreement is None or value >= least_agreement]
    disagreeing, chosen = len(captions) - len(left), left[:1]
    while len(chosen) < min(most, len(captions) - disagreeing):
        left = [number for number in left if number not in chosen]
        chosen.append(max(left, key=lambda number: _gain(number, scores, alike, chosen)))
    return Choice(tuple(captions[number] for number in chosen), disagreeing, max(agreements))


def _compared(words: Sequence[Sequence[str]], scores: Sequence[float | None]) -> tuple[Tensor, Tensor]:
    """Scores (1, N), all 0 where the captioner knows them not all, and similarities (1, N, N)."""
    import torch

    from evcap_cli.search.reranking import similarities

    ids = {word: number for number, word in enumerate(sorted({word for caption in words for word in caption}))}
    longest = max(map(len, words))
    rows = [[ids[word] for word in caption] + [-1] * (longest - len(caption)) for caption in words]
    known = [score for score in scores if score is not None]
    values = known if len(known) == len(scores) else [0.0] * len(scores)
    return torch.tensor([values], dtype=torch.float64), similarities(torch.tensor([rows]))


def _agreements(scores: Tensor, alike: Tensor) -> list[float]:
    from evcap_cli.search.reranking import consensus

    found: list[float] = consensus(scores, alike)[0].tolist()
    return found


def _gain(number: int, scores: Tensor, alike: Tensor, chosen: Sequence[int]) -> float:
    return float(scores[0, number]) - DIVERSITY * float(alike[0, number, list(chosen)].max())
