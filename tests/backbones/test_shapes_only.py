"""Models built without values."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from evcap_cli.backbones.shapes_only import shapes_only


def _drawn() -> list[torch.Tensor]:
    table = nn.Embedding(5, 3)
    with torch.no_grad():
        table.weight.normal_(0.0, 0.4)[0] = 0.0
    layer = nn.LSTMCell(3, 4)
    nn.init.xavier_normal_(layer.weight_ih)
    generator = torch.Generator().manual_seed(0)
    return [
        table.weight,
        layer.weight_ih,
        layer.bias_hh,
        torch.randn(2, 4) * 4**-0.5,
        torch.randn((2, 3), dtype=torch.float64),
        torch.randn(3, device="cpu", generator=generator) * 2,
        torch.ones(2, 3) * torch.ones(3),
    ]


def test_shapes_and_kinds_are_those_of_tensors_with_values() -> None:
    real = _drawn()
    with shapes_only():
        made = _drawn()
    assert [(each.shape, each.dtype) for each in made] == [(each.shape, each.dtype) for each in real]
    assert [each.is_meta for each in made] == [True] * 5 + [False, True]
    assert torch.equal(made[5], real[5]), "what is drawn on the CPU is drawn there"
    assert torch.randn(3).shape == (3,)
    assert not torch.randn(3).is_meta


@pytest.mark.slow
def test_the_bundled_checkpoint_is_loaded_without_torchs_compiler() -> None:
    code = (
        "import sys, evcap_cli; evcap_cli.load_captioner('demo', device='cpu'); print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
