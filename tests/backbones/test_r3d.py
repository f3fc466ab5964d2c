"""Video ResNets are torchvision's: the same pixels, the same features, whatever way the weights came."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from evcap_backbones.r3d import R3D, TAG, VARIANTS
from safetensors.torch import save_file
from torchvision.models import get_model, get_model_weights
from torchvision.models.feature_extraction import create_feature_extractor

from evcap_cli.backbones import downloading
from evcap_cli.errors import WeightsError
from evcap_cli.features.runner import BackboneRunner

CPU = torch.device("cpu")


def drawn(arch: str):
    """A model with statistics of its own in each batch norm."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = get_model(arch, weights=None)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                torch.nn.init.uniform_(module.running_var, 0.5, 2)
                torch.nn.init.normal_(module.running_mean, std=0.2)
                torch.nn.init.uniform_(module.weight, 0.2, 0.6)
    return model.eval()


def loaded(weights: str | None, variant: str | None = None) -> R3D:
    backbone = R3D(variant)
    backbone.load(weights, CPU, torch.float32)
    return backbone


@pytest.mark.slow
@pytest.mark.parametrize("arch", VARIANTS)
def test_features_are_torchvisions_before_the_classifier(arch: str, tmp_path: Path) -> None:
    model = drawn(arch)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    backbone = loaded(str(tmp_path / "w.safetensors"), arch)
    transform = get_model_weights(arch)[TAG].transforms()
    # as large as the transform's first step makes it, so that only the second one and the scaling are compared
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 128, 171, 3), dtype=np.uint8)
    runner = BackboneRunner(backbone, batch_size=1, device="cpu", owner=lambda ticket: ticket)
    upstream = create_feature_extractor(model, {"flatten": "features"})
    with torch.inference_mode():
        ours = backbone.extract(runner.prepare(list(pixels)))
        theirs = upstream(transform(torch.from_numpy(pixels).permute(0, 1, 4, 2, 3)))["features"]
    assert ours.shape == (1, 512) == (1, backbone.spec.dim)
    assert float(theirs.std()) > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", VARIANTS)
def test_the_spec_is_what_torchvision_says_of_the_weights(arch: str) -> None:
    transforms = get_model_weights(arch)[TAG].transforms()
    found = R3D(arch).spec.input
    assert found.size == tuple(transforms.resize_size) == (128, 171)
    assert transforms.crop_size == [112, 112]
    assert (found.fit, found.interpolation) == ("stretch", transforms.interpolation.value)
    assert (found.mean, found.std) == (tuple(transforms.mean), tuple(transforms.std))
    assert found.frames == 16
    assert R3D(arch).weights_source().location == get_model_weights(arch)[TAG].url


@pytest.mark.slow
def test_the_default_is_r3d_18_as_torchvision_downloads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    model = drawn("r3d_18")
    torch.save(model.state_dict(), place / "r3d_18-b3b3357e.pth")
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    backbone = loaded(None)
    assert R3D().weights_source().file in ("", "r3d_18-b3b3357e.pth")
    assert backbone.weights_digest == loaded(str(tmp_path / "w.safetensors")).weights_digest
    assert "fc.weight" not in backbone.model.state_dict()


def test_without_a_network_one_line_names_file_source_and_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(downloading, "urlopen", no_network)
    with pytest.raises(WeightsError) as caught:
        loaded(None, "mc3_18")
    text = str(caught.value)
    assert "\n" not in text
    for part in ("mc3_18-a90a0ba3.pth", "torchvision MC3_18_Weights", "https://download.pytorch.org/", "--weights"):
        assert part in text


@pytest.mark.slow
def test_random_weights_are_those_of_their_seed_and_disturb_nobody() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (loaded(f"random:{seed}").weights_digest for seed in (3, 3, 4))
    assert first == again != other
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.slow
def test_weights_of_a_relative_are_refused_by_name(tmp_path: Path) -> None:
    save_file(get_model("mc3_18", weights=None).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"w\.safetensors: weights of another architecture: layer2\.0\.conv1"):
        loaded(str(tmp_path / "w.safetensors"))
    with pytest.raises(WeightsError, match="another architecture"):
        R3D("r2plus1d_18").check_state(get_model("r3d_18", weights=None).state_dict())


def test_a_variant_that_torchvision_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"r3d has no variant 'r3d_34'; one of: r3d_18, mc3_18, r2plus1d_18"):
        R3D("r3d_34")
