"""Features to batches: constant shapes, honest masks, thinning, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.network.collate import collate, stream_statistics
from tests.network.small import SIZES, batch, clip, clips, config


def test_shapes_are_the_configurations_whatever_the_clips_hold():
    for given in (clips(), clips()[2:3]):
        made = batch(given)
        assert made.appearance.shape[1:] == (6, 5)
        assert made.motion.shape[1:] == (6, 6)
        assert made.objects.shape[1:] == (4, 7)
        assert made.audio.shape[1:] == (7, 4)


def test_rows_and_masks_are_the_clips_own():
    made, given = batch(clips()), clips()
    for row, (moments, objects, steps) in enumerate(SIZES):
        assert made.visual_mask[row].tolist() == [True] * moments + [False] * (6 - moments)
        assert made.object_mask[row].sum() == objects
        assert made.audio_mask[row].sum() == steps
        assert torch.equal(made.motion[row, :moments], given[row].streams["motion"].values)
        assert torch.equal(made.audio_times[row, :steps], given[row].streams["audio"].times)


@pytest.mark.slow
def test_a_long_clip_is_thinned_evenly_and_its_streams_stay_together():
    long = clip(60, 30, 70)
    made = batch([long])
    kept = [int((long.streams["appearance"].values == row).all(1).nonzero()) for row in made.appearance[0]]
    assert kept[0] == 0
    assert kept[-1] == 59
    assert set(np.diff(kept)) <= {11, 12}
    assert torch.equal(made.motion[0], long.streams["motion"].values[kept])
    assert torch.equal(made.moment_times[0], long.streams["appearance"].times[kept])
    for step in range(7):
        torch.testing.assert_close(
            made.audio[0, step], long.streams["audio"].values[step * 10 : step * 10 + 10].mean(0)
        )


def changed(kind, values):
    made = clip(3, 2, 4)
    return ClipFeatures({**made.streams, kind: StreamFeatures(values, torch.arange(len(values)).float())}, 4.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (changed("motion", torch.zeros(2, 6)), "3 moments of appearance but 2 of motion"),
        (changed("audio", torch.zeros(2, 9)), "reads 4 audio features a row, clip 1 has 9"),
        (changed("appearance", torch.zeros(0, 5)), "at least one moment|but 3 of motion"),
        (
            ClipFeatures({"appearance": clip(3, 2, 4).streams["appearance"]}, 4.0),
            "kind motion, which was not extracted",
        ),
    ],
)
def test_features_that_do_not_fit_are_refused_with_the_numbers(wrong, message):
    with pytest.raises(ValueError, match=message):
        collate([clip(3, 2, 4), wrong], config())


def test_statistics_over_many_clips_do_not_lose_precision_to_a_large_offset():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 5)) * [1, 2, 3, 4, 0] + 1e4
    given = [
        ClipFeatures({"appearance": StreamFeatures(torch.from_numpy(part).float(), torch.zeros(len(part)))}, 1.0)
        for part in np.split(rows, [3, 4, 20, 20])
    ]
    mean, deviation = stream_statistics(given, {"appearance": 5})["appearance"]
    exact = np.concatenate([g.streams["appearance"].values.double().numpy() for g in given])
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation[:4], exact.std(0)[:4], rtol=1e-5)
    assert deviation[4] > 0.1  # constant: the stream's usual spread instead


def test_a_stream_without_rows_has_no_statistics():
    assert stream_statistics([clip(2, 0, 3)], {"object": 7}) == {}
