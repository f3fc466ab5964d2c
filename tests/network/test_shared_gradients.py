"""What steps share has the values and the gradients of plain expressions, whatever has a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from evcap_cli.network import tanh_energies
from evcap_cli.network.shared_energies import SharedEnergies
from evcap_cli.network.shared_gradients import (
    SharedMap,
    SharedRows,
    SharedWords,
    gathered,
    per_row,
)
from evcap_cli.network.tanh_energies import DoubledKeys

RUNNING = (5, 5, 3, 1)
"""How many of five captions have each step."""


def numbers(*shape: int, kind: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=kind).requires_grad_()


def same(found: Callable[[], Sequence[Tensor]], plain: Callable[[], Sequence[Tensor]], leaves: list[Tensor]) -> None:
    """Both have the same values for each step, and the same gradients of a sum that no step is alike in."""
    results, expected = found(), plain()
    marks = [torch.rand_like(each) for each in expected]
    gradients = []
    for steps in (results, expected):
        total = torch.stack([(mark * step).sum() for mark, step in zip(marks, steps, strict=True)]).sum()
        gradients.append(torch.autograd.grad(total, leaves))
    for pairs in ((results, expected), gradients):
        for one, other in zip(*pairs, strict=True):
            torch.testing.assert_close(one, other)


def test_a_map_of_parts_side_by_side() -> None:
    weight, given, added = numbers(4, 5), [(numbers(n, 2), numbers(n, 3)) for n in RUNNING], numbers(5, 4)

    def found() -> list[Tensor]:
        shared = SharedMap(weight * 1.0)
        steps = [shared(*parts) for parts in given[:2]]
        return steps + [shared(*parts, added=added[: len(parts[0])]) for parts in given[2:]]

    def plain() -> list[Tensor]:
        steps = [torch.cat(parts, dim=1) @ weight.t() for parts in given]
        return [step + added[: len(step)] * (t >= 2) for t, step in enumerate(steps)]

    same(found, plain, [weight, added, *(part for parts in given for part in parts)])


def test_sums_of_the_first_rows() -> None:
    rows, given = numbers(5, 4, 3), [numbers(n, 1 + t % 2, t + 1) for t, n in enumerate(RUNNING)]

    def found() -> list[Tensor]:
        shared = SharedRows(rows * 1.0)
        return [per_row(weights, shared) for weights in given]

    def plain() -> list[Tensor]:
        return [weights @ rows[: len(weights), : weights.shape[2]] for weights in given]

    same(found, plain, [rows, *given])


def test_the_first_words() -> None:
    words = numbers(5, 4, 3)

    def found() -> list[Tensor]:
        shared = SharedWords(words * 1.0)
        return [shared.first(n, t + 1) for t, n in enumerate(RUNNING)]

    same(found, lambda: [words[:n, : t + 1] for t, n in enumerate(RUNNING)], [words])


@pytest.mark.parametrize("block", [1, 30, 10_000])
def test_energies(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tanh_energies.BLOCK_ELEMENTS, "cpu", block)
    content, phrases, vector, clips = numbers(2, 3, 6), numbers(5, 4, 6), numbers(6), torch.tensor([1, 0, 1, 1, 0])
    given = [(numbers(n, 3, t + 1), numbers(n, 6)) for t, n in enumerate(RUNNING)]

    def found() -> list[Tensor]:
        shared = SharedEnergies(DoubledKeys.of(content), phrases, vector, clips)
        return [shared(*step) for step in given]

    def plain() -> list[Tensor]:
        keys = content[clips]
        words_of = [weights @ phrases[: len(weights), : weights.shape[2]] for weights, _ in given]
        return [
            torch.tanh(keys[: len(query)] + each + query[:, None]) @ vector
            for each, (_, query) in zip(words_of, given, strict=True)
        ]

    same(found, plain, [content, phrases, vector, *(part for step in given for part in step)])


def test_a_second_backward_pass_starts_anew_and_what_is_frozen_leaves_nothing() -> None:
    weight, values = numbers(4, 3), numbers(2, 3)
    shared = SharedMap(weight)
    total = sum((shared(values).square().sum() for _ in range(3)), torch.zeros(()))
    once = torch.autograd.grad(total, [weight, values], retain_graph=True)
    for one, other in zip(once, torch.autograd.grad(total, [weight, values]), strict=True):
        assert torch.equal(one, other)

    frozen = SharedMap(weight.detach())
    frozen(values).sum().backward()
    assert values.grad is not None
    assert not frozen._left.pairs


def test_a_pass_that_asks_for_other_gradients_leaves_nothing_to_the_next() -> None:
    """Autograd then runs the steps, but not the token, which would have used what they left."""
    kept, rows, words, keys = numbers(4, 3), numbers(2, 3, 4), numbers(2, 3, 4), numbers(2, 3, 4)
    vector, values, words_of = numbers(4), numbers(2, 3), numbers(2, 1, 4)
    shared = SharedMap(kept), SharedRows(rows), SharedWords(words)
    attend = SharedEnergies(DoubledKeys.of(keys), words_of, vector, torch.tensor([0, 1]))
    steps = []
    for step in range(1, 4):
        entered = shared[0](values * step)
        weights = entered[:, None, :3].softmax(dim=-1)
        looked = shared[1].sums(weights) + shared[2].first(2, 1)
        steps.append(looked.sum() + attend(weights.mT.expand(-1, -1, 1), entered).square().sum())
    leaves = [kept, rows, words, keys, vector, words_of]
    alone = torch.autograd.grad(steps[0], leaves, retain_graph=True)
    torch.autograd.grad(torch.stack(steps).sum(), [values], retain_graph=True)
    for one, other in zip(alone, torch.autograd.grad(steps[0], leaves), strict=True):
        assert torch.equal(one, other)


def test_what_is_shared_may_not_change_before_the_backward_pass() -> None:
    weight, values = torch.randn(4, 3), numbers(2, 3, kind=torch.float32)
    total = SharedMap(weight)(values).sum()
    weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_a_map_in_mixed_precision_adds_its_gradients_in_single() -> None:
    """One product in bf16 rounds once, where a sum of one a step rounds at each of them."""
    weight, given = numbers(8, 16, kind=torch.float32), [torch.randn(5, 16) for _ in range(40)]
    with torch.autocast("cpu", torch.bfloat16):
        shared = SharedMap(weight.bfloat16())
        steps = [shared(each) for each in given]
    assert {step.dtype for step in steps} == {torch.bfloat16}
    torch.stack(steps).float().sum().backward()
    exact = torch.cat([each.bfloat16().double() for each in given]).sum(0).expand(8, -1)
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad.double(), exact, rtol=2**-8, atol=1e-6)


def test_only_rows_of_the_search_are_not_gathered() -> None:
    rows, clips = torch.randn(2, 3, 4), torch.tensor([0, 1])
    assert gathered(rows, clips) is None
    assert gathered(SharedRows(rows), clips) is clips
