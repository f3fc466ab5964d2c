"""Preset ``lite``: four backbones without weights, plain signal processing, fast on a CPU, made for any video.

Here are their declarations only, so that registering stays free of torch; the arithmetic is in ``appearance``,
``motion``, ``objects`` and ``audio``, each a function of one batch. Every row of a batch is computed alike and alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evcap_cli.backbones.contract import AudioInput, Backbone, BackboneSpec, ClipInput, Detections, FrameInput

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["LiteAppearance", "LiteAudio", "LiteMotion", "LiteObject"]


class _Weightless(Backbone):
    """A backbone with nothing to load: it computes where its batch lives, in float32."""

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        """Nothing to read.

        Raises:
            ValueError: weights were given.
        """
        del device, dtype  # the batch brings its device
        self.dtype = "float32"  # half precision would only blur statistics
        if weights is not None:
            raise ValueError(f"{self.spec.name} has no weights, got {weights!r}")


class LiteAppearance(_Weightless):
    """Colour and gradient-orientation statistics on grids, one row a frame."""

    spec = BackboneSpec(
        name="lite-appearance",
        kind="appearance",
        dim=592,
        version="1",
        input=FrameInput(size=(96, 128), interpolation="area"),
        license="MIT",
    )

    def extract(self, batch: Tensor) -> Tensor:
        """Describe frames (N, 3, H, W) -> (N, D)."""
        from evcap_backbones.lite.appearance import describe_frames

        return describe_frames(batch.float()) if len(batch) else batch.new_zeros(0, self.spec.dim)


class LiteMotion(_Weightless):
    """Dense optical flow without the camera's own motion: where, which way, how strongly, in what rhythm."""

    spec = BackboneSpec(
        name="lite-motion",
        kind="motion",
        dim=412,
        version="1",
        input=ClipInput(size=(54, 72), frames=16, interpolation="area"),
        license="MIT",
    )

    def extract(self, batch: Tensor) -> Tensor:
        """Describe windows (N, 3, T, H, W) -> (N, D)."""
        from evcap_backbones.lite.motion import describe_windows

        return describe_windows(batch.float()) if len(batch) else batch.new_zeros(0, self.spec.dim)


class LiteObject(_Weightless):
    """Salient, moving regions of a frame: at most two boxes with a descriptor of each, free of motion."""

    spec = BackboneSpec(
        name="lite-object",
        kind="object",
        dim=741,
        version="1",
        input=ClipInput(size=(144, 192), frames=3, stride=3, interpolation="area"),
        license="MIT",
    )

    def extract(self, batch: Tensor) -> list[Detections]:
        """Regions of the middle frame of (N, 3, T, H, W), the most confident first."""
        from evcap_backbones.lite.objects import find_regions

        return find_regions(batch.float()) if len(batch) else []


class LiteAudio(_Weightless):
    """Log-mel spectrum with its dynamics, loudness, roughness, pitch, harmony and rhythm, one row per 50 ms."""

    spec = BackboneSpec(
        name="lite-audio",
        kind="audio",
        dim=328,
        version="1",
        input=AudioInput(rate=16000, chunk_seconds=8.0, overlap_seconds=4.0, hop_seconds=0.05),
        license="MIT",
    )

    def extract(self, batch: Tensor) -> Tensor:
        """Describe sound (N, samples) -> (N, steps, D)."""
        from evcap_backbones.lite.audio import describe_sound

        return describe_sound(batch.float()) if len(batch) else batch.new_zeros(0, 0, self.spec.dim)
