"""Section 1.2, module B: appearance, motion and objects meet two by two and become one visual stream V (Eq. 1 to 4).

Notation: B clips, N_v moments, N_o objects, d model width; V_a, V_m, V_o as ``visual_encoder`` leaves them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evcap_cli.network.config import FusionConfig
from evcap_cli.network.layers import Mlp, MultiHeadCrossAttention, dense
from evcap_cli.network.visual_encoder import Rows, Streams


@dataclass
class FusedVisual:
    """Results of section 1.2.

    Args:
        visual: V, (B, N_v, d).
        parts: V_am, V_ao and V_mo, each (B, N_v, d); None with module B off.
        bound: objects joined with the motion that they attend to, (B, N_o, d), only with ``decoder_objects``.
    """

    visual: Tensor
    parts: tuple[Tensor, Tensor, Tensor] | None
    bound: Tensor | None = None


class FineGrainedFusion(nn.Module):
    """Module B: three sub-modules and the MLP that joins them."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width, heads, dropout = config.width, config.fusion_heads, config.dropout
        self.appearance_looks_at_motion = MultiHeadCrossAttention(width, heads, dropout)
        self.motion_looks_at_appearance = MultiHeadCrossAttention(width, heads, dropout)
        self.gate = dense(3 * width, width, bias=False)  # Eq. 1 prints W alone
        self.appearance_looks_at_objects = MultiHeadCrossAttention(width, heads, dropout)
        self.motion_looks_at_objects = MultiHeadCrossAttention(width, heads, dropout)
        self.objects_look_at_motion = MultiHeadCrossAttention(width, heads, dropout)
        self.motion_object_mlp = Mlp(2 * width, width, width, dropout)
        self.join = Mlp(3 * width, width, width, dropout)
        self.bind = BoundObjects(width, dropout) if config.decoder_objects else None

    def appearance_gate(self, appearance: Tensor, motion: Tensor, mask: Tensor) -> Tensor:
        """a, the share of appearance in V_am (Eq. 1), (B, N_v, d); arguments as in ``appearance_motion``."""
        of_motion, _ = self.appearance_looks_at_motion(appearance, motion, mask)
        of_appearance, _ = self.motion_looks_at_appearance(motion, appearance, mask)
        mutual = (of_motion + of_appearance) / 2
        return torch.sigmoid(self.gate(torch.cat([appearance, motion, mutual], dim=-1)))

    def appearance_motion(self, appearance: Tensor, motion: Tensor, mask: Tensor) -> Tensor:
        """Gate appearance against motion (Eq. 2).

        Args:
            appearance: V_a, (B, N_v, d).
            motion: V_m, (B, N_v, d), aligned with V_a in time.
            mask: True where a moment is real, (B, N_v).

        Returns:
            V_am, (B, N_v, d).
        """
        gate = self.appearance_gate(appearance, motion, mask)
        return gate * appearance + (1 - gate) * motion

    def appearance_object(self, appearance: Tensor, objects: Rows) -> Tensor:
        """V_ao = MHCA(V_a, V_o) (Eq. 3), (B, N_v, d)."""
        result: Tensor
        result, _ = self.appearance_looks_at_objects(appearance, objects.values, objects.mask)
        return result

    def motion_object(self, motion: Tensor, mask: Tensor, objects: Rows, of_motion: Tensor | None = None) -> Tensor:
        """V_mo = MLP([MHCA(V_m, V_o); MHCA(V_o, V_m)]) (Eq. 4).

        The second term has a row per object. *Decision*: the head-averaged attention weights of the first term carry
        it back to the moments.

        Args:
            motion: V_m, (B, N_v, d).
            mask: True where a moment is real, (B, N_v).
            objects: V_o.
            of_motion: MHCA(V_o, V_m), (B, N_o, d), where it is known already.

        Returns:
            V_mo, (B, N_v, d).
        """
        of_objects, weights = self.motion_looks_at_objects(motion, objects.values, objects.mask)
        if of_motion is None:
            of_motion, _ = self.objects_look_at_motion(objects.values, motion, mask)
        carried = weights.to(of_motion.dtype) @ of_motion
        result: Tensor = self.motion_object_mlp(torch.cat([of_objects, carried], dim=-1))
        return result

    def forward(self, streams: Streams) -> FusedVisual:
        """V = MLP([V_am; V_ao; V_mo]) with its parts."""
        motion, objects = streams.motion, streams.objects
        if motion is None or objects is None:
            raise ValueError("fine-grained fusion needs the motion and the object stream")
        of_motion = None
        if self.bind is not None:
            of_motion, _ = self.objects_look_at_motion(objects.values, motion, streams.mask)
        parts = (
            self.appearance_motion(streams.appearance, motion, streams.mask),
            self.appearance_object(streams.appearance, objects),
            self.motion_object(motion, streams.mask, objects, of_motion),
        )
        bound = None if self.bind is None or of_motion is None else self.bind(objects.values, of_motion)
        return FusedVisual(self.join(torch.cat(parts, dim=-1)), parts, bound)


class BoundObjects(nn.Module):
    """Each object with the motion that it attends to: the second term of Eq. 4 before it is carried to the moments."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.mlp = Mlp(2 * width, width, width, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, objects: Tensor, of_motion: Tensor) -> Tensor:
        """Two tensors (B, N_o, d) -> (B, N_o, d)."""
        result: Tensor = self.norm(objects + self.mlp(torch.cat([objects, of_motion], dim=-1)))
        return result


class PlainVisual(nn.Module):
    """Module B off: V is the encoded appearance, as in EPAN, or a linear map of [V_a; V_m] where motion is given."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.join = None if config.motion_dim is None else dense(2 * config.width, config.width)

    def forward(self, streams: Streams) -> FusedVisual:
        """V without parts."""
        if self.join is None:
            return FusedVisual(streams.appearance, None)
        if streams.motion is None:
            raise ValueError("the visual stream of this model joins appearance and motion, but there is no motion")
        return FusedVisual(self.join(torch.cat([streams.appearance, streams.motion], dim=-1)), None)
