"""V-JEPA 2 features are the mean of what transformers' encoder gives, for any even number of frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from evcap_backbones.vjepa2 import VJepa2
from transformers import AutoModel, VJEPA2ForVideoClassification, VJEPA2VideoProcessor

from evcap_cli.backbones.contract import ClipInput
from evcap_cli.testing import check_backbone
from tests.backbones.hub_folders import loaded, written
from tests.backbones.small_networks import SmallVJepa2


def windows(frames: int = 8, count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, frames, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
@pytest.mark.parametrize("frames", [2, 8, 24])
def test_features_are_the_mean_of_the_encoders_output(tmp_path: Path, frames: int) -> None:
    place = written(SmallVJepa2, tmp_path / "net")
    model = AutoModel.from_pretrained(place).eval()
    with torch.inference_mode():
        theirs = model.get_vision_features(windows(frames).transpose(1, 2)).mean(1)
        ours = loaded(SmallVJepa2, place, frames=str(frames)).extract(windows(frames))
    assert ours.shape == (3, 48)
    assert float(theirs.std()) > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_the_order_of_frames_counts(tmp_path: Path) -> None:
    backbone = loaded(SmallVJepa2, written(SmallVJepa2, tmp_path / "net"))
    with torch.inference_mode():
        apart = backbone.extract(windows()) - backbone.extract(windows().flip(2))
    assert float(apart.abs().max()) > 1e-3


@pytest.mark.slow
def test_a_fine_tuned_network_serves_without_its_classifier(tmp_path: Path) -> None:
    place = written(SmallVJepa2, tmp_path / "net", auto=VJEPA2ForVideoClassification)
    model = VJEPA2ForVideoClassification.from_pretrained(place).eval().vjepa2
    with torch.inference_mode():
        theirs = model.get_vision_features(windows().transpose(1, 2)).mean(1)
        torch.testing.assert_close(loaded(SmallVJepa2, place).extract(windows()), theirs, atol=1e-5, rtol=0)


def test_the_predictor_takes_no_memory(tmp_path: Path) -> None:
    backbone = loaded(SmallVJepa2, written(SmallVJepa2, tmp_path / "net"))
    assert not any("predictor" in name for name, _ in backbone.encoder.named_modules())
    assert [name for name, value in vars(backbone).items() if isinstance(value, torch.nn.Module)] == ["encoder"]


@pytest.mark.parametrize("variant", VJepa2.published)
def test_windows_are_prepared_as_transformers_does(variant: str) -> None:
    backbone = VJepa2(variant)
    config, declared = backbone.known_config(), backbone.spec.input
    theirs = VJEPA2VideoProcessor(crop_size=config.crop_size)
    assert isinstance(declared, ClipInput)
    assert declared.size == (config.crop_size, config.crop_size)
    assert declared.short_side == theirs.size["shortest_edge"]
    assert (declared.fit, declared.interpolation) == ("crop", "bilinear")
    assert list(declared.mean) == list(theirs.image_mean)
    assert list(declared.std) == list(theirs.image_std)
    assert backbone.spec.dim == config.hidden_size


def test_the_default_costs_no_other_spec() -> None:
    assert VJepa2().spec == VJepa2.spec == VJepa2("facebook/vjepa2-vitl-fpc64-256").spec


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frames": "15"}, "vjepa2.frames must be even, got 15"),
        ({"frames": "0"}, "vjepa2.frames must be a whole number from 1 to 128, got '0'"),
        ({"stride": "many"}, "vjepa2.stride must be a whole number from 1 to 64, got 'many'"),
        ({"fps": "4"}, "no option 'fps'; it has frames and stride"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        VJepa2(None, options)


@pytest.mark.slow
def test_it_keeps_the_contract() -> None:
    check_backbone(SmallVJepa2, options={"frames": "4", "stride": "2"}, weights="random:0")
