"""Several answers to each prompt, drawn by seed after one pass over the prompt.

The key-value cache that the best answer left is cut down to the prompt and its rows are repeated: frames are encoded
once, whatever the number of answers. The n-th answer to every prompt is drawn with the same random numbers, so that no
prompt's answers depend on its neighbours.

Notation: B clips of a batch, n answers to each, K rows of a pass, L tokens of an answer, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from evcap_multimodal import caches, emotions
from evcap_multimodal.generation import answer_lengths, end_tokens

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE: Final = 0.8
TOP_P: Final = 0.9
"""Tokens are drawn from the most probable ones that have this share of the probability together."""
MOST_TOKENS: Final = 256
"""They are no more than so many: sorting a whole vocabulary at every step would cost more than the model."""


def draw(
    model: Any, prompts: emotions.Prompts, *, count: int, seed: int, max_tokens: int
) -> list[list[tuple[Tensor, float]]]:
    """Draw answers.

    Args:
        model: of transformers.
        prompts: the B prompts.
        count: n.
        seed: of the random numbers.
        max_tokens: of an answer.

    Returns:
        For each prompt n answers: tokens (L,), and the mean log-probability of those before its end. Empty ones are
        left out.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(count, max_tokens, generator=generator, dtype=torch.float64)
    pairs = [(clip, number) for clip in range(len(prompts.first)) for number in range(count)]
    rows = max(1, emotions.REPEATED_BYTES // max(1, caches.bytes_a_row(prompts.cache)))
    found: list[list[tuple[Tensor, float]]] = [[] for _ in prompts.first]
    for begin in range(0, len(pairs), rows):
        part = pairs[begin : begin + rows]
        tokens, logs = _draw_rows(model, prompts, part, numbers)
        lengths = answer_lengths(tokens, model.generation_config.eos_token_id)
        for (clip, _), row, log, length in zip(part, tokens, logs, lengths, strict=True):
            if length:
                found[clip].append((row, float(log[:length].mean())))
    emotions.set_offsets(model, prompts.offsets)
    return found


def _draw_rows(
    model: Any, prompts: emotions.Prompts, pairs: list[tuple[int, int]], numbers: Tensor
) -> tuple[Tensor, Tensor]:
    """Tokens and their log-probabilities, both (K, L), for K pairs of a clip and the number of its answer."""
    import torch

    device = prompts.first.device
    rows = torch.tensor([clip for clip, _ in pairs], device=device)
    own = numbers[[number for _, number in pairs]].to(device)
    cache = caches.chosen_rows(prompts.cache, rows)
    emotions.set_offsets(model, None if prompts.offsets is None else prompts.offsets[rows])
    logits, tokens, logs = prompts.first[rows], list[Any](), list[Any]()
    ends = end_tokens(model.generation_config.eos_token_id, device)
    ended = torch.zeros(len(pairs), dtype=torch.bool, device=device)
    for step in range(numbers.shape[1]):
        tokens.append(_drawn(_allowed(model, logits), own[:, step]))
        # as answers of a search are scored: over all tokens
        logs.append(logits.float().log_softmax(-1).gather(-1, tokens[-1][:, None])[:, 0])
        ended |= torch.isin(tokens[-1], ends)
        if bool(ended.all()):
            break
        logits = emotions.forward(model, cache, tokens[-1][:, None]).logits[:, -1]
    return torch.stack(tokens, 1), torch.stack(logs, 1)


def _allowed(model: Any, logits: Tensor) -> Tensor:
    """Logits (K, V) in single precision without the tokens that the model must not write."""
    forbidden = model.generation_config.suppress_tokens
    if not forbidden:
        return logits.float()
    allowed = logits.float().clone()
    allowed[:, forbidden] = float("-inf")
    return allowed


def _drawn(logits: Tensor, numbers: Tensor) -> Tensor:
    """One token a row, (K,), by numbers (K,) from 0 to 1."""
    import torch

    probable, order = (logits / TEMPERATURE).softmax(-1).topk(min(MOST_TOKENS, logits.shape[-1]))
    below = probable.double().cumsum(-1)
    # the token that passes the share is still one of them
    below = torch.where(below - probable < TOP_P, below, float("inf"))
    total = torch.where(below.isinf(), 0.0, below).amax(-1)
    place = (below > (numbers * total)[:, None]).int().argmax(-1)
    return order.gather(-1, place[:, None])[:, 0]
