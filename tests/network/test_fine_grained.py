"""Section 1.2, Eq. 1 to 4, against the slow reference on clips of different length."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.network.slow_reference import Slow
from tests.network.small import batch, clips, model


def real_rows(captioner, given):
    """V_a, V_m, V_o of each clip as the model has them, real rows only, with the fused result beside."""
    streams = captioner.streams(batch(given))
    fused = captioner.fusion(streams)
    for row in range(len(given)):
        moments, objects = streams.mask[row], streams.objects.mask[row]
        inputs = streams.appearance[row][moments], streams.motion[row][moments], streams.objects.values[row][objects]
        outputs = [] if fused.parts is None else [part[row][moments].detach().numpy() for part in fused.parts]
        yield [i.detach().double().numpy() for i in inputs], outputs, fused.visual[row][moments].detach().numpy()


def slow_appearance_motion(slow, appearance, motion):
    of_motion, _ = slow.mhca("appearance_looks_at_motion", appearance, motion)
    of_appearance, _ = slow.mhca("motion_looks_at_appearance", motion, appearance)
    rows = []
    for a, m, x, y in zip(appearance, motion, of_motion, of_appearance, strict=True):
        alpha = [1 / (1 + math.exp(-g)) for g in slow.linear("gate", np.concatenate([a, m, (x + y) / 2]))]
        rows.append(np.array([g * p + (1 - g) * q for g, p, q in zip(alpha, a, m, strict=True)]))
    return rows


def slow_motion_object(slow, motion, objects):
    of_objects, weights = slow.mhca("motion_looks_at_objects", motion, objects)
    of_motion, _ = slow.mhca("objects_look_at_motion", objects, motion)
    rows = []
    for first, weight in zip(of_objects, weights, strict=True):
        carried = sum((w * row for w, row in zip(weight, of_motion, strict=True)), np.zeros(len(first)))
        rows.append(slow.mlp("motion_object_mlp", np.concatenate([first, carried])))
    return rows


@pytest.mark.slow
def test_eq_1_and_2_gate_appearance_against_motion():
    captioner = model()
    slow = Slow(captioner.fusion)
    for (appearance, motion, _), (found, _, _), _ in real_rows(captioner, clips()):
        np.testing.assert_allclose(found, slow_appearance_motion(slow, appearance, motion), atol=2e-5)


def test_eq_3_appearance_looks_at_objects():
    captioner = model()
    slow = Slow(captioner.fusion)
    for (appearance, _, objects), (_, found, _), _ in real_rows(captioner, clips()):
        np.testing.assert_allclose(found, slow.mhca("appearance_looks_at_objects", appearance, objects)[0], atol=2e-5)


def test_eq_4_motion_and_objects_look_at_each_other():
    captioner = model()
    slow = Slow(captioner.fusion)
    for (_, motion, objects), (_, _, found), _ in real_rows(captioner, clips()):
        np.testing.assert_allclose(found, slow_motion_object(slow, motion, objects), atol=2e-5)


def test_the_three_parts_become_one_visual_stream():
    captioner = model()
    slow = Slow(captioner.fusion)
    for _, parts, visual in real_rows(captioner, clips()):
        expected = [slow.mlp("join", np.concatenate(row)) for row in zip(*parts, strict=True)]
        np.testing.assert_allclose(visual, expected, atol=2e-5)


def test_with_module_b_off_the_visual_stream_is_appearance_alone_or_a_linear_map_of_both():
    given = clips()
    for motion_dim in (None, 6):
        captioner = model(fine_grained=False, motion_dim=motion_dim)
        streams = captioner.streams(batch(given, fine_grained=False, motion_dim=motion_dim))
        fused = captioner.fusion(streams)
        assert fused.parts is None
        assert streams.objects is None
        if motion_dim is None:
            assert torch.equal(fused.visual, streams.appearance)
            continue
        slow = Slow(captioner.fusion)
        pair = torch.cat([streams.appearance, streams.motion], dim=-1)[0].detach().double().numpy()
        np.testing.assert_allclose(fused.visual[0].detach(), [slow.linear("join", row) for row in pair], atol=1e-5)
