"""Tracks against naive clustering with Python numbers."""

from __future__ import annotations

import pytest
import torch

from evcap_cli.backbones.contract import Detections
from evcap_cli.features.tracks import box_iou, objects_of_clip, tracks_of_snippet


def naive_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [max(0.0, c[2] - c[0]) * max(0.0, c[3] - c[1]) for c in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


def naive_tracks(frames):
    everything = [
        (score, box, feature)
        for found in frames
        for box, score, feature in zip(
            found.boxes.tolist(), found.scores.tolist(), found.features.tolist(), strict=True
        )
    ]
    everything.sort(key=lambda entry: -entry[0])
    tracks = []
    while everything:
        seed = everything[0]
        members = [entry for i, entry in enumerate(everything) if i == 0 or naive_iou(seed[1], entry[1]) >= 0.5]
        everything = [entry for entry in everything if not any(entry is member for member in members)]
        mean = [sum(column) / len(members) for column in zip(*(member[2] for member in members), strict=True)]
        tracks.append((seed[0], mean))
    return tracks


def detections(generator, count, dim=5):
    corners = torch.rand(count, 2, generator=generator) * 20
    sizes = torch.rand(count, 2, generator=generator) * 12 + 1
    scores = torch.round(torch.rand(count, generator=generator) * 10) / 10  # many ties
    return Detections(torch.cat([corners, corners + sizes], 1), scores, torch.randn(count, dim, generator=generator))


@pytest.mark.parametrize("seed", range(8))
def test_tracks_equal_naive_clustering(seed):
    generator = torch.Generator().manual_seed(seed)
    frames = [detections(generator, count) for count in (9, 0, 12)]
    tracks = tracks_of_snippet(frames)
    expected = naive_tracks(frames)
    assert tracks.scores.tolist() == [score for score, _ in expected]
    torch.testing.assert_close(tracks.features, torch.tensor([mean for _, mean in expected]), atol=1e-6, rtol=1e-5)


def test_iou_is_right_for_boxes_without_area():
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [1, 1, 1, 1], [5, 5, 4, 4]])
    expected = [[naive_iou(a, b) for b in boxes.tolist()] for a in boxes.tolist()]
    torch.testing.assert_close(box_iou(boxes, boxes), torch.tensor(expected))


def test_an_object_that_moves_slowly_is_one_track_and_a_row_of_neighbours_is_not():
    still = [
        Detections(torch.tensor([[x, 0.0, x + 10, 10]]), torch.tensor([0.5]), torch.full((1, 2), x)) for x in (0, 1, 2)
    ]
    tracks = tracks_of_snippet(still)
    assert tracks.features.tolist() == [[1.0, 1.0]]
    chain = torch.tensor([[x, 0.0, x + 10, 10] for x in (0.0, 3, 6, 9, 12)])
    assert len(tracks_of_snippet([Detections(chain, torch.linspace(1, 0.5, 5), torch.zeros(5, 2))]).scores) > 1


def test_a_clip_keeps_its_most_confident_tracks_in_time_order():
    generator = torch.Generator().manual_seed(3)
    snippets = [tracks_of_snippet([detections(generator, 8)]) for _ in range(6)]
    features, owner = objects_of_clip(snippets, limit=16)
    everything = [
        (s, -i, f) for i, t in enumerate(snippets) for s, f in zip(t.scores.tolist(), t.features.tolist(), strict=True)
    ]
    best = sorted(everything, key=lambda entry: (-entry[0], -entry[1]))[:16]
    assert len(features) == 16
    assert owner.tolist() == sorted(owner.tolist())
    assert sorted(map(tuple, features.tolist())) == sorted(tuple(f) for _, _, f in best)


def test_a_clip_without_objects_has_none():
    empty = tracks_of_snippet([Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 7))])
    features, owner = objects_of_clip([empty, empty])
    assert features.shape == (0, 7)
    assert owner.shape == (0,)
