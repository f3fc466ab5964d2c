"""From boxes in neighbouring frames to objects of a clip: clusters by IoU, mean-pooled (paper 1.1, *Decision*).

Notation: a snippet is a key frame with its neighbours; K detections of all its frames together; D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

    from evcap_cli.backbones.contract import Detections

SAME_OBJECT_IOU: Final = 0.5
OBJECTS_A_CLIP: Final = 16


@dataclass(frozen=True)
class Tracks:
    """Objects of one snippet: score (M,) of the most confident box of each, features (M, D) averaged over its boxes."""

    scores: Tensor
    features: Tensor


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of (K, 4) and (L, 4) boxes xyxy, (K, L); boxes without area overlap nothing."""
    import torch

    top_left = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(dim=2)
    areas = [(b[:, 2:] - b[:, :2]).clamp(min=0).prod(dim=1) for b in (boxes, others)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), torch.zeros_like(union))


def tracks_of_snippet(frames: Sequence[Detections]) -> Tracks:
    """Cluster the detections of a snippet's frames: the most confident box takes all that overlap it, and so on.

    Greedy around seeds rather than chains of overlaps, so that a row of neighbours does not melt into one object. Equal
    scores go by frame, then by place in the detector's list.
    """
    import torch

    boxes = torch.cat([d.boxes for d in frames]).double()
    scores = torch.cat([d.scores for d in frames]).float()
    features = torch.cat([d.features for d in frames]).float()
    order = torch.argsort(scores, descending=True, stable=True)
    boxes, scores, features = boxes[order], scores[order], features[order]
    near = box_iou(boxes, boxes) >= SAME_OBJECT_IOU
    near.fill_diagonal_(True)  # a box without area is still an object
    free = torch.ones(len(order), dtype=torch.bool)
    seeds, pooled = [], []
    for seed in range(len(order)):
        if free[seed]:
            members = near[seed] & free
            free &= ~members
            seeds.append(seed)
            pooled.append(features[members].mean(dim=0))
    return Tracks(scores[seeds], torch.stack(pooled) if pooled else features)


def objects_of_clip(snippets: Sequence[Tracks], limit: int = OBJECTS_A_CLIP) -> tuple[Tensor, Tensor]:
    """The most confident tracks of a clip, in time order.

    Returns:
        features (M, D) with M <= ``limit``, and the index of the snippet of each, (M,).
    """
    import torch

    scores = torch.cat([tracks.scores for tracks in snippets])
    features = torch.cat([tracks.features for tracks in snippets])
    owner = torch.repeat_interleave(torch.arange(len(snippets)), torch.tensor([len(t.scores) for t in snippets]))
    best = torch.argsort(scores, descending=True, stable=True)[:limit]
    kept = torch.sort(best).values
    return features[kept], owner[kept]
