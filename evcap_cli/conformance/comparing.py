"""How far two outputs of a backbone are apart, on a scale that means the same for every backbone.

Differences are relative to the largest magnitude of what is compared, so 1e-4 means the same for features around 0.01
and around 100. Detections have no fixed order or number: a threshold or a tie may decide the other way after a last
digit changed, so boxes are paired first and few may be left over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

REPEAT_TOLERANCE: Final = 1e-6
"""The same numbers went in at the same batch size: nothing may differ but the order in which threads add up."""
NEIGHBOUR_TOLERANCE: Final = 1e-5
"""Other rows next to it, the same batch size: the same kernels run, so a row differs by rounding at most."""
BATCH_TOLERANCE: Final = 1e-4
"""Another batch size: other kernels may run, which round differently; captions bear that, their scores hold to 1e-4."""
HALF_TOLERANCE: Final = 0.1
"""bfloat16 keeps 8 bits, 0.4 % a step, and a deep network takes a hundred steps: ``norm(a - b) / norm(b)``."""
LOST_BOXES: Final = 0.1
"""Share of a row's boxes that may be left without a partner, rounded down: none of nine, one of ten."""


def difference(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Largest difference of two rows, relative to the largest magnitude of both; infinite where they do not pair.

    A row is (features,), or (boxes, scores, features) of one frame.
    """
    if len(a) == 3:
        return _difference_of_detections(a, b)
    return _relative(a[0], b[0])


def norm_difference(a: Tensor, b: Tensor) -> float:
    """``norm(a - b) / norm(b)``."""
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm().clamp(min=1e-30))


def _relative(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    if not a.numel():
        return 0.0
    a, b = a.double(), b.double()
    largest = max(float(a.abs().max()), float(b.abs().max()))
    return 0.0 if largest == 0.0 else float((a - b).abs().max()) / largest


def _difference_of_detections(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Pair each box with the nearest free one (corners relative to the picture's extent, and score)."""
    import torch

    fewer, more = sorted((a, b), key=lambda part: len(part[1]))
    k, n = len(fewer[1]), len(more[1])
    if n - k > int(LOST_BOXES * n):
        return float("inf")
    if k == 0:
        return 0.0
    extent = float(torch.cat([a[0], b[0]]).abs().max().clamp(min=1.0))
    cost = torch.cdist(fewer[0].double() / extent, more[0].double() / extent)
    cost = cost + (fewer[1].double()[:, None] - more[1].double()[None, :]).abs()
    differences = []
    for _ in range(k):
        at = int(cost.argmin())
        i, j = divmod(at, n)
        boxes = _relative(fewer[0][i] / extent, more[0][j] / extent)
        scores, features = _relative(fewer[1][i], more[1][j]), _relative(fewer[2][i], more[2][j])
        differences.append(max(boxes, scores, features))
        cost[i, :] = torch.inf
        cost[:, j] = torch.inf
    differences.sort()
    return differences[-1 - min(int(LOST_BOXES * n) - (n - k), k - 1)]
