"""Models without values: their parameters on torch's meta device, to be compared with a file before memory is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from typing_extensions import override


@contextmanager
def shapes_only() -> Iterator[None]:
    """What is built here has shapes and no values.

    First values are not drawn either: there are none, and on the meta device torch would import its compiler for them,
    which takes more than a second.
    """
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    @override
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        first = args[0] if args else given.get("tensor")
        if func == torch.randn:
            empty = torch.empty(*args, **{name: value for name, value in given.items() if name != "generator"})
            return empty if empty.is_meta else func(*args, **given)
        if isinstance(first, torch.Tensor) and first.is_meta:
            if func in _DRAWING:
                return first
            if func in _SCALING and isinstance(args[1], int | float):
                return torch.empty(first.shape, dtype=first.dtype)
        return func(*args, **given)


_DRAWING = (torch.Tensor.normal_, torch.nn.init.normal_)
_SCALING = (torch.Tensor.mul, torch.Tensor.__mul__)
