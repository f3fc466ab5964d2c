"""Colour as the lite backbones see it: opponent axes, soft palettes and how unusual a colour is in its picture.

Notation: N pictures, H x W pixels. Pixels are RGB, 0..1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

HUES = 8
LIGHTNESSES = 6


def luma(rgb: Tensor) -> Tensor:
    """Perceived lightness, (N, 3, ...) -> (N, ...)."""
    return 0.299 * rgb[:, 0] + 0.587 * rgb[:, 1] + 0.114 * rgb[:, 2]


def opponent(rgb: Tensor) -> Tensor:
    """Lightness 0..1, red against green and yellow against blue -1..1, (N, 3, ...) -> (N, 3, ...)."""
    red, green, blue = rgb.unbind(1)
    return torch.stack([luma(rgb), red - green, 0.5 * (red + green) - blue], dim=1)


def soft_palette(axes: Tensor) -> Tensor:
    """Membership of each pixel in hues (weighted by chroma) and in shades of grey.

    Args:
        axes: opponent axes, (N, 3, H, W).

    Returns:
        (N, HUES + LIGHTNESSES, H, W), sums to 1 over the palette.
    """
    light, red_green, yellow_blue = axes.unbind(1)
    chroma = torch.sqrt(red_green * red_green + yellow_blue * yellow_blue)
    colourful = (chroma / 0.35).clamp(max=1.0)
    angle = torch.atan2(yellow_blue, red_green) * (HUES / (2 * math.pi))
    hues = triangular(angle, HUES, circular=True) * colourful.unsqueeze(1)
    greys = triangular(light.clamp(0, 1) * (LIGHTNESSES - 1), LIGHTNESSES) * (1 - colourful).unsqueeze(1)
    return torch.cat([hues, greys], dim=1)


def triangular(position: Tensor, bins: int, *, circular: bool = False) -> Tensor:
    """Share a position between its two nearest bins, (N, ...) -> (N, bins, ...).

    Args:
        position: in units of bins; circular ones may be any number, others lie in 0..bins - 1.
        bins: how many.
        circular: the last bin is a neighbour of the first.
    """
    centres = torch.arange(bins, dtype=position.dtype, device=position.device)
    away = position.unsqueeze(1) - centres.view(1, bins, *([1] * (position.dim() - 1)))
    if circular:
        away = away - bins * torch.round(away / bins)
    return (1 - away.abs()).clamp(min=0)
