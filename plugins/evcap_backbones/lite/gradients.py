"""Gradient orientations gathered in cells, the descriptor of shape that all lite picture streams share.

Notation: N pictures, H x W pixels, O orientations.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from evcap_backbones.lite.colour import triangular

ORIENTATIONS = 8


def central_differences(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical derivative, edges repeated, (N, H, W) -> two (N, H, W)."""
    padded = F.pad(picture.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    across = 0.5 * (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2])
    down = 0.5 * (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])
    return across, down


def orientation_energy(picture: Tensor, orientations: int = ORIENTATIONS) -> Tensor:
    """Edge strength per unsigned orientation, (N, H, W) -> (N, O, H, W)."""
    across, down = central_differences(picture)
    strength = torch.sqrt(across * across + down * down + 1e-12)
    angle = torch.atan2(down, across) * (orientations / math.pi)
    return triangular(angle, orientations, circular=True) * strength.unsqueeze(1)


def orientation_cells(picture: Tensor, rows: int, columns: int, orientations: int = ORIENTATIONS) -> Tensor:
    """Histograms of oriented gradients, each cell measured against its surroundings.

    Returns:
        (N, O * rows * columns), 0 where there is no edge, at most about 1.
    """
    cells = F.adaptive_avg_pool2d(orientation_energy(picture, orientations), (rows, columns))
    energy = cells.square().sum(1, keepdim=True)
    around = F.avg_pool2d(energy, 3, stride=1, padding=1, count_include_pad=False)
    return torch.sqrt(cells / torch.sqrt(around + 1e-4)).flatten(1)
