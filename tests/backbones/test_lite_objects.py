"""Regions: textured things on plain ground are found whole, apart, and described without their motion."""

from __future__ import annotations

import torch
from evcap_backbones.lite.objects import find_regions
from torch import Tensor

from evcap_cli.features.tracks import box_iou

HEIGHT, WIDTH = 144, 192


def scene(*boxes: tuple[int, int, int, int], step: int = 0, seed: int = 0) -> Tensor:
    """A window of three frames with a finely textured thing in each box (xyxy), moving ``step`` pixels a frame."""
    generator = torch.Generator().manual_seed(seed)
    window = torch.full((1, 3, 3, HEIGHT, WIDTH), 0.45)
    window[:, 2, :, HEIGHT // 2 :] = 0.3
    for x0, y0, x1, y1 in boxes:
        thing = torch.rand(3, (y1 - y0) // 4 + 1, (x1 - x0) // 4 + 1, generator=generator)
        thing = thing.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, : y1 - y0, : x1 - x0]
        for frame in range(3):
            shift = (frame - 1) * step
            window[0, :, frame, y0:y1, x0 + shift : x1 + shift] = thing
    return window


def test_one_thing_is_one_box_around_the_whole_of_it() -> None:
    found = find_regions(scene((70, 30, 110, 130)))[0]
    assert len(found.boxes) == 1
    assert box_iou(found.boxes, torch.tensor([[70.0, 30, 110, 130]]))[0, 0] > 0.75


def test_two_things_are_the_two_boxes() -> None:
    truth = torch.tensor([[20.0, 40, 60, 130], [120.0, 30, 164, 134]])
    found = find_regions(scene((20, 40, 60, 130), (120, 30, 164, 134)))[0]
    assert len(found.boxes) == 2
    assert (box_iou(found.boxes, truth).amax(0) > 0.7).all()
    assert found.scores[0] >= found.scores[1]


def test_boxes_stay_inside_the_frame_for_any_picture() -> None:
    torch.manual_seed(3)
    pictures = [torch.rand(4, 3, 3, HEIGHT, WIDTH), scene((0, 0, 40, 144)), scene((150, 20, 192, 144))]
    for found in (one for window in pictures for one in find_regions(window)):
        x0, y0, x1, y1 = found.boxes.unbind(1)
        assert (x0 >= 0).all()
        assert (y0 >= 0).all()
        assert (x1 <= WIDTH).all()
        assert (y1 <= HEIGHT).all()
        assert (x1 > x0).all()
        assert (y1 > y0).all()
        assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_nothing_in_an_empty_picture() -> None:
    assert all(len(found.boxes) == 0 for found in find_regions(torch.full((2, 3, 3, HEIGHT, WIDTH), 0.6)))


def test_the_descriptor_says_where_and_how_it_looks_but_not_how_it_moves() -> None:
    still, moving = (find_regions(scene((70, 30, 110, 130), step=step))[0].features[0] for step in (0, 4))
    elsewhere = find_regions(scene((30, 30, 70, 130)))[0].features[0]
    other = find_regions(scene((70, 30, 110, 130), seed=9))[0].features[0]
    assert (still - moving).abs().mean() < 0.5 * (still - other).abs().mean()
    assert still[0] - elsewhere[0] > 0.5, "column 0 is the place along x"
