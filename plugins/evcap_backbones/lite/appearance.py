"""lite-appearance: what a frame looks like, as colour and edge statistics on grids. No memory of other frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from evcap_backbones.lite.colour import luma, opponent, soft_palette
from evcap_backbones.lite.gradients import orientation_cells

COLOUR_GRID = (4, 6)
EDGE_GRID = (6, 8)
PALETTE_BANDS = (3, 1)
"""Palettes of the upper, middle and lower third: sky, middle ground, floor."""


def describe_frames(frames: Tensor) -> Tensor:
    """Frames to rows.

    Args:
        frames: RGB 0..1, (N, 3, H, W).

    Returns:
        (N, 592): mean and deviation of the opponent axes on a grid, palettes in bands and overall, oriented gradients.
    """
    axes = opponent(frames)
    mean = F.adaptive_avg_pool2d(axes, COLOUR_GRID)
    square = F.adaptive_avg_pool2d(axes * axes, COLOUR_GRID)
    deviation = torch.sqrt((square - mean * mean).clamp(min=0) + 1e-8)
    palette = F.adaptive_avg_pool2d(soft_palette(axes), PALETTE_BANDS)
    palette = torch.cat([palette, palette.mean(2, keepdim=True)], dim=2)
    edges = orientation_cells(luma(frames), *EDGE_GRID)
    whole = torch.stack([axes.mean((2, 3)), axes.std((2, 3), correction=0)], dim=1)
    flash = axes[:, 0].flatten(1)
    extremes = torch.stack([flash.amax(1), flash.amin(1)], dim=1)
    rows = [4 * (mean - 0.25), 8 * deviation, 2 * torch.sqrt(palette + 1e-8), edges, 4 * whole, extremes]
    return torch.cat([row.flatten(1) for row in rows], dim=1)
