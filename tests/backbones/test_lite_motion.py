"""Flow and motion: textures moved by a known amount, movers on a known side, cameras that pan."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from evcap_backbones.lite.flow import dense_flow
from evcap_backbones.lite.motion import GRID, describe_windows
from torch import Tensor

RIGHT, DOWN, LEFT, UP = range(4)


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth random texture, contrast about one."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(1, 1, height // 5 + 2, width // 5 + 2, generator=generator)
    return F.interpolate(rough, size=(height, width), mode="bicubic", align_corners=False)[0, 0].clamp(0, 1)


def window_with_mover(step: tuple[int, int], left: int, *, seed: int = 0, frames: int = 16) -> Tensor:
    """A textured square on a flat ground, ``step`` pixels (x, y) further each frame, (1, 3, T, 48, 64)."""
    square = texture(16, 14, seed)
    window = torch.full((1, 3, frames, 48, 64), 0.5)
    for frame in range(frames):
        x, y = left + frame * step[0], 16 + frame * step[1]
        window[0, :, frame, y : y + 16, x : x + 14] = square
    return window


def ways(window: Tensor) -> Tensor:
    """The grid's mean motion right, down, left, up: (4, rows, columns)."""
    return describe_windows(window)[0, : 4 * GRID[0] * GRID[1]].view(4, *GRID)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, -1), (2, 1), (-3, 2)])
def test_flow_of_a_shifted_texture_is_the_shift(x: int, y: int) -> None:
    world = texture(80, 100)
    first, second = world[10:64, 10:82], world[10 - y : 64 - y, 10 - x : 82 - x]
    flow = dense_flow(first[None], second[None])[0, :, 8:-8, 8:-8]
    error = (flow - torch.tensor([x, y]).view(2, 1, 1)).square().sum(0).sqrt()
    # the rounds of a large shift do not settle fully: a third of a pixel is what this flow reaches there
    assert error.median() < (0.15 if max(abs(x), abs(y)) == 1 else 0.35)
    assert error.quantile(0.9) < 0.8


def test_flow_of_a_still_and_of_a_flat_picture_is_zero() -> None:
    still = texture(54, 72)[None]
    assert dense_flow(still, still).abs().max() < 1e-3
    assert dense_flow(torch.full((1, 54, 72), 0.2), torch.full((1, 54, 72), 0.8)).abs().max() < 1e-4


@pytest.mark.parametrize(("step", "way"), [((1, 0), RIGHT), ((-1, 0), LEFT), ((0, 1), DOWN), ((0, -1), UP)])
def test_a_moving_square_fills_the_cells_of_its_direction(step: tuple[int, int], way: int) -> None:
    cells = ways(window_with_mover(step, 26)).sum((1, 2))
    assert cells.argmax() == way
    opposite = (way + 2) % 4
    assert cells[way] > 2 * cells[opposite]


@pytest.mark.parametrize(("left", "side"), [(4, 0), (46, 1)])
def test_a_square_that_hops_on_one_side_moves_on_that_side(left: int, side: int) -> None:
    window = window_with_mover((0, 0), left)
    for frame in range(1, 16, 2):
        window[:, :, frame] = torch.roll(window[:, :, 0], 2, dims=2)
    halves = ways(window).sum((0, 1)).view(2, -1).sum(1)
    assert halves.argmax() == side
    assert halves[side] > 5 * halves[1 - side]


def test_a_panning_camera_is_not_motion_of_things() -> None:
    world = texture(48, 120)
    pan = torch.stack([world[:, t : t + 64] for t in range(16)]).expand(1, 3, 16, 48, 64)
    mover = window_with_mover((1, 0), 20)
    assert ways(pan)[:, 1:-1, 1:-1].mean() < 0.5 * ways(mover)[RIGHT, 1:-1, 1:-1].mean()
