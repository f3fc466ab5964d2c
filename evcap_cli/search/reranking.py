"""Choosing among the finished hypotheses of a clip: by what they agree on, and by the emotion that was perceived.

A hypothesis is judged by score + ``consensus`` x C + ``emotion`` x E, where score is its length-normalised
log-probability, which stays what it is reported with.

C is its expected similarity to the clip's other hypotheses, each as probable as the softmax of their scores makes it:
minimum Bayes risk decoding over an n-best list (Kumar & Byrne, HLT-NAACL 2004), as consensus captions are chosen
(Devlin et al., ACL 2015). The similarity is CIDEr's without its document frequencies: the cosine of the n-gram counts,
mean over n = 1 to 4. So it needs no corpus, and nothing of the training captions has to travel with a checkpoint.

E is the mean log-probability, in the system's own distribution, of the categories that the hypothesis's emotion words
stand for, each distinct one once and a word by its first category, as Acc_sw counts them. A hypothesis without any is
worth a blind guess, log(1 / N_c): less than naming what is perceived, more than naming what is not.

All is computed in double precision on the CPU and row by row: neither neighbours nor the device move a choice.

Notation: B clips, N hypotheses a clip, L words, V vocabulary, N_c categories.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from evcap_cli.search.beam_search import BeamConfig, Hypothesis, StepModel, beam_search

if TYPE_CHECKING:
    from typing import Any

    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.data.vocabulary import Vocabulary
    from evcap_cli.systems.contract import PreparedClips

ORDERS: Final = 4
"""n-grams of 1 to so many words are compared."""
LEAST_PROBABILITY: Final = 1e-6
"""What a category counts for at least: a probability may underflow, and one word must not outweigh everything."""
BLOCK_PAIRS: Final = 2**22
"""Pairs of words of one block, which bounds memory."""


def best_captions(
    model: StepModel[Any, Any], prepared: PreparedClips, beam: BeamConfig, vocabulary: Vocabulary, lexicon: Lexicon
) -> list[list[Hypothesis]]:
    """Captions of B clips, best first: searched, and put in order by ``beam.rerank`` where that is on.

    Args:
        model: in evaluation mode.
        prepared: by the model. Where it perceives no emotion, ``rerank.emotion`` changes nothing.
        beam: how to search.
        vocabulary: of the model.
        lexicon: of its categories.

    Returns:
        ``n_best`` hypotheses a clip, with the model's own scores; fewer only where fewer exist or were met.

    Raises:
        CheckpointError: when a score is not a number.
    """
    rerank = beam.rerank
    if not rerank.on:
        return beam_search(model, prepared.memory, beam)
    width = max(beam.n_best, rerank.candidates)
    found = beam_search(model, prepared.memory, replace(beam, n_best=width))
    categories = prepared.categories if rerank.emotion else None
    of_tokens = None if categories is None else token_categories(vocabulary, lexicon)
    return [several[: beam.n_best] for several in reranked(found, beam, categories, of_tokens)]


def reranked(
    found: Sequence[Sequence[Hypothesis]],
    beam: BeamConfig,
    categories: Tensor | None = None,
    of_tokens: Tensor | None = None,
) -> list[list[Hypothesis]]:
    """The hypotheses of each clip in their new order; equally good ones stay in the order they have.

    Args:
        found: of B clips, best first; none may be twice in a clip.
        beam: gives the weights.
        categories: probabilities of the categories, (B, N_c); None: emotions do not count.
        of_tokens: ``token_categories``, needed with ``categories``.
    """
    if not found:
        return []
    rerank = beam.rerank
    # one width whatever was found: sums of other lengths may round otherwise
    width = max(beam.n_best, rerank.candidates, *map(len, found))
    scores, tokens = _padded(found, width)
    total = scores.clone()
    if rerank.consensus:
        total += rerank.consensus * consensus(scores, similarities(tokens))
    if rerank.emotion and categories is not None and of_tokens is not None:
        total += rerank.emotion * agreement(tokens, categories, of_tokens)
    order = total.sort(dim=1, descending=True, stable=True).indices.tolist()
    return [
        [several[place] for place in places if place < len(several)]
        for several, places in zip(found, order, strict=True)
    ]


def token_categories(vocabulary: Vocabulary, lexicon: Lexicon) -> Tensor:
    """The category that each word of the vocabulary counts for, (V,); -1 for a word that is no emotion word."""
    of_tokens = torch.full((len(vocabulary),), -1)
    for word in lexicon.words:
        number = lexicon.first_category(word)
        if word in vocabulary and number is not None:
            of_tokens[vocabulary.ids[word]] = number
    return of_tokens


def _padded(found: Sequence[Sequence[Hypothesis]], width: int) -> tuple[Tensor, Tensor]:
    """Scores (B, N), minus infinity where there is no hypothesis, and tokens (B, N, L), -1 after a caption's end."""
    length = max(1, *(len(one.tokens) for several in found for one in several), 1)
    scores = [[one.score for one in several] + [-math.inf] * (width - len(several)) for several in found]
    tokens = [
        [[*one.tokens, *[-1] * (length - len(one.tokens))] for one in several]
        + [[-1] * length] * (width - len(several))
        for several in found
    ]
    return torch.tensor(scores, dtype=torch.float64), torch.tensor(tokens)


