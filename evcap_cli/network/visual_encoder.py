"""Section 1.1: from the backbones' features to streams of one width, standardised, masked, never empty.

Appearance and motion pass a Transformer encoder; objects and audio are projected only (the paper's "raw" features).
How the streams meet is left to ``fine_grained`` (1.2) and ``audio_visual`` (1.3).

Notation: B clips, N_v moments, N_o objects, N_a audio steps, D width of a backbone, d model width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.config import AlignedConfig, FusionConfig, SystemConfig
from evcap_cli.network.dropout import Dropout
from evcap_cli.network.layers import AttentionStack, dense, sinusoid_positions

LARGEST_DEVIATION = 10.0
"""Standard deviations at which a standardised feature is cut: a dimension that was nearly constant in training
must not drown the others on another kind of video."""


@dataclass
class Rows:
    """One stream whose absent clips hold the trained token.

    Args:
        values: (B, N, d).
        mask: (B, N), at least one True in each row.
        present: (B,), False where the only real row is the absent token.
    """

    values: Tensor
    mask: Tensor
    present: Tensor


@dataclass
class Streams:
    """What sections 1.2 and 1.3 start from; a stream that the model does not read is None.

    Args:
        appearance: V_a, (B, N_v, d).
        motion: V_m, (B, N_v, d), aligned with V_a in time.
        mask: (B, N_v), True where a moment is real.
        objects: V_o.
        audio: A^1.
    """

    appearance: Tensor
    motion: Tensor | None
    mask: Tensor
    objects: Rows | None
    audio: Rows | None


class StandardisedStream(nn.Module):
    """Standardises features by training statistics, which are kept as buffers.

    Args:
        inputs: D.
        config: of the model.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, inputs: int, config: SystemConfig) -> None:
        super().__init__()
        self.normalise, self.noise = config.normalise_streams, config.feature_noise
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Standardised rows; what a row that is not real becomes has no meaning.

        Args:
            values: (B, N, D); values of rows that are not real have no influence, not even as NaN.
            mask: (B, N).

        Returns:
            (B, N, D).
        """
        values = values.masked_fill(~mask.unsqueeze(-1), 0.0)
        if self.normalise:
            values = ((values - self.mean) * self.scale).clamp(-LARGEST_DEVIATION, LARGEST_DEVIATION)
        if self.training and self.noise:
            values = values + self.noise * torch.randn_like(values)
        return values


class StreamProjection(StandardisedStream):
    """Standardises the features of one backbone by training statistics and projects them to the model's width.

    Args:
        inputs: D.
        config: of the model.
        norm: end with a LayerNorm.
    """

    def __init__(self, inputs: int, config: AlignedConfig, *, norm: bool = False) -> None:
        super().__init__(inputs, config)
        self.linear = dense(inputs, config.width)
        self.norm = nn.LayerNorm(config.width) if norm else nn.Identity()
        self.dropout = Dropout(config.dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Project one stream.

        Args:
            values: (B, N, D); values of rows that are not real have no influence, not even as NaN.
            mask: (B, N).

        Returns:
            (B, N, d).
        """
        result: Tensor = self.dropout(self.norm(self.linear(super().forward(values, mask))))
        return result


class VisualStream(nn.Module):
    """Appearance or motion: projected, then encoded by a Transformer over the moments.

    Args:
        inputs: D.
        config: of the model.
        head_width: of the encoder's attention, where it is not d / H.
    """

    positions: Tensor

    def __init__(self, inputs: int, config: AlignedConfig, *, head_width: int | None = None) -> None:
        super().__init__()
        self.projection = StreamProjection(inputs, config)
        self.encoder = AttentionStack(
            config.encoder_layers,
            config.width,
            config.encoder_heads,
            config.feed_forward,
            config.dropout,
            pre_norm=config.pre_norm,
            head_width=head_width,
        )
        positions = sinusoid_positions(config.moments, config.width)
        self.register_buffer("positions", positions if config.visual_positions else 0 * positions, persistent=False)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """V_a or V_m.

        Args:
            values: (B, N_v, D).
            mask: (B, N_v).

        Returns:
            (B, N_v, d).
        """
        rows = self.projection(values, mask) + self.positions[: values.shape[1]]
        result: Tensor = self.encoder(rows, mask=mask)
        return result


class OptionalStream(nn.Module):
    """A stream that a clip may lack: a trained "absent" token replaces it (*Decision*).

    Args:
        inputs: D.
        config: of the model.
        norm: end with a LayerNorm.
        missing: share of the clips that lack it in training, whatever they have.
    """

    def __init__(self, inputs: int, config: FusionConfig, *, norm: bool = False, missing: float = 0.0) -> None:
        super().__init__()
        self.missing = missing
        self.projection = StreamProjection(inputs, config, norm=norm)
        self.absent = nn.Parameter(torch.randn(config.width) * config.width**-0.5)

    def forward(self, values: Tensor, mask: Tensor) -> Rows:
        """Project one stream; a clip without any real row gets the token as its first row.

        Args:
            values: (B, N, D).
            mask: (B, N).
        """
        if self.training and self.missing:
            mask = mask & (torch.rand(len(mask), 1, device=mask.device) >= self.missing)
        present = mask.any(dim=1)
        rows = self.projection(values, mask)
        first = torch.zeros_like(mask)
        first[:, 0] = ~present
        # torch.where keeps the token in the graph of every batch, so that data parallel training finds it used.
        rows = torch.where(first.unsqueeze(-1), self.absent.to(rows.dtype), rows)
        return Rows(rows, mask | first, present)


class StreamEncoder(nn.Module):
    """Section 1.1 as a whole."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        dims = config.streams
        for module, kinds in (("fine_grained", ("motion", "object")), ("audio_visual", ("audio",))):
            missing = [kind for kind in kinds if getattr(config, module) and kind not in dims]
            if missing:
                raise ValueError(f"module {module} needs the {missing[0]} stream, but {missing[0]}_dim is not given")
        self.appearance = VisualStream(dims["appearance"], config)
        self.motion = VisualStream(dims["motion"], config) if "motion" in dims else None
        self.objects = OptionalStream(dims["object"], config, norm=config.object_norm) if "object" in dims else None
        self.audio = OptionalStream(dims["audio"], config, missing=config.sound_dropout) if "audio" in dims else None

    def forward(self, batch: ClipBatch) -> Streams:
        """Encode the streams of B clips.

        Raises:
            ValueError: when the batch lacks a stream that the model reads.
        """
        motion = objects = audio = None
        if self.motion is not None:
            motion = self.motion(_given("motion", batch.motion), batch.visual_mask)
        if self.objects is not None:
            objects = self.objects(_given("object", batch.objects), _given("object", batch.object_mask))
        if self.audio is not None:
            audio = self.audio(_given("audio", batch.audio), _given("audio", batch.audio_mask))
        appearance = self.appearance(batch.appearance, batch.visual_mask)
        return Streams(appearance, motion, batch.visual_mask, objects, audio)


def _given(kind: str, value: Tensor | None) -> Tensor:
    if value is None:
        raise ValueError(f"the model reads a stream of kind {kind}, but the batch has none")
    return value
