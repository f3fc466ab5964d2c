"""Tensors that a captioning system reads, and those that the sections of the paper's network pass on.

Notation: B distinct clips, N_v moments, N_o objects, N_a audio steps, D_* backbone widths, d model width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class ClipBatch:
    """Features of B clips at constant shapes; masks are True where a row is real.

    Args:
        appearance: (B, N_v, D_a). motion: (B, N_v, D_m) or None. visual_mask: (B, N_v), at least one True a row.
        moment_times: (B, N_v) seconds from the clip's start (0 where masked).
        objects: (B, N_o, D_o) or None. object_mask: (B, N_o); a row without any True has no object.
        audio: (B, N_a, D_au) or None. audio_mask: (B, N_a); a row without any True has no sound.
        audio_times: (B, N_a) seconds.
    """

    appearance: Tensor
    visual_mask: Tensor
    moment_times: Tensor
    motion: Tensor | None = None
    objects: Tensor | None = None
    object_mask: Tensor | None = None
    audio: Tensor | None = None
    audio_mask: Tensor | None = None
    audio_times: Tensor | None = None

    def to(self, device: torch.device, *, non_blocking: bool = False) -> ClipBatch:
        """The same batch on another device."""
        moved: dict[str, Any] = {}
        for each in fields(self):
            value: Tensor | None = getattr(self, each.name)
            moved[each.name] = None if value is None else value.to(device, non_blocking=non_blocking)
        return ClipBatch(**moved)


@dataclass
class Encoded:
    """What the encoder (sections 1.1 to 1.4) hands to the decoder; one row per distinct clip.

    Args:
        visual: V^{k+1} (or V of 1.2 with module A off), (B, N_v, d).
        emotion: E, (B, N_v, d).
        mask: (B, N_v), True where a moment is real.
        categories: mean over the branches of P_c, (B, N_c), probabilities: the emotion reported for a clip.
        audio: audio interpolated to the moments, (B, N_v, d), only with ``decoder_audio``.
        objects: objects joined with the motion that they attend to, (B, N_o, d), only with ``decoder_objects``.
        object_mask: (B, N_o), True where an object, or the token of a clip without any, is real.
    """

    visual: Tensor
    emotion: Tensor
    mask: Tensor
    categories: Tensor
    audio: Tensor | None = None
    objects: Tensor | None = None
    object_mask: Tensor | None = None
