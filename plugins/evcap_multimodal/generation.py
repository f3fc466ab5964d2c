"""Searching an answer without sampling, its score, and the key-value cache that it leaves.

Notation: B clips of a batch, P tokens of a prompt, L tokens of an answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class Generated:
    """Answers to B prompts.

    Args:
        tokens: (B, L) with whatever fills rows that ended earlier; (B * answers, L) where several are requested.
        scores: mean log-probability of the tokens of each answer, without its end; None for an empty one.
        cache: key-value cache of B * beams rows; None where the model gave none.
        first: (B, V) logits of the first token.
    """

    tokens: Tensor
    scores: list[float | None]
    cache: Any
    first: Tensor


def generate(
    model: Any,
    inputs: Mapping[str, Tensor],
    *,
    max_tokens: int,
    beams: int = 1,
    answers: int = 1,
    pad_token: int | None = None,
    keep_cache: bool = False,
) -> Generated:
    """The most probable answers that greedy or beam search finds.

    Args:
        model: of transformers.
        inputs: of B clips.
        max_tokens: of an answer.
        beams: of the search; 1 is greedy.
        answers: to each prompt, the best first; no more than beams.
        pad_token: what fills rows that ended, where the model names nothing.
        keep_cache: keep all keys of layers with a sliding window too, for ``caches.prefix``.
    """
    from evcap_multimodal import caches

    options: dict[str, Any] = {}
    if keep_cache:
        options[caches.argument_name()] = caches.recording(model)
    if model.generation_config.pad_token_id is None and pad_token is not None:
        options["pad_token_id"] = pad_token
    found = model.generate(
        **inputs,
        **options,
        do_sample=False,
        num_beams=beams,
        num_return_sequences=answers,
        max_new_tokens=max_tokens,
        return_dict_in_generate=True,
        output_logits=True,
    )
    # a family without prompt starts from one token
    prompt = inputs["input_ids"].shape[1] if "input_ids" in inputs else 1
    tokens = found.sequences[:, prompt:]
    logs = model.compute_transition_scores(
        found.sequences, found.logits, getattr(found, "beam_indices", None), normalize_logits=True
    )[:, : tokens.shape[1]]
    lengths = answer_lengths(tokens, model.generation_config.eos_token_id)
    scores = [float(row[:length].float().mean()) if length else None for row, length in zip(logs, lengths, strict=True)]
    return Generated(tokens, scores, caches.of(found), found.logits[0][::beams])


def end_tokens(ends: int | list[int] | None, device: torch.device) -> Tensor:
    """The tokens that end an answer; one that no answer has where the model names none."""
    import torch

    return torch.tensor([ends] if isinstance(ends, int) else ends or [-1], device=device)


def answer_lengths(tokens: Tensor, ends: int | list[int] | None) -> list[int]:
    """How many tokens of each row (B, L) come before the first token that ends an answer."""
    import torch

    ended = torch.isin(tokens, end_tokens(ends, tokens.device))
    lengths = torch.where(ended.any(1), ended.int().argmax(1), tokens.shape[1])
    return [int(length) for length in lengths]
