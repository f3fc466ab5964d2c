"""VideoMAE features are transformers' own, of networks with and without a classifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from evcap_backbones.videomae import VideoMAE
from transformers import AutoModelForVideoClassification, VideoMAEForPreTraining, VideoMAEModel, VideoMAEVideoProcessor

from evcap_cli.testing import check_backbone
from tests.backbones.hub_folders import loaded, written
from tests.backbones.small_networks import SmallVideoMAE


def windows(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))


def test_features_are_what_the_classifier_reads(tmp_path: Path) -> None:
    place = written(SmallVideoMAE, tmp_path / "net")
    model = AutoModelForVideoClassification.from_pretrained(place).eval()
    read: list[torch.Tensor] = []
    model.classifier.register_forward_pre_hook(lambda _module, given: read.append(given[0]))
    with torch.inference_mode():
        model(windows().transpose(1, 2))
        ours = loaded(SmallVideoMAE, place).extract(windows())
    assert ours.shape == (3, 32)
    assert float(ours.std()) > 0.1
    torch.testing.assert_close(ours, read[0], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_without_fine_tuning_they_are_the_mean_of_the_encoders_output(tmp_path: Path) -> None:
    """The published file is a whole masked autoencoder: decoder and mask are left out."""
    variant = "small/pretrained"
    place = written(SmallVideoMAE, tmp_path / "net", variant=variant, auto=VideoMAEForPreTraining)
    model = VideoMAEModel.from_pretrained(place).eval()
    with torch.inference_mode():
        theirs = model(windows().transpose(1, 2)).last_hidden_state.mean(1)
        ours = loaded(SmallVideoMAE, place, variant).extract(windows())
    assert float(theirs.std()) > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_drawn_networks_give_the_features_of_the_same_networks_in_a_file(tmp_path: Path) -> None:
    """What is no tensor of the file, such as the table of positions, is there both ways."""
    place = written(SmallVideoMAE, tmp_path / "net", seed=3, spread=False)
    drawn, read = loaded(SmallVideoMAE, "random:3"), loaded(SmallVideoMAE, place)
    with torch.inference_mode():
        torch.testing.assert_close(drawn.extract(windows()), read.extract(windows()), atol=1e-6, rtol=0)


def test_windows_are_prepared_as_the_published_preprocessors_say() -> None:
    declared, theirs = VideoMAE.spec.input, VideoMAEVideoProcessor()
    assert declared.size == (theirs.crop_size["height"], theirs.crop_size["width"]) == (224, 224)
    assert theirs.size["shortest_edge"] == 224
    assert declared.fit == "crop"
    assert declared.interpolation == "bilinear"
    # preprocessor_config.json of MCG-NJU's repositories; transformers' class has halves
    assert declared.mean == (0.485, 0.456, 0.406)


def test_published_networks_have_the_width_that_is_declared() -> None:
    for name, known in VideoMAE.published.items():
        assert VideoMAE(name).known_config().hidden_size == known.dim == VideoMAE(name).spec.dim
        assert "NC" in VideoMAE(name).weights_source().license
    with pytest.raises(ValueError, match="no variant 'someone/else'; one of: MCG-NJU/videomae-base-finetuned-kinetics"):
        VideoMAE("someone/else")


@pytest.mark.slow
@pytest.mark.parametrize("variant", SmallVideoMAE.published)
def test_it_keeps_the_contract(variant: str) -> None:
    check_backbone(SmallVideoMAE, variant, weights="random:0")
