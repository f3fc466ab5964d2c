"""Beam search as one tensor program over clips x beams, for anything that can score a next word step by step.

Rules. Each step extends the ``size`` open hypotheses of a clip by every word that may be emitted and keeps the best
``size``; and it ends each of them: that makes one finished hypothesis of each open one, scored by its length-normalised
log-probability, and the best ``n_best`` finished ones stay in a pool. No two open hypotheses are alike and each ends
once as it is, so nothing is in the pool twice. At ``max_words`` words the end mark is forced and scored. The search
stops when no open hypothesis of any clip can enter its clip's pool any more: log-probabilities only fall, so that the
present sum over the greatest divisor bounds what can become of it. Ties go to what was found first, then to the better
open hypothesis, then to the smaller token id.

Notation: B clips, K open hypotheses per clip (1 before the first word, then ``size``), R = B x K rows, W vocabulary,
n = ``n_best``, L = ``max_words``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from evcap_cli.data.special_tokens import END, PAD, START, UNK
from evcap_cli.errors import CheckpointError
from evcap_cli.network.layers import precise
from evcap_cli.reading.ranges import Beams, CaptionWords, Number, Penalty, check_fields
from evcap_cli.search.rerank import Rerank

BLOCK_ELEMENTS = {"cpu": 2**19, "cuda": 2**26}
"""Scores of one block: as many as stay in the cache from one pass over them to the next."""
CHUNK_WORDS = 128
"""The best words lie in the best chunks of so many words: one cheap pass over the vocabulary replaces sorting it."""

LOG2_E = 1 / math.log(2)
"""exp(x) is computed as 2^(x log2 e): on some CPUs exp is much slower, above all where it underflows."""

_NOTHING = float("-inf")


class ClipMemory(Protocol):
    """What a decoder keeps of B clips; the search passes it on and reads its size and place only."""

    @property
    def device(self) -> torch.device:
        """Where the decoder computes."""
        ...

    def __len__(self) -> int: ...


class SearchState(Protocol):
    """State of R rows."""

    def reorder(self, rows: Tensor) -> Self:
        """The state whose row r continues row ``rows[r]``; any number of rows, repeats allowed."""
        ...


StateT = TypeVar("StateT", bound=SearchState)
MemoryT = TypeVar("MemoryT", bound=ClipMemory)
ReadT = TypeVar("ReadT", bound=ClipMemory, contravariant=True)


class StepModel(Protocol[ReadT, StateT]):
    """What the search needs of a decoder."""

    def start(self, memory: ReadT) -> StateT:
        """The state before the start mark, one row a clip."""
        ...

    def step(self, memory: ReadT, state: StateT, tokens: Tensor) -> tuple[Tensor, StateT]:
        """Add (R,) tokens; logits (R, W) in any precision, which the search overwrites, and the next state."""
        ...


@dataclass(frozen=True)
class BeamConfig:
    """How to search.

    Args:
        size: open hypotheses per clip.
        max_words: at so many words the end is forced.
        length_penalty: exponent of ((5 + len) / 6), which divides a sum of log-probabilities; len counts the end mark.
        n_best: finished hypotheses to return per clip.
        forbidden: ids that are never emitted.
        rerank: how ``reranking.best_captions`` chooses among what the search found; the search itself ignores it.
    """

    size: Beams = 5
    max_words: CaptionWords = 15
    length_penalty: Penalty = 1.6
    n_best: Number = 1
    forbidden: tuple[int, ...] = (PAD, START, UNK)
    rerank: Rerank = field(default_factory=Rerank)

    def __post_init__(self) -> None:
        check_fields(self)  # a penalty is never negative: stopping early relies on it
        if END in self.forbidden:
            raise ValueError("the end mark cannot be forbidden")

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, as config.json has it."""
        kept = ("size", "max_words", "length_penalty", "rerank")
        return {name: value for name, value in asdict(self).items() if name in kept}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BeamConfig:
        """The inverse of ``to_dict``, which trusts nothing.

        Raises:
            ValueError, TypeError, KeyError: these are none.
        """
        if values.keys() != cls().to_dict().keys():
            raise ValueError(f"it should have {', '.join(cls().to_dict())}")
        return cls(**{**values, "rerank": Rerank(**values["rerank"])})

    def divisor(self, length: int) -> float:
        """What divides the log-probability of ``length`` tokens, the end mark included."""
        return float(((5.0 + length) / 6.0) ** self.length_penalty)


@dataclass(frozen=True)
class Hypothesis:
    """A finished caption: the ids of its words, and its length-normalised log-probability."""

    tokens: tuple[int, ...]
    score: float


@torch.no_grad()
def beam_search(
    decoder: StepModel[MemoryT, StateT],
    memory: MemoryT,
    config: BeamConfig | None = None,
    *,
    stop_early: bool = True,
) -> list[list[Hypothesis]]:
    """Best captions of each clip, best first.

    Args:
        decoder: in evaluation mode.
        memory: what it prepared for B clips.
        config: the paper's beam of five where not given.
        stop_early: off runs all steps; the result is the same.

    Returns:
        ``n_best`` hypotheses a clip; fewer only where fewer captions exist or were met.

    Raises:
        CheckpointError: when a score is not a number.
    """
    config = config or BeamConfig()
    B, size, L, device = len(memory), config.size, config.max_words, memory.device
    if B == 0:
        return []
    state = decoder.start(memory)
    tokens = torch.full((B,), START, device=device)
    first_row = torch.arange(B, device=device)[:, None]
    total = torch.zeros(B, 1, device=device)
    words = torch.full((B, 1, L), PAD, device=device)
    pool = _Pool.empty(B, config.n_best, L, device)
    for t in range(L + 1):
        logits, state = decoder.step(memory, state, tokens)
        gains, candidates, end = best_words(logits, size, config.forbidden)
        K = total.shape[1]
        pool = pool.admit((total + end.view(B, K)) / config.divisor(t + 1), words, length=t)
        if t == L:
            break
        total, chosen = _first_best((total[:, :, None] + gains.view(B, K, size)).flatten(1), size)
        if stop_early and bool((total[:, 0] / config.divisor(L + 1) <= pool.scores[:, -1]).all()):
            break
        parents = chosen // size
        tokens = candidates.view(B, K * size).gather(1, chosen).flatten()
        words = words.gather(1, parents[:, :, None].expand(-1, -1, L))
        words[:, :, t] = tokens.view(B, size)
        state = state.reorder((first_row * K + parents).flatten())
    return pool.hypotheses()