def similarities(tokens: Tensor) -> Tensor:
    """How alike the hypotheses of each clip are: the cosine of their n-gram counts, mean over n = 1 to 4.

    The product of two count vectors is the number of pairs of places where the same n-gram stands, and the pairs for
    n + 1 follow from those for n: no n-gram is ever spelled out.

    Args:
        tokens: (B, N, L), -1 after a caption's end.

    Returns:
        (B, N, N), from 0 to 1; an order that one of the two is too short for adds 0.
    """
    B, N, L = tokens.shape
    found = tokens.new_empty(B, N, N, dtype=torch.float64)
    step = max(1, BLOCK_PAIRS // (N * L) ** 2)
    for first in range(0, B, step):
        block = tokens[first : first + step]
        same = (block[:, :, :, None, None] == block[:, None, None]) & (block >= 0)[:, :, :, None, None]
        grams, cosines = same, found[first : first + step].zero_()
        for n in range(1, min(ORDERS, L) + 1):
            if n > 1:
                grams = grams[:, :, :-1, :, :-1] & same[:, :, n - 1 :, :, n - 1 :]
            products = grams.sum(dim=(2, 4)).double()
            lengths = products.diagonal(dim1=1, dim2=2).sqrt()
            cosines += products / (lengths[:, :, None] * lengths[:, None]).clamp(min=1.0)
    return found / ORDERS


def consensus(scores: Tensor, alike: Tensor) -> Tensor:
    """Expected similarity of each hypothesis to the others of its clip.

    Args:
        scores: (B, N), minus infinity where there is no hypothesis.
        alike: ``similarities``, (B, N, N).

    Returns:
        (B, N); 0 for a hypothesis that is alone.
    """
    itself = torch.eye(scores.shape[1], dtype=torch.bool)
    others = scores[:, None].expand_as(alike).masked_fill(itself, -math.inf)
    return (others.softmax(dim=-1).nan_to_num(0.0) * alike).sum(dim=-1)


def agreement(tokens: Tensor, categories: Tensor, of_tokens: Tensor) -> Tensor:
    """Mean log-probability of the categories that each hypothesis names; log(1 / N_c) for one that names none.

    Args:
        tokens: (B, N, L), -1 after a caption's end.
        categories: probabilities, (B, N_c).
        of_tokens: category of each word of the vocabulary or -1, (V,).

    Returns:
        (B, N).
    """
    B, N, _ = tokens.shape
    count = categories.shape[1]
    chances = categories.detach().cpu().double().clamp(min=LEAST_PROBABILITY).log()
    named = torch.where(tokens >= 0, of_tokens[tokens.clamp(min=0)], -1)
    # column 0 takes the words that name nothing
    distinct = torch.zeros(B, N, count + 1, dtype=torch.bool).scatter_(2, named + 1, True)[:, :, 1:]
    many = distinct.sum(dim=-1)
    mean = (distinct * chances[:, None]).sum(dim=-1) / many.clamp(min=1)
    return torch.where(many > 0, mean, -math.log(count))
