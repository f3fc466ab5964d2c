"""lite-motion: how a window of frames moves, after the camera's own shift is taken out.

Three views of the same flow are joined: a grid over the picture (where what moves which way), the left and the right
mover (the two clusters of motion along x, each with its place, extent, direction and rhythm) and the whole.

Notation: N windows, T frames (S = T - 1 steps between them), H x W pixels, K = 2 movers.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from evcap_backbones.lite.colour import luma
from evcap_backbones.lite.flow import dense_flow, distinct_pairs

GRID = (4, 8)
HALF_GRID = (2, 4)
CAMERA_GRID = (9, 12)
DIRECTIONS = 8
SPEED_EDGES_PIXELS = (0.25, 0.8, 2.0)
RHYTHMS = 7
"""Temporal frequencies kept, in cycles per window, from 1."""
STILL_PIXELS = 0.12
"""Flow below this, in pixels per frame, is noise of codec and arithmetic."""
CHANGE_FLOOR = 0.02
CLUSTER_STEPS = 6


def describe_windows(windows: Tensor) -> Tensor:
    """Windows to rows, RGB 0..1 (N, 3, T, H, W) -> (N, 412)."""
    light = luma(windows)
    n, frames, height, width = light.shape
    steps = frames - 1
    first, second, order = distinct_pairs(light)
    flow = dense_flow(first, second)
    camera = _camera_shift(flow)
    own = flow - camera.view(-1, 2, 1, 1)
    speed = torch.sqrt(own.square().sum(1) + 1e-12)
    moving = (1 - STILL_PIXELS / speed.clamp(min=STILL_PIXELS)).unsqueeze(1)
    own = (own * moving)[order].view(n, steps, 2, height, width)
    camera = camera[order]
    # A change of brightness that the flow explains badly (limbs faster than the search) still counts as motion.
    change = ((second - first).abs() - CHANGE_FLOOR).clamp(0, 0.3)[order].view(n, steps, height, width)
    rows = [
        _grid_view(own, change),
        _mover_view(own, change),
        _whole_view(own, camera.view(n, frames - 1, 2)),
    ]
    return torch.cat(rows, dim=1)


def _camera_shift(flow: Tensor) -> Tensor:
    """The shift most of the picture shares: a reweighted mean that starts at the median, (P, 2, H, W) -> (P, 2)."""
    cells = F.adaptive_avg_pool2d(flow, CAMERA_GRID).flatten(2)
    shift = cells.median(dim=2, keepdim=True).values
    for _ in range(3):
        weight = 1 / (1 + ((cells - shift) / 0.3).square().sum(1, keepdim=True)).square()
        shift = (cells * weight).sum(2, keepdim=True) / weight.sum(2, keepdim=True)
    return shift.squeeze(2)


def _signed_root(x: Tensor) -> Tensor:
    """Compress heavy tails, keep the sign."""
    return x / torch.sqrt(x.abs() + 1e-6)


def _grid_view(own: Tensor, change: Tensor) -> Tensor:
    """Directed motion, its unrest and plain change per cell; directed motion of each half of the window, coarsely."""
    n, steps = own.shape[:2]
    ways = torch.cat([own.clamp(min=0), (-own).clamp(min=0)], dim=2)  # right, down, left, up
    cells = F.adaptive_avg_pool2d(ways.flatten(0, 1), GRID).view(n, steps, 4, *GRID)
    speed = cells.sum(2)
    unrest = speed.std(1, correction=0, keepdim=True)
    changes = F.adaptive_avg_pool2d(change, GRID).mean(1, keepdim=True) * 4
    coarse = F.adaptive_avg_pool2d(cells.flatten(0, 1), HALF_GRID).view(n, steps, 4, *HALF_GRID)
    middle = steps // 2
    halves = torch.stack([coarse[:, :middle].mean(1), coarse[:, middle:].mean(1)], dim=1)
    whole = torch.cat([cells.mean(1), unrest, changes], dim=1)
    return torch.sqrt(torch.cat([whole.flatten(1), halves.flatten(1)], dim=1) + 1e-6)


def _mover_view(own: Tensor, change: Tensor) -> Tensor:
    """The left and the right mover, each described by signals over time and their rhythm.

    Motion is split in two along x by k-means on the columns' energy over the window. A lone mover near the middle is
    split in two halves that move alike, which a reader recognises.
    """
    _, steps, _, height, width = own.shape
    energy = torch.sqrt(own.square().sum(2) + 1e-12) + 4 * change  # (N, S, H, W)
    x = (torch.arange(width, dtype=own.dtype, device=own.device) + 0.5) / width
    y = (torch.arange(height, dtype=own.dtype, device=own.device) + 0.5) / height
    member = _two_clusters(energy.sum((1, 2)), x)  # (N, K, W)
    mass = torch.einsum("nshw,nkw->nskw", energy, member) / (height * width) + 1e-7  # over rows
    column = mass.sum(-1)  # (N, S, K)
    cx = (mass * x).sum(-1) / column
    sx = torch.sqrt(((mass * x * x).sum(-1) / column - cx * cx).clamp(min=0) + 1e-8)
    tall = torch.einsum("nshw,nkw->nskh", energy, member) / (height * width) + 1e-7
    total = tall.sum(-1)
    cy = (tall * y).sum(-1) / total
    sy = torch.sqrt(((tall * y * y).sum(-1) / total - cy * cy).clamp(min=0) + 1e-8)
    directed = torch.einsum("nschw,nkw->nskc", own, member) / (height * width)
    sides = torch.einsum("nschw,nkw->nskc", own.abs(), member) / (height * width)
    velocity = directed / (total.unsqueeze(-1) + 1e-4)
    signals = torch.stack(
        [
            2 * torch.sqrt(total),
            3 * cx,
            3 * cy,
            6 * sx,
            6 * sy,
            *_signed_root(directed).unbind(-1),
            *torch.sqrt(sides + 1e-8).unbind(-1),
            *(0.5 * velocity).unbind(-1),
        ],
        dim=-1,
    )  # (N, S, K, 11)
    middle = steps // 2
    trend = signals[:, middle:].mean(1) - signals[:, :middle].mean(1)
    summary = torch.stack([signals.mean(1), signals.std(1, correction=0), trend], dim=-1)
    beating = signals[..., [0, 2, 5, 6]]
    beating = beating - beating.mean(1, keepdim=True)
    spectrum = torch.fft.rfft(beating, dim=1).abs()[:, 1 : RHYTHMS + 1] / math.sqrt(steps)
    apart = cx[..., 1] - cx[..., 0]
    balance = torch.log((total[..., 1] + 1e-4) / (total[..., 0] + 1e-4)) / 3
    both = torch.stack([apart.mean(1), apart[:, -1] - apart[:, 0], balance.mean(1), balance.amax(1)], dim=1)
    return torch.cat([summary.flatten(1), spectrum.flatten(1), both], dim=1)


def _two_clusters(columns: Tensor, x: Tensor) -> Tensor:
    """Soft membership of columns in a left and a right cluster of energy, (N, W) -> (N, 2, W), sums to 1."""
    share = (columns + 1e-6) / (columns + 1e-6).sum(1, keepdim=True)
    rank = share.cumsum(1)
    # the columns where a fifth and four fifths of the energy are reached
    centres = torch.stack([(rank < quantile).to(x.dtype).mean(1) for quantile in (0.2, 0.8)], dim=1)
    member = share.new_zeros(share.shape[0], 2, share.shape[1])
    for _ in range(CLUSTER_STEPS):
        middle = centres.mean(1, keepdim=True)
        right = torch.sigmoid((x - middle) * 60)
        member = torch.stack([1 - right, right], dim=1)
        weight = member * share.unsqueeze(1)
        centres = (weight * x).sum(2) / (weight.sum(2) + 1e-9)
    return member


def _whole_view(own: Tensor, camera: Tensor) -> Tensor:
    """Histogram of direction by speed over the window, and what the camera did."""
    speed = torch.sqrt(own.square().sum(2) + 1e-12)
    angle = torch.atan2(own[:, :, 1], own[:, :, 0]) * (DIRECTIONS / (2 * math.pi))
    nearest = torch.round(angle).long() % DIRECTIONS
    band = torch.bucketize(speed, torch.tensor(SPEED_EDGES_PIXELS, dtype=speed.dtype, device=speed.device))
    bins = len(SPEED_EDGES_PIXELS) * DIRECTIONS
    index = torch.where(band > 0, (band - 1) * DIRECTIONS + nearest, torch.full_like(nearest, bins)).flatten(1)
    counts = torch.zeros(own.shape[0], bins + 1, dtype=own.dtype, device=own.device)
    counts.scatter_add_(1, index, torch.ones_like(index, dtype=own.dtype))
    histogram = 4 * torch.sqrt(counts[:, :bins] / index.shape[1])
    travel = _signed_root(camera)
    return torch.cat(
        [histogram, travel.mean(1), travel.std(1, correction=0), torch.sqrt(camera.abs().mean(1) + 1e-6)], dim=1
    )
