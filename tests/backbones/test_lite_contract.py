"""What every lite backbone promises: its shape, the same answer every time, and no row that knows its neighbours."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from evcap_backbones.lite import LiteAppearance, LiteAudio, LiteMotion, LiteObject
from torch import Tensor

from evcap_cli import AudioInput, Backbone, ClipInput, Detections

ALL = (LiteAppearance, LiteMotion, LiteObject, LiteAudio)


def ready(cls: type[Backbone]) -> Backbone:
    backbone = cls()
    backbone.load(None, torch.device("cpu"), torch.float32)
    return backbone


def some_batch(cls: type[Backbone], rows: int = 3) -> Tensor:
    """Rows with something in each: noise, and a patch that wanders (pictures) or a tone (sound)."""
    torch.manual_seed(4)
    declared = cls.spec.input
    if isinstance(declared, AudioInput):
        t = torch.arange(24000) / declared.rate
        tones = torch.sin(2 * torch.pi * torch.tensor([[220.0], [330.0], [523.0]])[:rows] * t)
        return 0.2 * tones + 0.02 * torch.randn(rows, 24000)
    assert declared.size is not None
    height, width = declared.size
    frames = declared.frames if isinstance(declared, ClipInput) else 1
    batch = 0.4 + 0.02 * torch.randn(rows, 3, frames, height, width)
    texture = torch.rand(rows, 3, height // 2, width // 4)
    for row in range(rows):
        for frame in range(frames):
            left = width // 8 * (row + 1) + frame % (width // 8)
            batch[row, :, frame, height // 4 : height // 4 + height // 2, left : left + width // 4] = texture[row]
    batch = batch.clamp(0, 1)
    return batch if isinstance(declared, ClipInput) else batch[:, :, 0]


def as_tensors(features: Tensor | list[Detections]) -> list[tuple[Tensor, ...]]:
    if isinstance(features, Tensor):
        return [(row,) for row in features]
    return [(found.boxes, found.scores, found.features) for found in features]


@pytest.mark.parametrize("cls", ALL)
def test_rows_have_the_declared_width_and_are_finite(cls: type[Backbone]) -> None:
    for row in as_tensors(ready(cls).extract(some_batch(cls))):
        assert row[-1].shape[-1] == cls.spec.dim
        assert all(part.isfinite().all() for part in row)


@pytest.mark.slow
@pytest.mark.parametrize("cls", ALL)
def test_the_same_batch_gives_the_same_bits(cls: type[Backbone]) -> None:
    first, second = (as_tensors(ready(cls).extract(some_batch(cls))) for _ in range(2))
    for row, again in zip(first, second, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(row, again, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("cls", ALL)
def test_a_row_does_not_depend_on_its_neighbours(cls: type[Backbone]) -> None:
    backbone, batch = ready(cls), some_batch(cls)
    together = as_tensors(backbone.extract(batch))
    for index, row in enumerate(together):
        alone = as_tensors(backbone.extract(batch[index : index + 1]))[0]
        for a, b in zip(row, alone, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_uniform_pictures_and_constant_sound_give_finite_rows(cls: type[Backbone], level: float) -> None:
    flat = torch.full_like(some_batch(cls, rows=2), level)
    for row in as_tensors(ready(cls).extract(flat)):
        assert all(part.isfinite().all() for part in row)
        assert row[-1].abs().max() < 50 if row[-1].numel() else True


@pytest.mark.parametrize("cls", ALL)
def test_weights_are_refused(cls: type[Backbone]) -> None:
    with pytest.raises(ValueError, match="has no weights"):
        cls().load("some.safetensors", torch.device("cpu"), torch.float32)


def test_registering_imports_no_torch() -> None:
    program = (
        "import sys, evcap_backbones; seen = []; evcap_backbones.register_backbones(seen.append); "
        "names = {c.spec.name for c in seen}; "
        "assert {'lite-appearance', 'lite-audio', 'lite-motion', 'lite-object'} <= names; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
