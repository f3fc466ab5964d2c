"""Dense optical flow by pyramidal Lucas-Kanade: every pair of a batch at once, a loop over scales only.

Where the picture has no texture the least-squares problem says nothing; its damping then leaves the flow of the
coarser scale, and at the coarsest zero, so flat surfaces stand still instead of wandering.

Notation: P pairs of pictures, H x W pixels. Flow is in pixels from the first to the second picture, x to the right
and y downwards.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from evcap_backbones.lite.gradients import central_differences

LEVELS = 3
ITERATIONS = (2, 2, 1)
"""Refinements per level, coarsest first."""
WINDOW = 5
DAMPING = 2e-4
"""Added to the structure tensor: gradients below about 0.015 of full contrast per pixel count as none."""
MAX_STEP_PIXELS = 1.5
"""A linearised step further than this is not believed."""


def dense_flow(first: Tensor, second: Tensor) -> Tensor:
    """Flow between pairs of pictures, (P, H, W) twice -> (P, 2, H, W) as (x, y)."""
    firsts, seconds = _pyramid(first), _pyramid(second)
    flow = torch.zeros(first.shape[0], 2, *firsts[-1].shape[-2:], dtype=first.dtype, device=first.device)
    for level, iterations in zip(reversed(range(LEVELS)), ITERATIONS, strict=True):
        size = firsts[level].shape[-2:]
        if flow.shape[-2:] != size:
            scale = torch.tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]], dtype=flow.dtype)
            flow = F.interpolate(flow, size=tuple(size), mode="bilinear", align_corners=False)
            flow = flow * scale.to(flow.device).view(1, 2, 1, 1)
        flow = _refine(firsts[level], seconds[level], flow, iterations)
    return flow


def distinct_pairs(light: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbouring frames of windows, each pair once: windows of close moments share most of their frames.

    Frames count as the same only when every pixel is; a weighted sum finds the candidates.

    Args:
        light: (N, T, H, W).

    Returns:
        First and second frames (P, H, W), and for each of the N * (T - 1) steps the number of its pair.
    """
    n, frames, height, width = light.shape
    flat = light.reshape(n * frames, height * width)
    weights = torch.cos(torch.arange(1, height * width + 1, dtype=torch.float64, device=light.device) ** 1.5)
    # one product a row, whatever the batch: a matrix product may round differently for another number of rows
    marks = (flat.double() * weights).sum(1)
    known, number = torch.unique(marks, return_inverse=True)
    example = torch.zeros(len(known), dtype=torch.long, device=light.device)
    example[number] = torch.arange(n * frames, device=light.device)
    same = (flat == flat[example[number]]).all(1)
    number = torch.where(same, example[number], torch.arange(n * frames, device=light.device)).view(n, frames)
    pairs, order = torch.unique(number[:, :-1] * (n * frames) + number[:, 1:], return_inverse=True)
    first = flat[pairs // (n * frames)].view(-1, height, width)
    second = flat[pairs % (n * frames)].view(-1, height, width)
    return first, second, order.flatten()


def _pyramid(picture: Tensor) -> list[Tensor]:
    """The picture, smoothed, and its halvings, finest first."""
    levels = [_box(picture, 3)]
    for _ in range(LEVELS - 1):
        levels.append(F.avg_pool2d(levels[-1].unsqueeze(1), 2, ceil_mode=True, count_include_pad=False).squeeze(1))
    return levels


def _refine(first: Tensor, second: Tensor, flow: Tensor, iterations: int) -> Tensor:
    """Move the flow towards brightness constancy of the warped second picture."""
    height, width = first.shape[-2:]
    across, down = central_differences(first)
    xx = _box(across * across, WINDOW) + DAMPING
    yy = _box(down * down, WINDOW) + DAMPING
    xy = _box(across * down, WINDOW)
    inverse = 1 / (xx * yy - xy * xy)
    rows = torch.arange(height, dtype=first.dtype, device=first.device).view(1, height, 1)
    columns = torch.arange(width, dtype=first.dtype, device=first.device).view(1, 1, width)
    for _ in range(iterations):
        # grid_sample takes -1..1 between the outer edges of the outer pixels
        grid = torch.stack(
            [(columns + flow[:, 0] + 0.5) * (2 / width) - 1, (rows + flow[:, 1] + 0.5) * (2 / height) - 1], dim=-1
        )
        warped = F.grid_sample(second.unsqueeze(1), grid, padding_mode="border", align_corners=False).squeeze(1)
        change = warped - first
        bx, by = _box(across * change, WINDOW), _box(down * change, WINDOW)
        step = torch.stack([xy * by - yy * bx, xy * bx - xx * by], dim=1) * inverse.unsqueeze(1)
        flow = flow + step.clamp(-MAX_STEP_PIXELS, MAX_STEP_PIXELS)
    return flow


def _box(picture: Tensor, width: int) -> Tensor:
    """Mean over a square window, (P, H, W) -> (P, H, W), one axis after the other."""
    half = width // 2
    row = F.avg_pool2d(picture.unsqueeze(1), (1, width), 1, (0, half), count_include_pad=False)
    return F.avg_pool2d(row, (width, 1), 1, (half, 0), count_include_pad=False).squeeze(1)
