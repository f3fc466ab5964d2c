"""The backbone under examination: its instances, rows of input for it, and its outputs for them.

Rows are what the feature stage hands to a backbone: uint8 pictures or windows, float sound. They are made into batches
by ``BackboneRunner.prepare``, so scaling, mean, std and number format are those of a real run. Everything happens on
the CPU.

Notation: H x W pixels, T frames of a window, D the declared width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from evcap_cli.backbones.contract import AudioInput, Backbone, BackboneSpec, ClipInput, Detections
from evcap_cli.backbones.loading import load_one
from evcap_cli.conformance.checks import Broken
from evcap_cli.features.runner import BackboneRunner

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from evcap_cli.features.runner import Row

ROWS: Final = 3
"""Rows of the sample batch: enough for a row to have neighbours, few enough for a large model on a CPU."""
ASPECT: Final = 4 / 3
"""Width to height of the pictures given to backbones that keep the aspect ratio."""


class Candidate:
    """One class with the variant, options and weights it is examined with.

    Args:
        cls: the class, as it is registered.
        variant, options, weights: as ``NAME:VARIANT``, ``--option`` and ``--weights`` would give them.
        folder: an empty folder for files that checks need.
    """

    def __init__(
        self,
        cls: type[Backbone],
        variant: str | None,
        options: Mapping[str, str] | None,
        weights: str | None,
        folder: Path,
    ) -> None:
        self.cls, self.variant, self.options, self.weights = cls, variant, dict(options or {}), weights
        self.folder = folder

    def build(self) -> Backbone:
        """A new instance, not loaded."""
        return self.cls(self.variant, self.options)

    def loaded(self, dtype: torch.dtype | None = None) -> Backbone:
        """A new instance, loaded as a run would load it."""
        import torch

        backbone = self.build()
        load_one(backbone, self.weights, torch.device("cpu"), dtype or torch.float32, announce=False)
        return backbone

    @cached_property
    def backbone(self) -> Backbone:
        """The instance that most checks use, loaded in float32."""
        return self.loaded()

    @property
    def spec(self) -> BackboneSpec:
        """Of that instance."""
        return self.backbone.spec

    @cached_property
    def rows(self) -> list[Row]:
        """``ROWS`` different rows."""
        return [sample_row(self.spec, seed) for seed in range(ROWS)]

    @cached_property
    def flat_rows(self) -> list[Row]:
        """A black and a white row; silence and a constant for sound."""
        like = self.rows[0]
        return [np.zeros_like(like), np.full_like(like, 255 if like.dtype == np.uint8 else 0.5)]

    @cached_property
    def together(self) -> Any:
        """The output for ``rows`` in one batch."""
        return self.extract(self.backbone, self.rows)

    @cached_property
    def with_flat_rows(self) -> Any:
        """The output for the first row and the flat ones in one batch."""
        return self.extract(self.backbone, [self.rows[0], *self.flat_rows])

    def extract(self, backbone: Backbone, rows: Sequence[Row], count: int | None = None) -> Any:
        """``backbone.extract`` of the first ``count`` of ``rows`` (None: all), as the feature stage calls it."""
        import torch

        runner: BackboneRunner[int] = BackboneRunner(backbone, batch_size=None, device="cpu", owner=lambda row: row)
        with torch.inference_mode():
            return backbone.extract(runner.prepare(rows)[:count])


def sample_row(spec: BackboneSpec, seed: int) -> Row:
    """A row with something in it: pictures as ``sample_frames`` makes them, or a tone with noise."""
    if isinstance(spec.input, AudioInput):
        return sample_sound(spec.input, spec.input.chunk_seconds, seed)
    frames = spec.input.frames if isinstance(spec.input, ClipInput) else 1
    pixels = sample_frames(frames, picture_size(spec), seed)
    return pixels if isinstance(spec.input, ClipInput) else pixels[0]


def sample_frames(frames: int, size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """A coloured slope with noise and a patch that wanders; (frames, H, W, 3) for a size of (H, W)."""
    generator = np.random.default_rng(seed)
    height, width = size
    slope = np.linspace(40, 160, width)[None, :, None] * generator.uniform(0.5, 1, 3)
    row = slope[None] + generator.normal(0, 4, (frames, height, width, 3))
    patch = generator.uniform(0, 255, (max(height // 2, 1), max(width // 4, 1), 3))
    room = max(width - patch.shape[1], 1)
    for frame in range(frames):
        top, left = height // 4, (width // 8 * (seed + 1) + frame * max(width // 64, 1)) % room
        row[frame, top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    pixels: NDArray[np.uint8] = row.clip(0, 255).astype(np.uint8)
    return pixels


def sample_sound(audio: AudioInput, seconds: float, seed: int) -> NDArray[np.float32]:
    """A tone that rises a little, with noise; (samples,)."""
    return sample_tone(audio.rate, seconds, seed)


def sample_tone(rate: int, seconds: float, seed: int) -> NDArray[np.float32]:
    """The same for a rate in samples a second."""
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (220 * (seed + 1) + 20 * time) * time)
    sound: NDArray[np.float32] = (tone + np.random.default_rng(seed).normal(0, 0.02, time.shape)).astype(np.float32)
    return sound


def picture_size(spec: BackboneSpec) -> tuple[int, int]:
    """(height, width) of a frame as this backbone gets it."""
    frame = spec.input
    if isinstance(frame, AudioInput):
        raise TypeError("sound has no size")
    if frame.size is not None:
        return frame.size
    short = frame.short_side or 1
    width = round(short * ASPECT)
    if frame.max_side is not None and width > frame.max_side:
        return max(1, round(short * frame.max_side / width)), frame.max_side
    return short, width


def rows_of(spec: BackboneSpec, output: Any, count: int) -> list[tuple[Tensor, ...]]:
    """The output of ``extract`` row by row: (features,) or (boxes, scores, features).

    Raises:
        Broken: it is not what a backbone of this kind and width returns for ``count`` rows.
    """
    import torch

    if spec.kind == "object":
        if not isinstance(output, Sequence) or not all(isinstance(found, Detections) for found in output):
            raise Broken(f"an object backbone returns a list of Detections, this is {described(output)}")
        if len(output) != count:
            raise Broken(f"{count} rows went in, {len(output)} Detections came out")
        return [_parts(found, spec.dim) for found in output]
    if not isinstance(output, torch.Tensor):
        raise Broken(f"a backbone for {spec.kind} returns a tensor, this is {described(output)}")
    expected = f"({count}, steps, {spec.dim})" if spec.kind == "audio" else f"({count}, {spec.dim})"
    right = output.ndim == (3 if spec.kind == "audio" else 2) and output.shape[0] == count
    if not right or output.shape[-1] != spec.dim:
        raise Broken(f"returned shape {tuple(output.shape)}, its spec says {expected}")
    return [(row,) for row in output]


def _parts(found: Detections, dim: int) -> tuple[Tensor, ...]:
    k = len(found.scores)
    shapes = tuple(tuple(part.shape) for part in (found.boxes, found.scores, found.features))
    if shapes != ((k, 4), (k,), (k, dim)):
        raise Broken(f"returned boxes, scores, features of shapes {shapes}, its spec says (k, 4), (k,), (k, {dim})")
    return found.boxes, found.scores, found.features


def described(output: Any) -> str:
    """The type of a value, and its shape if it has one."""
    shape = getattr(output, "shape", None)
    return type(output).__name__ if shape is None else f"{type(output).__name__} of shape {tuple(shape)}"
