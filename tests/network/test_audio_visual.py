"""Section 1.3, Eq. 5 and 6, against the slow reference on clips of different length, one without sound."""

from __future__ import annotations

import numpy as np
import pytest

from tests.network.slow_reference import Slow, mean
from tests.network.small import batch, clips, model


@pytest.mark.parametrize("changes", [{}, {"pre_norm": True}, {"dual_layers": 3}, {"dual_heads": 4}])
def test_eq_5_and_6_branches_exchange_their_global_vectors(changes):
    captioner = model(**changes)
    cfg = captioner.config
    streams = captioner.streams(batch(clips()))
    fused = captioner.fusion(streams)
    visual, sound = captioner.audio_visual(fused.visual, streams.mask, streams.audio)
    slow = Slow(captioner.audio_visual, heads=cfg.dual_heads, pre_norm=cfg.pre_norm)
    for row in range(len(streams.mask)):
        moments, steps = streams.mask[row], streams.audio.mask[row]
        v = list(fused.visual[row][moments].detach().double().numpy())
        a = list(streams.audio.values[row][steps].detach().double().numpy())
        g_v, g_a = mean(v), mean(a)
        for i in range(cfg.dual_layers):
            heard = slow.layer(f"audio_layers.{i}", [g_a, *a], [g_v, *a])
            seen = slow.layer(f"visual_layers.{i}", [g_v, *v], [g_a, *v])
            g_a, a, g_v, v = heard[0], heard[1:], seen[0], seen[1:]
        if cfg.pre_norm:
            v = [slow.norm("visual_norm", r) for r in v]
            a = [slow.norm("audio_norm", r) for r in a]
        np.testing.assert_allclose(visual[row][moments].detach(), v, atol=5e-5)
        np.testing.assert_allclose(sound[row][steps].detach(), a, atol=5e-5)
