"""Appearance by an ImageNet ResNet of torchvision: what its last pooling gives, before the classifier (paper 1.1).

``resnet`` is ResNet-101; ``resnet:ARCH`` any other depth or width torchvision builds (resnet18 to resnet152,
resnext..., wide_resnet...), ``resnet:ARCH/TAG`` any weights it lists. Size, crop, mean and std are those of the
weights.

Notation: N frames, H x W pixels, D = 2048 (512 for resnet18 and resnet34).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from evcap_backbones.network_backbone import NetworkBackbone
from evcap_cli.backbones.contract import BackboneSpec, FrameInput, WeightsSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DEFAULT_ARCH: Final = "resnet101"
DEFAULT_TAG: Final = "IMAGENET1K_V1"
"""The weights of the literature of 2019 to 2022; V2 came later, by another recipe (``docs/fidelity.md``)."""
DEFAULT_SOURCE: Final = WeightsSource(
    "torchvision ResNet101_Weights.IMAGENET1K_V1",
    "https://download.pytorch.org/models/resnet101-63fe2227.pth",
    license="unknown",
)
"""Written out, so that listing backbones imports no model library; a test compares it with the library's own entry."""
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class ResNet(NetworkBackbone):
    """Global average of the last feature map of a torchvision ResNet, one row a frame."""

    spec = BackboneSpec(
        name="resnet",
        kind="appearance",
        dim=2048,
        version="1",
        input=FrameInput(size=(224, 224), short_side=256, fit="crop", mean=IMAGENET_MEAN, std=IMAGENET_STD),
        license="BSD-3-Clause",
        weights=f"{DEFAULT_ARCH}/{DEFAULT_TAG}",
    )
    model: nn.Module

    def __init__(self, variant: str | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__(variant, options)
        self.arch, self.tag = _parts(variant)

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec of ``resnet:ARCH/TAG``.

        Raises:
            ValueError: for an architecture or weights torchvision does not have, or any option.
        """
        if options:
            raise ValueError(f"resnet has no option {next(iter(options))!r}")
        if variant is None:
            return cls.spec
        arch, tag = _parts(variant)
        transforms = _weights(arch, tag).transforms()
        if transforms.interpolation.value != "bilinear":
            raise ValueError(
                f"resnet:{arch}/{tag} is resized by {transforms.interpolation.value}, which evcap does not do"
            )
        return replace(
            cls.spec,
            dim=_width(arch),
            weights=f"{arch}/{tag}",
            input=FrameInput(
                size=(transforms.crop_size[0], transforms.crop_size[0]),
                short_side=transforms.resize_size[0],
                fit="crop",
                mean=tuple(transforms.mean),
                std=tuple(transforms.std),
            ),
        )

    def weights_source(self) -> WeightsSource:
        """The file torchvision lists for this architecture and tag."""
        if (self.arch, self.tag) == (DEFAULT_ARCH, DEFAULT_TAG):
            return DEFAULT_SOURCE
        weights = _weights(self.arch, self.tag)
        return WeightsSource(f"torchvision {weights}", weights.url, license="unknown")

    def build(self) -> Any:
        return _built(self.arch)

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        import torch
        from torch.fx.experimental.optimization import fuse

        model = self.loaded(weights).eval().requires_grad_(False)
        model.fc = torch.nn.Identity()
        if device.type == "cpu" and dtype == torch.bfloat16:
            # multiplied into the convolutions while in single precision, batch norms cost neither time nor digits
            model = fuse(model, inplace=True)
        # a third faster on a CPU, and what a GPU's tensor cores are fastest with
        self.model = model.to(device, dtype, memory_format=torch.channels_last)

    def extract(self, batch: Tensor) -> Tensor:
        """Describe frames (N, 3, H, W) -> (N, D)."""
        import torch

        features: Tensor = self.model(batch.contiguous(memory_format=torch.channels_last))
        return features


def _parts(variant: str | None) -> tuple[str, str]:
    """ARCH and TAG of a variant."""
    arch, _, tag = (variant or DEFAULT_ARCH).partition("/")
    return arch, tag or DEFAULT_TAG


@cache
def _architectures() -> tuple[str, ...]:
    """Every ResNet torchvision builds for pictures."""
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    return tuple(name for name in names if torchvision.models.get_model_builder(name).__module__.endswith(".resnet"))


def _weights(arch: str, tag: str) -> Any:
    """Torchvision's entry for the weights.

    Raises:
        ValueError: there is none.
    """
    from torchvision.models import get_model_weights

    if arch not in _architectures():
        raise ValueError(f"resnet has no variant {arch!r}; one of: {', '.join(_architectures())}")
    known = get_model_weights(arch).__members__
    if tag not in known:
        raise ValueError(f"resnet:{arch} has no weights {tag!r}; one of: {', '.join(known)}")
    return known[tag]


def _built(arch: str) -> Any:
    from torchvision.models import get_model

    return get_model(arch, weights=None)


@cache
def _width(arch: str) -> int:
    """What the classifier of ``arch`` reads."""
    import torch

    with torch.device("meta"):
        return int(_built(arch).fc.in_features)
