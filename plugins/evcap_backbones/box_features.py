"""A torchvision detector that also returns its box head's features of each detection, from the same forward pass.

torchvision's code runs unchanged. After it has chosen detections, each is matched with the proposal that gave this box
and this score for this class. Frames come prepared, so its own resizing is skipped.

Notation: N frames, P proposals of a frame, C classes with the background, k detections of a frame, D the box head's
width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

if TYPE_CHECKING:
    from torch import Tensor


class AsGiven(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Frames that are resized and normalised already: only put side by side, padded to what the pyramid divides."""

    def __init__(self, before: GeneralizedRCNNTransform) -> None:
        super().__init__(before.min_size, before.max_size, [0.0] * 3, [1.0] * 3, size_divisible=before.size_divisible)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The frame as it is."""
        return image, target


class _Tracing(nn.Module):
    """Replaces the RoI heads: calls them and adds "features" (k, D) to each frame's detections."""

    def __init__(self, heads: Any) -> None:
        super().__init__()
        self.heads = heads
        self.seen: dict[str, Tensor] = {}
        heads.box_head.register_forward_hook(lambda _module, _given, output: self.seen.update(features=output))
        heads.box_predictor.register_forward_hook(
            lambda _module, _given, output: self.seen.update(logits=output[0], deltas=output[1])
        )

    def forward(self, features: Any, proposals: list[Tensor], sizes: list[tuple[int, int]], targets: Any = None) -> Any:
        """What torchvision's ``RoIHeads`` gives, with features."""
        found, losses = self.heads(features, proposals, sizes, targets)
        counts = [len(boxes) for boxes in proposals]
        every = torch.split(self.heads.box_coder.decode(self.seen["deltas"], proposals), counts)  # N of (P, C, 4)
        scores = torch.split(torch.softmax(self.seen["logits"], dim=-1), counts)  # N of (P, C)
        known = torch.split(self.seen["features"], counts)
        for one, boxes, probabilities, rows, size in zip(found, every, scores, known, sizes, strict=True):
            one["features"] = rows[origins(one, boxes, probabilities, size)]
        self.seen.clear()
        return found, losses


def origins(found: dict[str, Tensor], boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> Tensor:
    """The proposals that detections came from.

    Args:
        found: "boxes" (k, 4), "scores" (k,) and "labels" (k,) of one frame.
        boxes: of all proposals and classes, (P, C, 4).
        scores: likewise, (P, C).
        size: (height, width) that boxes are cut to.

    Returns:
        (k,) numbers of proposals.
    """
    from torchvision.ops import clip_boxes_to_image

    of_class: Tensor = clip_boxes_to_image(boxes[:, found["labels"]], size)  # (P, k, 4)
    apart = (of_class - found["boxes"]).abs().amax(dim=-1) + (scores[:, found["labels"]] - found["scores"]).abs()
    # the right one is apart by nothing at all; two that are both right are the same box with the same score
    return apart.argmin(dim=0)


def keep_box_features(model: Any) -> None:
    """Make a torchvision ``FasterRCNN`` in evaluation take prepared frames and return "features" next to "boxes"."""
    model.transform = AsGiven(model.transform)
    model.roi_heads = _Tracing(model.roi_heads)
