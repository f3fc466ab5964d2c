"""Key-value caches of transformers: cutting one down to a common prefix, and choosing its rows.

Layers without keys (linear attention, state spaces) keep no past that could be cut: ``prefix`` then gives None.

Notation: R rows, P tokens of the prefix.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@cache
def argument_name() -> str:
    """What this version of transformers calls the cache, as an argument and in outputs."""
    from dataclasses import fields

    from transformers.generation import GenerateDecoderOnlyOutput

    names = {field.name for field in fields(GenerateDecoderOnlyOutput)}
    return "cache" if "cache" in names else "past_key_values"


def of(output: Any) -> Any:
    """The cache in an output of a model; None where there is none."""
    return getattr(output, argument_name(), None)


def recording(model: Any) -> Any:
    """An empty cache that forgets nothing, also in layers with a sliding window."""
    from transformers import DynamicCache

    made = DynamicCache(config=model.config)
    if hasattr(made, "activate_past_recording"):
        made.activate_past_recording()
    return made


def prefix(model: Any, whole: Any, length: int, every: int = 1) -> Any:
    """The first ``length`` tokens of every ``every``-th row, as a cache of its own.

    Args:
        model: the cache is of.
        whole: filled by ``generate``; it stays as it is.
        length: P.
        every: beams of the search: rows of a clip share their prompt.

    Returns:
        None where a layer does not keep what would be needed.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    made = DynamicCache(config=model.config)
    if not isinstance(whole, DynamicCache) or len(made.layers) not in (0, len(whole.layers)):
        return None
    for number, layer in enumerate(whole.layers):
        if not _has_keys(layer):
            if not _is_empty(layer):
                return None
            continue
        plain = type(layer) in (DynamicLayer, DynamicSlidingWindowLayer)
        if not plain or layer.keys.shape[-2] != layer.get_seq_length():
            return None
        made.update(layer.keys[::every, :, :length], layer.values[::every, :, :length], number)
    return made


def chosen_rows(whole: Any, rows: Tensor) -> Any:
    """A cache of the rows with these numbers, (R,), which may repeat; ``whole`` stays as it is."""
    made = copy.copy(whole)
    made.layers = [copy.copy(layer) for layer in whole.layers]
    for layer in made.layers:
        # layers with states instead of keys have them in dictionaries
        vars(layer).update({name: dict(value) for name, value in vars(layer).items() if isinstance(value, dict)})
        if not _is_empty(layer):
            layer.reorder_cache(rows)
    return made


def bytes_a_row(whole: Any) -> int:
    """Memory that one row of the cache takes."""
    tensors = [tensor for layer in whole.layers if _has_keys(layer) for tensor in (layer.keys, layer.values)]
    return sum(tensor[0].numel() * tensor.element_size() for tensor in tensors)


def _has_keys(layer: Any) -> bool:
    return getattr(layer, "keys", None) is not None


def _is_empty(layer: Any) -> bool:
    """Whether the layer keeps nothing, because it takes the keys of another layer or was not reached."""
    return type(layer).__name__ == "DummyLayer" or getattr(layer, "is_initialized", None) is False
