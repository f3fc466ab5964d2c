"""The bundled backbones through the whole stage: the same features in any batch, order and cache state."""

from __future__ import annotations

import pytest
import torch

from evcap_cli.backbones.loading import load_backbones
from evcap_cli.backbones.presets import backbone_addresses
from evcap_cli.features.cache import FeatureCache
from tests.features.films import make_film
from tests.features.test_pipeline import assert_same, run


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return [make_film(folder / f"{n}.mp4", frames=6 + 3 * n, size=(160, 120), seed=n, sound=n > 0) for n in range(2)]


@pytest.mark.slow
def test_lite_features_do_not_depend_on_batch_order_workers_or_cache(films, tmp_path):
    backbones = load_backbones(backbone_addresses("lite"))
    cache = FeatureCache(tmp_path)
    cold, ends, _ = run(films, cache, backbones=backbones, batch_size=16)
    assert all(end.error is None for end in ends.values())
    warm, _, pipeline = run(films, cache, backbones=backbones)
    assert not pipeline.passes
    assert_same(cold, warm)
    assert_same(cold, run(films[::-1], backbones=backbones, batch_size=16, workers=1)[0], tolerance=1e-5)
    assert_same(cold, run(films, backbones=backbones, batch_size=1)[0], tolerance=1e-4)
    for (clip,) in cold.values():
        for kind, stream in clip.streams.items():
            assert stream.values.shape[1] == backbones[kind].spec.dim
            assert torch.isfinite(stream.values).all()
