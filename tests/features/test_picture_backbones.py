"""Real networks through the real feature stage: from a file to features, as the libraries alone would give them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from evcap_backbones.fasterrcnn import FasterRCNN
from evcap_backbones.resnet import ResNet
from torchvision.models import get_weight

from evcap_cli.features.cache import FeatureCache
from evcap_cli.features.events import SegmentReady, VideoDone
from evcap_cli.features.pipeline import FeaturePipeline
from tests.backbones.natural import decoded_images, natural_clip

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    return [
        natural_clip(folder / "a.mp4", (160, 120), count=7),
        natural_clip(folder / "b.mp4", (120, 160), count=4),
    ]


@pytest.fixture(scope="module")
def backbones():
    appearance = ResNet("resnet18")
    objects = FasterRCNN(None, {"score_threshold": "0", "top_k": "6", "proposals": "20"})
    for backbone in (appearance, objects):
        backbone.load("random:0", CPU, torch.float32)
    # the frames of a real run are 800 pixels high: seconds each
    objects.spec = replace(objects.spec, input=replace(objects.spec.input, short_side=96, max_side=160))
    return {"appearance": appearance, "object": objects}


def features(backbones, paths, cache=None, **options):
    pipeline = FeaturePipeline(backbones, cache=cache, **options)
    found = {}
    for event in pipeline.run(paths):
        if isinstance(event, SegmentReady):
            found[event.path] = event.features.streams
        elif isinstance(event, VideoDone):
            assert event.error is None
    return found, pipeline


@pytest.fixture(scope="module")
def together(films, backbones):
    return features(backbones, films)


@pytest.mark.slow
def test_appearance_is_the_network_on_the_librarys_own_pixels(films, backbones, together) -> None:
    stream = together[0][films[0]]["appearance"]
    prepare = get_weight("ResNet18_Weights.IMAGENET1K_V1").transforms()
    images = decoded_images(films[0])
    assert len(stream.values) == len(images) == 7
    with torch.inference_mode():
        expected = backbones["appearance"].model(torch.stack([prepare(image) for image in images]))
    torch.testing.assert_close(stream.values, expected, atol=1e-4, rtol=1e-4)


def test_objects_are_found_in_both_films(films, together) -> None:
    for path in films:
        stream = together[0][path]["object"]
        assert stream.values.shape[1] == 1024
        assert 1 <= len(stream.values) <= 16
        assert torch.isfinite(stream.values).all()
        assert len(stream.values.unique(dim=0)) == len(stream.values)


@pytest.mark.slow
def test_a_film_alone_with_other_workers_has_the_same_features(films, backbones, together, tmp_path) -> None:
    cache = FeatureCache(tmp_path)
    alone, _ = features(backbones, films[1:], cache, workers=1)
    for kind, stream in alone[films[1]].items():
        torch.testing.assert_close(stream.values, together[0][films[1]][kind].values, atol=1e-5, rtol=1e-4)
    again, pipeline = features(backbones, films[1:], cache, workers=1)
    assert not pipeline.passes
    for kind, stream in again[films[1]].items():
        assert torch.equal(stream.values, alone[films[1]][kind].values)


def test_one_decoding_pass_serves_both_networks(films, together) -> None:
    assert dict(together[1].passes) == dict.fromkeys(films, 1)


def test_options_are_part_of_what_the_cache_knows(backbones) -> None:
    other = FasterRCNN(None, {"score_threshold": "0", "top_k": "7", "proposals": "20"})
    other.spec, other.weights_digest = backbones["object"].spec, backbones["object"].weights_digest
    identities = [
        FeaturePipeline({"object": one}, cache=None).identities["object"].cache_identity
        for one in (backbones["object"], other)
    ]
    assert identities[0] != identities[1]
