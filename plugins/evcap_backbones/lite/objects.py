"""lite-object: the regions that ``proposals`` finds, each with a descriptor of how it looks and where it is.

The descriptor does not depend on motion: the neighbours of a frame only help to find a region. It
holds place and size (so that attention can join it with motion at the same place), colours and oriented gradients of
the whole region, and the same, finer, of its head: the square at its top, where what has a face carries it.

Notation: N frames, K proposals a frame, R = N * K regions, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from evcap_backbones.lite.colour import opponent, soft_palette
from evcap_backbones.lite.gradients import orientation_cells
from evcap_backbones.lite.proposals import CELL, propose, saliency
from evcap_cli.backbones.contract import Detections

LEAST_SCORE = 0.3
"""Less is a speck or what is left of a region already found."""
BODY_SIZE, BODY_EDGES, BODY_COLOURS = (64, 48), (6, 4), (8, 6)
HEAD_SIZE, HEAD_EDGES, HEAD_COLOURS = (40, 40), (6, 6), (5, 5)
HEAD_SHARE = 0.5
"""Side of the head's square as a share of the region's height."""
PLACES = 6
"""Soft positions along x."""


def find_regions(windows: Tensor) -> list[Detections]:
    """Regions of the middle frames.

    Args:
        windows: RGB 0..1, (N, 3, T, H, W).

    Returns:
        N detections of at most ``PROPOSALS`` regions, the most confident first, features (k, 741).
    """
    salient = saliency(windows)
    boxes, scores = propose(salient)
    n, kept = scores.shape
    frames = windows[:, :, windows.shape[2] // 2]
    frames = frames.repeat_interleave(kept, dim=0)
    features = describe_regions(frames, boxes.flatten(0, 1), salient.repeat_interleave(kept, dim=0))
    features = features.view(n, kept, -1)
    sure = scores >= LEAST_SCORE
    return [Detections(boxes[i, sure[i]], scores[i, sure[i]], features[i, sure[i]]) for i in range(n)]


def describe_regions(frames: Tensor, boxes: Tensor, salient: Tensor) -> Tensor:
    """Descriptors of one region in each of R frames.

    Args:
        frames: RGB 0..1, (R, 3, H, W).
        boxes: xyxy in pixels, (R, 4).
        salient: what stands out in each frame, (R, h, w).

    Returns:
        (R, 741).
    """
    axes = opponent(frames)
    body = _crop(axes, _widened(boxes, 0.06), BODY_SIZE)
    head_box = _head(boxes, salient)
    head = _crop(axes, head_box, HEAD_SIZE)
    parts = [
        _geometry(boxes, head_box, frames.shape[-2], frames.shape[-1]),
        orientation_cells(body[:, 0], *BODY_EDGES),
        3 * F.adaptive_avg_pool2d(body, BODY_COLOURS),
        2 * torch.sqrt(F.adaptive_avg_pool2d(soft_palette(body), (2, 1)) + 1e-8),
        orientation_cells(head[:, 0], *HEAD_EDGES),
        3 * F.adaptive_avg_pool2d(head, HEAD_COLOURS),
    ]
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def _widened(boxes: Tensor, share: float) -> Tensor:
    """Boxes with a margin of ``share`` of their sides."""
    margin = share * (boxes[:, 2:] - boxes[:, :2])
    return torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1)


def _head(boxes: Tensor, salient: Tensor) -> Tensor:
    """The square at the top of each region, centred on what stands out in its upper third, (R, 4) xyxy in pixels."""
    height, width = salient.shape[-2:]
    rows = (torch.arange(height, device=boxes.device) + 0.5) * CELL
    columns = (torch.arange(width, device=boxes.device) + 0.5) * CELL
    x0, y0, x1, y1 = boxes.unsqueeze(2).unbind(1)
    across = ((columns > x0) & (columns < x1)).to(salient.dtype)
    down = ((rows > y0) & (rows < y0 + (y1 - y0) / 3)).to(salient.dtype)
    profile = (salient * down.unsqueeze(2)).sum(1) * across
    middle = (boxes[:, 0] + boxes[:, 2]) / 2
    centre = ((profile * columns).sum(1) + 1e-2 * middle) / (profile.sum(1) + 1e-2)
    side = HEAD_SHARE * (boxes[:, 3] - boxes[:, 1])
    top = boxes[:, 1] - 0.04 * side
    return torch.stack([centre - side / 2, top, centre + side / 2, top + side], dim=1)


def _crop(pictures: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Regions stretched to one size, edges of the picture repeated, (R, C, H, W) and (R, 4) -> (R, C, *size)."""
    height, width = pictures.shape[-2:]
    scale = torch.tensor([2 / width, 2 / height], device=boxes.device)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 * scale - 1
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * scale
    zero = torch.zeros_like(half[:, 0])
    rows = [torch.stack([half[:, 0], zero, centre[:, 0]], 1), torch.stack([zero, half[:, 1], centre[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [len(boxes), pictures.shape[1], *size], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _geometry(boxes: Tensor, head: Tensor, height: int, width: int) -> Tensor:
    """Where a region is and how large: centre, sides, shape, its head's place in it, soft position along x."""
    size = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    x0, y0, x1, y1 = (boxes / size).unbind(1)
    x, y, wide, tall = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    turned = ((head[:, 0] + head[:, 2]) / (2 * width) - x) / (wide + 0.02)
    shape = torch.log((wide * width + 1) / (tall * height + 1))
    plain = torch.stack([4 * (x - 0.5), 4 * (y - 0.5), 4 * wide, 4 * tall, shape, 4 * turned], dim=1)
    centres = torch.linspace(0, 1, PLACES, dtype=boxes.dtype, device=boxes.device)
    soft = torch.exp(-0.5 * ((x.unsqueeze(1) - centres) * PLACES).square())
    return torch.cat([plain, 2 * soft, y0.unsqueeze(1), y1.unsqueeze(1)], dim=1)
