"""What ``extract`` may answer: shapes and types by the spec, taken apart into tensors and put together again.

Nothing here waits for a device: shapes are known before values are. Notation: N rows of a batch, k objects of a frame,
D the backbone's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evcap_cli.backbones.contract import Detections

if TYPE_CHECKING:
    from torch import Tensor

    from evcap_cli.backbones.contract import BackboneSpec
    from evcap_cli.features.runner import Result


def take_apart(output: Any, spec: BackboneSpec, count: int) -> tuple[list[Tensor], list[int] | None]:
    """The tensors of an answer for ``count`` rows, and of objects how many each row has.

    Raises:
        ValueError: it is not what the spec says; the text goes on from "the backbone ...".
    """
    import torch

    if spec.kind == "object":
        return _take_detections_apart(output, spec.dim, count)
    if not isinstance(output, torch.Tensor):
        raise ValueError(f"returned {type(output).__name__}, not a tensor")
    dimensions = 3 if spec.kind == "audio" else 2
    if output.ndim != dimensions or output.shape[0] != count or output.shape[-1] != spec.dim:
        expected = f"({count}, steps, {spec.dim})" if spec.kind == "audio" else f"({count}, {spec.dim})"
        raise ValueError(f"returned shape {tuple(output.shape)}, its spec says {expected}")
    return [output], None


def _take_detections_apart(output: Any, dim: int, count: int) -> tuple[list[Tensor], list[int]]:
    import torch

    right = isinstance(output, Sequence) and len(output) == count and all(isinstance(d, Detections) for d in output)
    if not right:
        raise ValueError(f"must return a list of {count} Detections")
    for found in output:
        k = len(found.scores)
        shapes = tuple(tuple(part.shape) for part in (found.boxes, found.scores, found.features))
        if shapes != ((k, 4), (k,), (k, dim)):
            raise ValueError(f"returned detections of shapes {shapes}, its spec says (k, 4), (k,), (k, {dim})")
    # three tensors rather than three a frame: each copy from a device has its price
    fields = ([d.boxes for d in output], [d.scores for d in output], [d.features for d in output])
    return [torch.cat([part.float() for part in parts]) for parts in fields], [len(d.scores) for d in output]


def put_together(parts: Sequence[Tensor], counts: list[int] | None) -> list[Result]:
    """One result a row: (D,), (steps, D), or ``Detections``."""
    if counts is None:
        return list(parts[0].unbind(0))
    import torch

    split: Any = torch.split  # carries no types
    boxes, scores, features = (split(part, counts) for part in parts)
    return [Detections(*each) for each in zip(boxes, scores, features, strict=True)]
