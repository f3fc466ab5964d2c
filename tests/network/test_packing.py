"""Packed captions, against loops over captions and steps."""

from __future__ import annotations

import pytest
import torch

from evcap_cli.network.packing import LongestFirst, WordScores, pack

LENGTHS = [3, 5, 1, 5, 2]


def values() -> torch.Tensor:
    """Caption r, step t: [10 r + t]."""
    return (10 * torch.arange(5)[:, None] + torch.arange(5)).unsqueeze(-1).float()


def packed() -> list[float]:
    return [10 * r + t for r, length in enumerate(LENGTHS) for t in range(length)]


def test_real_steps_follow_each_other_caption_by_caption() -> None:
    assert pack(values(), LENGTHS)[:, 0].tolist() == packed()
    assert torch.equal(pack(values(), [5] * 5), values().flatten(0, 1))


@pytest.mark.parametrize("lengths", [LENGTHS, None])
def test_scores_computed_for_all_steps_are_packed_and_padded_again(lengths: list[int] | None) -> None:
    scores = WordScores.of(values(), lengths)
    real = torch.arange(5) < torch.tensor(lengths or [5] * 5)[:, None]
    assert sum(scores.lengths) == len(scores.logits) == int(real.sum())
    assert torch.equal(scores.padded(), values() * real[:, :, None])
    assert torch.equal(scores.packed(values()), scores.logits)


def test_captions_that_still_run_are_the_first_rows_and_come_back_in_their_own_order() -> None:
    packing = LongestFirst(LENGTHS, torch.device("cpu"))
    ordered = packing.sort(values())
    assert packing.falling == sorted(LENGTHS, reverse=True)
    steps = []
    for t, n in packing.running():
        assert n == sum(length > t for length in LENGTHS)
        assert {int(row) // 10 for row in ordered[:n, 0, 0]} == {r for r, length in enumerate(LENGTHS) if length > t}
        steps.append(ordered[:n, t])
    assert len(steps) == max(LENGTHS)
    assert packing.pack(steps)[:, 0].tolist() == packed()
