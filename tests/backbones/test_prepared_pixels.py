"""The pixels that reach a pretrained network are those its own library would have prepared (issue 3, show 3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from evcap_backbones.clip import Clip
from evcap_backbones.fasterrcnn import FasterRCNN
from evcap_backbones.resnet import ResNet
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from torchvision.models import get_weight
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms.functional import pil_to_tensor

from evcap_cli.backbones.contract import Backbone, FrameInput
from evcap_cli.features.runner import BackboneRunner
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.frames import Geometry
from tests.backbones.natural import decoded_images, natural_clip
from tests.media.reading import run

LARGEST, MEAN = 2.0, 0.5
"""Grey levels of 255."""


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


def clips_transform(arch: str, tag: str) -> Any:
    size = open_clip.get_model_config(arch)["vision_cfg"]["image_size"]
    entry = open_clip.get_pretrained_cfg(arch, tag)
    return image_transform_v2(PreprocessCfg(**merge_preprocess_dict({"size": size}, entry)), is_train=False)


UPSTREAM = {
    "resnet": (ResNet, None, lambda: get_weight("ResNet101_Weights.IMAGENET1K_V1").transforms()),
    "resnet, V2": (ResNet, "resnet50/IMAGENET1K_V2", lambda: get_weight("ResNet50_Weights.IMAGENET1K_V2").transforms()),
    "clip": (Clip, None, lambda: clips_transform("ViT-B-32-quickgelu", "openai")),
    "clip, squashed": (Clip, "ViT-B-16-SigLIP/webli", lambda: clips_transform("ViT-B-16-SigLIP", "webli")),
    "clip, SigLIP 2": (
        Clip,
        "ViT-B-16-SigLIP2-256/webli",
        lambda: clips_transform("ViT-B-16-SigLIP2-256", "webli"),
    ),
    "clip, bilinear": (Clip, "MobileCLIP-S1/datacompdr", lambda: clips_transform("MobileCLIP-S1", "datacompdr")),
}


def prepared(backbone: Backbone, decoder: Decoder, path: Path, ordinals: list[int]) -> torch.Tensor:
    """What the backbone would be given of these frames, through the decoder and the runner, (N, 3, H, W)."""
    declared = backbone.spec.input
    assert isinstance(declared, FrameInput)
    geometry = Geometry(declared.size, declared.short_side, declared.max_side, declared.fit, declared.interpolation)
    decoder.open(path)
    frames = run(decoder, ordinals, geometry=geometry).frames
    runner: BackboneRunner[int] = BackboneRunner(backbone, batch_size=1, device="cpu", owner=lambda ticket: ticket)
    return torch.cat([runner.prepare([frames[ordinal]]) for ordinal in ordinals])


def grey_levels(backbone: Backbone, ours: torch.Tensor, theirs: torch.Tensor) -> np.ndarray[Any, Any]:
    assert ours.shape == theirs.shape
    std = torch.tensor(backbone.spec.input.std).reshape(3, 1, 1)  # type: ignore[union-attr]
    return ((ours - theirs).abs() * std * 255).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("which", UPSTREAM)
@pytest.mark.parametrize("size", [(426, 240), (270, 480), (321, 243), (1280, 720), (120, 90)])
def test_drawn_frames_are_prepared_as_upstream_does(
    which: str, size: tuple[int, int], tmp_path: Path, decoder: Decoder
) -> None:
    cls, variant, transform = UPSTREAM[which]
    backbone = cls(variant)
    path = natural_clip(tmp_path / "a.mkv", size)
    ours = prepared(backbone, decoder, path, [0, 5])
    images = decoded_images(path)
    apart = grey_levels(backbone, ours, torch.stack([transform()(images[ordinal]) for ordinal in (0, 5)]))
    # the promise is two levels; it is nothing at all, but for the rounding of mean and std
    assert apart.max() < 0.001


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_frames_are_prepared_upright(rotation: int, tmp_path: Path, decoder: Decoder) -> None:
    backbone = ResNet()
    path = natural_clip(tmp_path / "a.mp4", (426, 240), rotation=rotation)
    images = decoded_images(path, rotation=rotation)
    transform = UPSTREAM["resnet"][2]()
    assert images[3].size == (426, 240)
    apart = grey_levels(backbone, prepared(backbone, decoder, path, [3]), transform(images[3])[None])
    assert apart.max() < 0.001


@pytest.mark.parametrize("size", [(426, 240), (320, 240), (270, 480)])
def test_the_detectors_frames_are_those_it_would_make_itself(
    size: tuple[int, int], tmp_path: Path, decoder: Decoder
) -> None:
    backbone = FasterRCNN()
    path = natural_clip(tmp_path / "a.mkv", size)
    ours = prepared(backbone, decoder, path, [2])
    itself = GeneralizedRCNNTransform(800, 1333, list(backbone.spec.input.mean), list(backbone.spec.input.std))
    pixels = pil_to_tensor(decoded_images(path)[2]) / 255
    made, _ = itself.eval()([pixels])
    height, width = made.image_sizes[0]
    apart = grey_levels(backbone, ours, made.tensors[:, :, :height, :width])
    assert apart.max() <= LARGEST
    assert apart.mean() < MEAN


@pytest.mark.slow
def test_sides_are_cut_as_torchvision_cuts_them() -> None:
    geometry = Geometry(short_side=800, max_side=1333, fit="keep")
    itself = GeneralizedRCNNTransform(800, 1333, [0.0] * 3, [1.0] * 3).eval()
    for width, height in [(320, 240), (640, 480), (1280, 720), (1920, 1080), (1080, 1920), (854, 480), (400, 226)]:
        made, _ = itself([torch.zeros(3, height, width)])
        assert geometry.scaled_size(width, height) == made.image_sizes[0]
