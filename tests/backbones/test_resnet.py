"""ResNet features are torchvision's, whatever way the weights came."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from evcap_backbones.resnet import ResNet
from safetensors.torch import save_file
from torchvision.models import get_weight, resnet18, resnet50
from torchvision.models.feature_extraction import create_feature_extractor

from evcap_cli.backbones.contract import FrameInput
from evcap_cli.errors import WeightsError

CPU = torch.device("cpu")


def drawn(builder, seed: int = 0):
    """A model with weights that give each layer something to do: batch norm has statistics of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = builder(weights=None)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.running_var, 0.5, 2)
                torch.nn.init.normal_(module.running_mean, std=0.2)
                torch.nn.init.uniform_(module.weight, 0.2, 0.6)
    return model.eval()


def saved(model: torch.nn.Module, path: Path) -> str:
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return str(path)


def loaded(weights: str | None, variant: str = "resnet18", dtype: torch.dtype = torch.float32) -> ResNet:
    backbone = ResNet(variant)
    with torch.inference_mode():
        backbone.load(weights, CPU, dtype)
    return backbone


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "builder", "dim"), [("resnet18", resnet18, 512), ("resnet50", resnet50, 2048)])
def test_features_are_torchvisions_before_the_classifier(variant, builder, dim, tmp_path) -> None:
    model = drawn(builder)
    upstream = create_feature_extractor(model, {"flatten": "features"})
    backbone = loaded(saved(model, tmp_path / "w.safetensors"), variant)
    frames = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours, theirs = backbone.extract(frames), upstream(frames)["features"]
    assert ours.shape == (3, dim) == (3, backbone.spec.dim)
    assert float(theirs.std()) > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_default_is_resnet101_with_the_weights_of_the_literature() -> None:
    spec, weights = ResNet().spec, get_weight("ResNet101_Weights.IMAGENET1K_V1")
    transforms = weights.transforms()
    assert spec.input == FrameInput(
        size=(transforms.crop_size[0], transforms.crop_size[0]),
        short_side=transforms.resize_size[0],
        fit="crop",
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
    assert spec.dim == 2048
    assert ResNet().weights_source().location == weights.url
    # written out in the module, so that it costs no import: it must be what would be read from torchvision
    assert ResNet("resnet101").spec == ResNet("resnet101/IMAGENET1K_V1").spec == spec


def test_a_tag_brings_its_own_preparation_and_source() -> None:
    backbone = ResNet("resnet50/IMAGENET1K_V2")
    assert isinstance(backbone.spec.input, FrameInput)
    assert backbone.spec.input.short_side == 232
    assert backbone.weights_source().location == get_weight("ResNet50_Weights.IMAGENET1K_V2").url


@pytest.mark.parametrize(
    ("variant", "options", "said"),
    [
        ("resnet77", {}, "one of: resnet101"),
        ("vit_b_16", {}, "no variant"),
        ("resnet18/V9", {}, "one of: IMAGENET1K_V1"),
        (None, {"depth": "3"}, "no option 'depth'"),
    ],
)
def test_what_torchvision_does_not_have_is_refused_with_what_it_has(variant, options, said) -> None:
    with pytest.raises(ValueError, match=said):
        ResNet(variant, options)


@pytest.mark.slow
def test_default_weights_are_torchvisions_own_file(tmp_path, monkeypatch) -> None:
    model = drawn(resnet18)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(model.state_dict(), tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    backbone = loaded(None)
    frames = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    same = loaded(saved(model, tmp_path / "w.safetensors"))
    assert backbone.weights_digest == same.weights_digest
    assert torch.equal(backbone.extract(frames), same.extract(frames))


@pytest.mark.slow
def test_random_weights_are_drawn_from_their_seed_and_disturb_no_one() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = loaded("random:3"), loaded("random:3"), loaded("random:4")
    assert torch.equal(before, torch.get_rng_state())
    assert first.weights_digest == again.weights_digest != other.weights_digest
    frames = torch.ones(1, 3, 64, 64)
    assert torch.equal(first.extract(frames), again.extract(frames))


@pytest.mark.slow
def test_weights_of_another_depth_are_one_line(tmp_path) -> None:
    path = saved(drawn(resnet18), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError) as problem:
        loaded(path, "resnet50")
    assert str(problem.value).startswith(f"{path}: weights of another architecture: lacks")
    assert "\n" not in str(problem.value)


@pytest.mark.slow
def test_a_legacy_file_is_checked_before_it_is_imported() -> None:
    state = drawn(resnet18).state_dict()
    parallel = {f"module.{name}": tensor for name, tensor in state.items() if "num_batches" not in name}
    named = ResNet("resnet18").import_state(parallel)
    ResNet("resnet18").check_state(named)
    with pytest.raises(WeightsError, match="has shape"):
        ResNet("resnet18").check_state({**named, "fc.weight": torch.zeros(7, 512)})


@pytest.mark.slow
def test_half_precision_stays_close() -> None:
    frames = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    whole = loaded("random:0").extract(frames)
    half = loaded("random:0", dtype=torch.bfloat16).extract(frames.bfloat16())
    assert half.dtype == torch.bfloat16
    assert float((half.float() - whole).norm() / whole.norm()) < 0.05
