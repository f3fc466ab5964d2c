"""Where the objects of a frame are: a saliency map and the boxes that hold its lumps whole.

Salient is what is in focus (fine edges, measured against the light there is), what has a colour that the border of
the picture lacks, and what was not there a moment before nor a moment after. Boxes of many shapes are scored at every
place by sums over an integral image: a good one holds much, leaves little just outside and has no gap inside. The
best is kept, what it holds is taken away, and the next is looked for. No scene, class or trained weight is involved.

Notation: N frames, H x W pixels, h x w cells of ``CELL`` pixels, C candidate boxes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from evcap_backbones.lite.colour import luma, opponent, soft_palette
from evcap_backbones.lite.gradients import central_differences

PROPOSALS = 2
"""Boxes a frame."""
CELL = 4
COARSE = 2
"""Cells between neighbouring candidate boxes."""
HEIGHTS = (6, 8, 10, 12, 14, 16)
WIDTHS = (4, 5, 6, 7, 8, 10, 12)
"""Sides of the candidates, in steps of ``COARSE`` cells."""
LEAK_PRICE = 1.0
HALF_SURE = 20.0
EDGE_SHARE = 0.01


def saliency(window: Tensor) -> Tensor:
    """How much each cell of the middle frame stands out.

    Args:
        window: RGB 0..1, (N, 3, T, H, W).

    Returns:
        (N, h, w), 0..1.
    """
    middle = window.shape[2] // 2
    frame = window[:, :, middle]
    light = luma(window)
    focus = _focus(light[:, middle])
    rare = _rarity(frame)
    moved = _moved(light, middle)
    joint = focus + 0.5 * rare + 0.5 * moved
    smooth = F.avg_pool2d(joint.unsqueeze(1), 3, 1, 1, count_include_pad=False).squeeze(1)
    return (1.6 * (smooth - 0.28)).clamp(0, 1)


def _focus(light: Tensor) -> Tensor:
    """Strength of the sharpest edge in and around a cell, (N, H, W) -> (N, h, w), 0..1."""
    across, down = central_differences(light)
    coarse = F.avg_pool2d(light.unsqueeze(1), 3, 1, 1, count_include_pad=False).squeeze(1)
    detail = (light - coarse).abs()
    edge = torch.sqrt(across.square() + down.square() + 1e-12)
    around = F.avg_pool2d(coarse.unsqueeze(1), 4 * CELL + 1, 4, 2 * CELL, count_include_pad=False).squeeze(1)
    sharp = F.avg_pool2d((detail * (edge / (edge + 0.03))).unsqueeze(1), CELL).squeeze(1)
    # In the dark all differences are small: the eye compares them with the light there is.
    return (sharp / (0.006 + 0.05 * around)).clamp(0, 1)


def _rarity(frame: Tensor) -> Tensor:
    """How little a cell's colours are found along the border of the picture, (N, 3, H, W) -> (N, h, w), 0..1."""
    palette = F.avg_pool2d(soft_palette(opponent(F.avg_pool2d(frame, 2))), CELL // 2)
    border = torch.cat(
        [palette[:, :, :2].flatten(2), palette[..., :2].flatten(2), palette[..., -2:].flatten(2)], dim=2
    ).mean(2)
    return (1 - ((palette * border[:, :, None, None]).sum(1) / 0.15)).clamp(0, 1)


def _moved(light: Tensor, middle: int) -> Tensor:
    """Difference to the frames before and after, the smaller of both: no ghosts of where things were."""
    cells = F.avg_pool2d((light[:, middle : middle + 1] - light).abs(), CELL)
    before, after = cells[:, :middle], cells[:, middle + 1 :]
    if not before.shape[1] or not after.shape[1]:
        return torch.zeros_like(cells[:, 0])
    return (torch.minimum(before.amax(1), after.amax(1)) / 0.1).clamp(0, 1)


def propose(salient: Tensor) -> tuple[Tensor, Tensor]:
    """The best boxes of each frame, one after the other.

    Args:
        salient: (N, h, w), 0..1.

    Returns:
        Boxes xyxy in pixels (N, PROPOSALS, 4) and scores 0..1 (N, PROPOSALS), the most confident first; a score of 0
        says that nothing was left to find.
    """
    height, width = salient.shape[-2:]
    left = salient
    boxes, scores = [], []
    rows, columns = _places(height, width, salient.device)
    for _ in range(PROPOSALS):
        box, score = _best_box(left)
        box = _tighten(left, box)
        boxes.append(box)
        scores.append(score)
        inside = _inside(box, rows, columns)
        left = left * (1 - inside)
    return torch.stack(boxes, 1) * CELL, torch.stack(scores, 1)


def _places(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return (
        torch.arange(height, device=device, dtype=torch.float32) + 0.5,
        torch.arange(width, device=device, dtype=torch.float32) + 0.5,
    )


def _inside(box: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """1 for cells whose centre a box holds, (N, 4) -> (N, h, w)."""
    across = (columns > box[:, None, 0]) & (columns < box[:, None, 2])
    down = (rows > box[:, None, 1]) & (rows < box[:, None, 3])
    return (down.unsqueeze(2) & across.unsqueeze(1)).to(rows.dtype)


def _best_box(salient: Tensor) -> tuple[Tensor, Tensor]:
    """The candidate with the highest score, (N, h, w) -> (N, 4) xyxy in cells, (N,)."""
    coarse = F.avg_pool2d(salient.unsqueeze(1), COARSE, ceil_mode=True, count_include_pad=False).squeeze(1)
    height, width = coarse.shape[-2:]
    # One row and column more on each side, repeating the edge: a box grown beyond the picture is cut to it.
    integral = F.pad(F.pad(coarse.cumsum(1).cumsum(2), (1, 0, 1, 0)).unsqueeze(1), (1, 1, 1, 1), mode="replicate")
    integral = integral.squeeze(1)
    scores, boxes = [], []
    for tall, wide in _shapes(height, width):
        inner = integral[:, 1:-1, 1:-1]
        inside_sum = _box_sums(inner, tall, wide)
        leak = _box_sums(integral, tall + 2, wide + 2) - inside_sum
        band = inner[:, tall:] - inner[:, :-tall]
        score = (inside_sum - LEAK_PRICE * leak) * (1 - _gap(band[:, :, 1:] - band[:, :, :-1], wide))
        scores.append(score.flatten(1))
        boxes.append(_boxes_of(score, tall, wide))
    best, index = torch.cat(scores, 1).max(1)
    return torch.cat(boxes)[index].to(salient.dtype) * COARSE, best.clamp(min=0) / (best.clamp(min=0) + HALF_SURE)


def _shapes(height: int, width: int) -> list[tuple[int, int]]:
    """Sides of the candidates in coarse cells, none beyond the picture."""
    talls, wides = sorted({min(tall, height) for tall in HEIGHTS}), sorted({min(wide, width) for wide in WIDTHS})
    return [(tall, wide) for tall in talls for wide in wides]


def _boxes_of(score: Tensor, tall: int, wide: int) -> Tensor:
    """All places of one shape as ``score`` (N, tops, lefts) lists them, (tops * lefts, 4) xyxy in coarse cells."""
    tops, lefts = (torch.arange(count, device=score.device) for count in score.shape[-2:])
    y, x = torch.meshgrid(tops, lefts, indexing="ij")
    return torch.stack([x, y, x + wide, y + tall], dim=-1).flatten(0, 1)


def _box_sums(integral: Tensor, tall: int, wide: int) -> Tensor:
    """Sums over all places of one shape, (N, h + 1, w + 1) -> (N, h + 1 - tall, w + 1 - wide)."""
    band = integral[:, tall:] - integral[:, :-tall]
    return band[:, :, wide:] - band[:, :, :-wide]


def _gap(columns: Tensor, wide: int) -> Tensor:
    """How far the columns in the middle half of a box fall below the heaps on both sides of it.

    Args:
        columns: sums of the columns within the height of the box, (N, tops, w).
        wide: width of the box.

    Returns:
        Share of the lower heap that is missing in the valley, 0..1, (N, tops, w + 1 - wide).
    """
    side = max(1, wide // 2)
    quarter = wide // 4
    heaps = F.max_pool1d(columns, side, 1)
    lefts = columns.shape[2] + 1 - wide
    lower = torch.minimum(heaps[:, :, :lefts], heaps[:, :, wide - side : wide - side + lefts])
    valley = -F.max_pool1d(-columns, wide - 2 * quarter, 1)[:, :, quarter : quarter + lefts]
    return ((lower - valley) / (lower + 0.5)).clamp(min=0)


def _tighten(salient: Tensor, box: Tensor) -> Tensor:
    """Move the sides of a box to where its content begins, (N, h, w) and (N, 4) -> (N, 4), in cells."""
    height, width = salient.shape[-2:]
    rows, columns = _places(height, width, salient.device)
    near = box + torch.tensor([-1.0, -1.0, 1.0, 1.0], device=box.device)
    kept = salient * _inside(near, rows, columns)
    x0, x1 = _extent(kept.sum(1))
    y0, y1 = _extent(kept.sum(2))
    empty = kept.sum((1, 2)) < 1e-3
    tight = torch.stack([x0, y0, x1, y1], dim=1)
    return torch.where(empty.unsqueeze(1), box, tight)


def _extent(profile: Tensor) -> tuple[Tensor, Tensor]:
    """Where a profile has reached ``EDGE_SHARE`` and ``1 - EDGE_SHARE`` of its sum, (N, L) -> two (N,), in cells."""
    share = profile.cumsum(1) / (profile.sum(1, keepdim=True) + 1e-9)
    reached = F.pad(share, (1, 0))
    return _crossing(reached, EDGE_SHARE), _crossing(reached, 1 - EDGE_SHARE)


def _crossing(reached: Tensor, level: float) -> Tensor:
    """Position where a rising line from 0 to 1 passes ``level``, between its points, (N, L + 1) -> (N,)."""
    after = (reached < level).sum(1).clamp(1, reached.shape[1] - 1)
    high = reached.gather(1, after.unsqueeze(1)).squeeze(1)
    low = reached.gather(1, after.unsqueeze(1) - 1).squeeze(1)
    return after - 1 + ((level - low) / (high - low + 1e-9)).clamp(0, 1)
