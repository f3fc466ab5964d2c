"""Section 1.3, module A: the audio and the visual branch, each given the global vector of the other (Eq. 5 and 6).

Notation: B clips, N_v moments, N_a audio steps, d model width, k layers; [;] joins along time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evcap_cli.network.config import FusionConfig
from evcap_cli.network.layers import AttentionLayer, masked_mean
from evcap_cli.network.visual_encoder import Rows


class AudioVisualFusion(nn.Module):
    """Module A: k levels of two Transformer layers, one a branch. Both layers of a level read the level below."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.audio_layers = self._layers(config)
        self.visual_layers = self._layers(config)
        self.audio_norm = nn.LayerNorm(config.width) if config.pre_norm else nn.Identity()
        self.visual_norm = nn.LayerNorm(config.width) if config.pre_norm else nn.Identity()

    @staticmethod
    def _layers(config: FusionConfig) -> nn.ModuleList:
        return nn.ModuleList(
            AttentionLayer(
                config.width, config.dual_heads, config.feed_forward, config.dropout, pre_norm=config.pre_norm
            )
            for _ in range(config.dual_layers)
        )

    def forward(self, visual: Tensor, mask: Tensor, audio: Rows) -> tuple[Tensor, Tensor]:
        """Exchange global vectors for k levels.

        Args:
            visual: V^1 = V of section 1.2, (B, N_v, d).
            mask: True where a moment is real, (B, N_v).
            audio: A^1, the projected audio.

        Returns:
            V^{k+1}, (B, N_v, d), and A^{k+1}, (B, N_a, d).
        """
        sound = audio.values
        global_audio = masked_mean(sound, audio.mask).unsqueeze(1)
        global_visual = masked_mean(visual, mask).unsqueeze(1)
        audio_mask = self._with_global(audio.mask)
        visual_mask = self._with_global(mask)
        for audio_layer, visual_layer in zip(self.audio_layers, self.visual_layers, strict=True):
            audio_rows = audio_layer(
                torch.cat([global_audio, sound], 1), torch.cat([global_visual, sound], 1), audio_mask
            )
            visual_rows = visual_layer(
                torch.cat([global_visual, visual], 1), torch.cat([global_audio, visual], 1), visual_mask
            )
            global_audio, sound = audio_rows[:, :1], audio_rows[:, 1:]
            global_visual, visual = visual_rows[:, :1], visual_rows[:, 1:]
        return self.visual_norm(visual), self.audio_norm(sound)

    @staticmethod
    def _with_global(mask: Tensor) -> Tensor:
        """(B, N) -> (B, 1 + N): the global vector in front is always real."""
        return torch.cat([mask.new_ones(mask.shape[0], 1), mask], dim=1)
