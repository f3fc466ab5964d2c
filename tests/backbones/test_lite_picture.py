"""Appearance and gradients: against slow references and against pictures whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import torch
from evcap_backbones.lite.appearance import COLOUR_GRID, describe_frames
from evcap_backbones.lite.colour import HUES, LIGHTNESSES, opponent, soft_palette
from evcap_backbones.lite.gradients import ORIENTATIONS, orientation_cells, orientation_energy


def test_palette_memberships_sum_to_one_and_a_grey_has_no_hue() -> None:
    torch.manual_seed(0)
    shares = soft_palette(opponent(torch.rand(2, 3, 8, 9)))
    assert shares.shape == (2, HUES + LIGHTNESSES, 8, 9)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 8, 9))
    grey = soft_palette(opponent(torch.full((1, 3, 4, 4), 0.4)))
    assert grey[:, :HUES].abs().max() < 1e-5


def test_oriented_energy_equals_a_loop_over_pixels() -> None:
    rng = np.random.default_rng(1)
    picture = rng.random((6, 7)).astype(np.float32)
    expected = np.zeros((ORIENTATIONS, 6, 7))
    for y in range(6):
        for x in range(7):
            across = 0.5 * (picture[y, min(x + 1, 6)] - picture[y, max(x - 1, 0)])
            down = 0.5 * (picture[min(y + 1, 5), x] - picture[max(y - 1, 0), x])
            place = (math.atan2(down, across) % math.pi) / math.pi * ORIENTATIONS
            low = math.floor(place)
            expected[low % ORIENTATIONS, y, x] += math.hypot(across, down) * (1 - (place - low))
            expected[(low + 1) % ORIENTATIONS, y, x] += math.hypot(across, down) * (place - low)
    found = orientation_energy(torch.from_numpy(picture)[None])[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_vertical_and_horizontal_stripes_fill_different_orientations() -> None:
    stripes = ((torch.arange(48) // 4) % 2).float()
    upright = orientation_cells(stripes.expand(1, 48, 48), 1, 1).view(ORIENTATIONS)
    lying = orientation_cells(stripes.view(48, 1).expand(1, 48, 48), 1, 1).view(ORIENTATIONS)
    assert upright.argmax() == 0
    assert lying.argmax() == ORIENTATIONS // 2


def test_colour_of_a_corner_changes_the_columns_of_that_corner_only() -> None:
    frame = torch.full((1, 3, 96, 128), 0.5)
    reddened = frame.clone()
    reddened[:, 0, :24, :21] = 1.0
    before, after = (
        describe_frames(f)[0, : 3 * math.prod(COLOUR_GRID)].view(3, *COLOUR_GRID) for f in (frame, reddened)
    )
    changed = (after - before).abs().amax(0) > 1e-3
    assert changed[0, 0]
    assert int(changed.sum()) == 1
    assert (after - before)[1, 0, 0] > 0.5, "red against green"
