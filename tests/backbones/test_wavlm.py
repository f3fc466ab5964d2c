"""WavLM features are transformers' own. What WavLM shares with HuBERT is examined in ``test_hubert.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evcap_backbones.wavlm import WavLM
from transformers import AutoModel, Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForCTC

from evcap_cli.errors import WeightsError
from evcap_cli.testing import check_backbone
from tests.backbones.hub_folders import copied, loaded, written
from tests.backbones.small_networks import SmallWavLM

LARGER = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}


@pytest.fixture(scope="module", params=["base", "large"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network built like the base or like the large one, as transformers writes it."""
    place = tmp_path_factory.mktemp(request.param) / "net"
    return written(SmallWavLM, place, **(LARGER if request.param == "large" else {}))


def sound(samples: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    loudness = 0.1 + 0.1 * np.sin(np.arange(samples) / 3000)
    return (loudness * generator.normal(size=samples) + 0.05).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [None, True, False])
def test_features_are_those_of_transformers_called_directly(folder: Path, normalise: bool | None, tmp_path) -> None:
    place = copied(folder, tmp_path / "net")
    if normalise is not None:
        Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(place)
    model = AutoModel.from_pretrained(place).eval()
    # microsoft's base networks read samples as they are, the large one reads normalised ones
    expected = normalise if normalise is not None else model.config.feat_extract_norm == "layer"
    prepare = Wav2Vec2FeatureExtractor(do_normalize=expected)
    samples = sound(9000)
    with torch.inference_mode():
        theirs = model(prepare(samples, sampling_rate=16000, return_tensors="pt").input_values).last_hidden_state
        ours = loaded(SmallWavLM, place).extract(torch.from_numpy(samples)[None])
    assert ours.shape == (1, (9000 - 400) // 320 + 1, 32)
    assert float(theirs.std()) > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_layers_count_as_transformers_counts_hidden_states(folder: Path, tmp_path) -> None:
    place = copied(folder, tmp_path / "net")
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(place)
    samples = torch.from_numpy(sound(4000))[None]
    with torch.inference_mode():
        answer = AutoModel.from_pretrained(place).eval()(samples, output_hidden_states=True)
        for layer, theirs in enumerate([*answer.hidden_states[:-1], answer.last_hidden_state]):
            ours = loaded(SmallWavLM, place, layer=str(layer)).extract(samples)
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_a_fine_tuned_network_serves_without_its_head(folder: Path, tmp_path: Path) -> None:
    model = WavLMForCTC.from_pretrained(folder)
    model.save_pretrained(tmp_path / "net")
    assert loaded(SmallWavLM, tmp_path / "net").weights_digest == loaded(SmallWavLM, folder).weights_digest


def test_the_digest_tells_apart_what_the_tensors_do_not(folder: Path, tmp_path: Path) -> None:
    plain = loaded(SmallWavLM, folder).weights_digest
    assert loaded(SmallWavLM, copied(folder, tmp_path / "a", max_bucket_distance=40)).weights_digest != plain
    assert loaded(SmallWavLM, copied(folder, tmp_path / "b", hidden_dropout=0.5)).weights_digest == plain


def test_the_published_sizes_are_what_their_configs_say() -> None:
    base, large = WavLM().known_config(), WavLM("microsoft/wavlm-large").known_config()
    plain = WavLMConfig()
    for field in ("hidden_size", "num_hidden_layers", "num_attention_heads", "conv_bias", "num_buckets"):
        assert getattr(base, field) == getattr(plain, field), field
    assert (large.hidden_size, large.num_hidden_layers, large.num_attention_heads) == (1024, 24, 16)
    assert [WavLM(name).spec.dim for name in WavLM.published] == [768, 768, 1024]
    assert [WavLM().normalises(config) for config in (base, large)] == [False, True]


def test_what_cannot_be_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"wavlm\.layer must be from 0 to 12, got 13"):
        WavLM(None, {"layer": "13"})
    with pytest.raises(ValueError, match=r"how wide wavlm:someone/wavlm is .* --option wavlm\.dim=N"):
        WavLM("someone/wavlm")
    with pytest.raises(WeightsError, match=r"has 32 features a step, not 768; .*wavlm\.dim=32"):
        WavLM().load(str(folder), torch.device("cpu"), torch.float32)
    with pytest.raises(ValueError, match="these are not WavLM's weights"):
        WavLM().import_state({"lm_head.weight": torch.zeros(1)})


@pytest.mark.slow
def test_it_keeps_the_contract() -> None:
    check_backbone(SmallWavLM, weights="random:0")
