"""The probability that a model gives to each emotion category as the answer to one short question about a clip.

Nothing is sampled: the probability of a category is that of its tokens after the question, normalised over the
categories. Frames are encoded once where the family allows it (``after_prefix``): the caption's own key-value cache is
cut down to the part that both prompts share, and one pass reads the question and all categories. Elsewhere the frames
are encoded again with the question, and rows of its cache are repeated for the categories (``probabilities``).

Notation: B clips, N_c categories, V vocabulary, K pairs of a clip and a category in a pass, L tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from evcap_multimodal import caches

if TYPE_CHECKING:
    from torch import Tensor

REPEATED_BYTES: Final = 1 << 30
"""Memory that repeated rows of a cache may take at a time."""


@dataclass
class Prompts:
    """B prompts that end where an answer begins.

    Args:
        cache: of all their tokens, B rows.
        first: (B, V) logits of the first token of an answer.
        offsets: (B, 1) of families that count places of frames apart (M-RoPE); None elsewhere.
    """

    cache: Any
    first: Tensor
    offsets: Tensor | None


def after_prefix(
    model: Any,
    prefix: Any,
    question: Sequence[int],
    categories: Sequence[Sequence[int]],
    offsets: Tensor | None,
    rows: int,
) -> list[list[float]]:
    """The distribution of each clip in one pass: the question, and after it all categories as branches of a tree.

    Each branch attends to the prefix, the question and itself, at the places that follow the question.

    Args:
        model: of transformers.
        prefix: cache of B rows, which the pass extends.
        question: tokens of the prompt after the prefix.
        categories: tokens of each category's name.
        offsets: see ``Prompts``.
        rows: B.

    Returns:
        B lists of N_c numbers that sum to 1.
    """
    import torch

    device = model.device
    past, tokens, parents = prefix.get_seq_length(), list(question), list(range(-1, len(question) - 1))
    ends: list[list[int]] = []
    """For each category where the probability of each of its tokens stands: at the token before it."""
    for category in categories:
        path = [len(question) - 1]
        for token in category[:-1]:
            parents.append(path[-1])
            path.append(len(tokens))
            tokens.append(token)
        ends.append(path)
    attended = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
    depths = torch.zeros(len(tokens), dtype=torch.long)
    for number, parent in enumerate(parents):
        if parent >= 0:
            attended[number], depths[number] = attended[parent], depths[parent] + 1
        attended[number, number] = True
    places = depths + past
    options: dict[str, Any] = {"attention_mask": _masks(prefix, attended, places, model, rows)}
    options["position_ids"] = places.to(device).expand(rows, -1)
    if offsets is not None:
        options["position_ids"] = (options["position_ids"] + offsets).expand(3, -1, -1)
    kept = sorted({place for path in ends for place in path})
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        options["logits_to_keep"] = torch.tensor(kept, device=device)
    ids = torch.tensor(tokens, device=device).expand(rows, -1)
    logits = model(input_ids=ids, use_cache=True, **{caches.argument_name(): prefix}, **options).logits
    if logits.shape[1] != len(kept):
        logits = logits[:, kept]
    row_of = {place: number for number, place in enumerate(kept)}
    all_logs = logits.float().log_softmax(-1)
    logs = [
        sum(all_logs[:, row_of[place], token] for place, token in zip(path, category, strict=True))
        for path, category in zip(ends, categories, strict=True)
    ]
    found: list[list[float]] = torch.stack(logs, 1).double().softmax(-1).tolist()
    return found


def _masks(prefix: Any, attended: Tensor, places: Tensor, model: Any, rows: int) -> Any:
    """What each new token attends to, added to attention scores, (B, 1, L, P + L).

    Args:
        prefix: cache of P tokens.
        attended: (L, L), True where a new token attends to another.
        places: (L,) of the new tokens.
        model: for its number format and device.
        rows: B.

    Returns:
        One mask, or one for each kind of layers where some have a sliding window.
    """
    import torch

    def added(seen: Tensor) -> Tensor:
        mask = torch.zeros(seen.shape, dtype=model.dtype).masked_fill(~seen, torch.finfo(model.dtype).min)
        return mask.to(model.device).expand(rows, 1, -1, -1)

    past = prefix.get_seq_length()
    full = torch.cat([torch.ones(len(places), past, dtype=torch.bool), attended], 1)
    windows = {layer.sliding_window for layer in prefix.layers if getattr(layer, "is_sliding", False)}
    if not windows:
        return added(full)
    window = windows.pop()
    near = places[:, None] - torch.cat([torch.arange(past), places])[None] < window
    # such a layer keeps one token less than its window
    sliding = (full & near)[:, max(0, past - window + 1) :]
    return {"full_attention": added(full), "sliding_attention": added(sliding)}


def probabilities(model: Any, prompts: Prompts, categories: Sequence[Sequence[int]]) -> list[list[float]]:
    """The distribution of each clip over the categories.

    Args:
        model: of transformers.
        prompts: the B prompts.
        categories: tokens of each category's name, as they follow the prompt.

    Returns:
        B lists of N_c numbers that sum to 1.
    """
    import torch

    device = prompts.first.device
    first = prompts.first.float().log_softmax(-1)
    logs = first[:, torch.tensor([tokens[0] for tokens in categories], device=device)].clone()
    clips = len(first)
    pairs = [(clip, number) for clip in range(clips) for number, tokens in enumerate(categories) if len(tokens) > 1]
    rows = max(1, REPEATED_BYTES // max(1, caches.bytes_a_row(prompts.cache)))
    for begin in range(0, len(pairs), rows):
        part = pairs[begin : begin + rows]
        for (clip, number), log in zip(part, _rest(model, prompts, part, categories), strict=True):
            logs[clip, number] += log
    set_offsets(model, prompts.offsets)
    found: list[list[float]] = logs.double().softmax(-1).tolist()
    return found


def _rest(
    model: Any, prompts: Prompts, pairs: Sequence[tuple[int, int]], categories: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Log-probability of the tokens after the first, of K pairs of a clip and a category."""
    import torch

    device = prompts.first.device
    rows = torch.tensor([clip for clip, _ in pairs], device=device)
    several = [categories[number] for _, number in pairs]
    longest = max(map(len, several))
    # what fills shorter rows comes after their last token: nothing that counts attends to it
    filled = torch.tensor([[*tokens, *[tokens[-1]] * (longest - len(tokens))] for tokens in several], device=device)
    set_offsets(model, None if prompts.offsets is None else prompts.offsets[rows])
    output = forward(model, caches.chosen_rows(prompts.cache, rows), filled[:, :-1])
    logs = output.logits.float().log_softmax(-1).gather(-1, filled[:, 1:, None])[..., 0]
    return [row[: len(tokens) - 1].sum() for row, tokens in zip(logs, several, strict=True)]


def forward(model: Any, cache: Any, tokens: Tensor) -> Any:
    """One pass over ``tokens`` after what the cache holds; no padding anywhere, so no mask either."""
    return model(input_ids=tokens, use_cache=True, **{caches.argument_name(): cache})


def offsets_of(model: Any, every: int = 1) -> Tensor | None:
    """The M-RoPE offsets that the last prompts left in the model, (B, 1); None in families without."""
    found = getattr(getattr(model, "model", None), "rope_deltas", None)
    return None if found is None else found[::every]


def set_offsets(model: Any, offsets: Tensor | None) -> None:
    """Put the offsets of other rows in their place."""
    if offsets is not None:
        model.model.rope_deltas = offsets