def best_words(logits: Tensor, count: int, forbidden: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """The best next words of each row; probabilities are those of the whole vocabulary, whatever is forbidden.

    Of the ``count`` best words none lies outside the ``count`` chunks with the greatest maxima (the earlier chunk first
    among equals), since each such chunk would hold a word that comes before it.

    Args:
        logits: (R, W), in any precision; overwritten.
        count: how many words.
        forbidden: ids left out, as is the end mark.

    Returns:
        Log-probabilities of the best words, (R, count), in single precision at least, minus infinity where there are
        fewer; their ids, (R, count), equal ones in the order of their ids; and that of the end mark, (R,).
    """
    (R, W), device, C = logits.shape, logits.device, CHUNK_WORDS
    hidden = torch.tensor([END, *forbidden], device=device)
    aside = precise(logits[:, hidden])
    logits[:, hidden] = _NOTHING
    maxima = aside.new_empty(R, -(-W // C))
    log_sum = aside.new_empty(R, 1)
    step = max(1, BLOCK_ELEMENTS.get(device.type, BLOCK_ELEMENTS["cuda"]) // W)
    scratch = aside.new_empty(min(step, R), W)
    for first in range(0, R, step):
        rows = slice(first, min(first + step, R))
        shifted = scratch[: rows.stop - first]
        # half precision becomes single where the block is in the cache
        block = logits[rows] if logits.dtype == aside.dtype else shifted.copy_(logits[rows])
        torch.amax(block[:, : W // C * C].view(len(block), W // C, C), dim=2, out=maxima[rows, : W // C])
        if W % C:
            maxima[rows, -1] = block[:, W // C * C :].amax(dim=1)
        peak = torch.maximum(maxima[rows].amax(dim=1, keepdim=True), aside[rows].amax(dim=1, keepdim=True))
        torch.sub(block, peak, out=shifted)
        total = shifted.mul_(LOG2_E).exp2_().sum(dim=1, keepdim=True)
        log_sum[rows] = total.add_((aside[rows] - peak).exp_().sum(dim=1, keepdim=True)).log_().add_(peak)
    ranked = maxima.sort(dim=1, descending=True, stable=True).indices
    chunks = ranked[:, :count].sort(dim=1).values
    ids = (chunks[:, :, None] * C + torch.arange(C, device=device)).flatten(1)
    near = precise(logits.gather(1, ids.clamp(max=W - 1))).masked_fill_(ids >= W, _NOTHING)
    values, places = _first_best(near, count)
    return values - log_sum, ids.gather(1, places), aside[:, 0] - log_sum[:, 0]


def _first_best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` greatest entries of each row and where they are, the first of equal ones first; overwrites them.

    ``torch.topk`` leaves the order of equal entries open; the maximum along a dimension is defined as the first one.
    Rows too short are filled with minus infinity.
    """
    found = []
    for _ in range(count):
        found.append(scores.max(dim=1, keepdim=True))
        scores.scatter_(1, found[-1].indices, _NOTHING)
    return torch.cat([best.values for best in found], dim=1), torch.cat([best.indices for best in found], dim=1)


@dataclass(frozen=True)
class _Pool:
    """The best finished hypotheses of each clip, best first: scores and lengths (B, n), words (B, n, L)."""

    scores: Tensor
    lengths: Tensor
    words: Tensor

    @classmethod
    def empty(cls, clips: int, n_best: int, max_words: int, device: torch.device | str) -> _Pool:
        return cls(
            scores=torch.full((clips, n_best), _NOTHING, device=device),
            lengths=torch.zeros(clips, n_best, dtype=torch.long, device=device),
            words=torch.full((clips, n_best, max_words), PAD, device=device),
        )

    def admit(self, scores: Tensor, words: Tensor, length: int) -> _Pool:
        """The pool with further hypotheses of ``length`` words: scores (B, K), words (B, K, L); older ones win ties."""
        lengths = torch.cat([self.lengths, torch.full_like(scores, length, dtype=torch.long)], dim=1)
        every = torch.cat([self.words, words], dim=1)
        best, places = _first_best(torch.cat([self.scores, scores], dim=1), self.scores.shape[1])
        return _Pool(
            scores=best,
            lengths=lengths.gather(1, places),
            words=every.gather(1, places[:, :, None].expand(-1, -1, every.shape[2])),
        )

    def hypotheses(self) -> list[list[Hypothesis]]:
        if bool(self.scores.isnan().any()):
            raise CheckpointError(
                "its scores are not numbers", hint="the weights are damaged: train or fetch them again"
            )
        columns = zip(self.scores.tolist(), self.lengths.tolist(), self.words.tolist(), strict=True)
        return [
            [Hypothesis(tuple(w[:n]), s) for s, n, w in zip(*clip, strict=True) if s > _NOTHING] for clip in columns
        ]
