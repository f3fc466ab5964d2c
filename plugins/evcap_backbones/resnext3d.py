"""Motion by 3D-ResNeXt-101 trained on Kinetics, as in the paper (1.1): 16 frames of 112 x 112 pixels, 2048 features.

The network is ours (``resnext3d_network.py``) and takes Hara's ``resnext-101-kinetics.pth``, which exists only in a
folder of Google Drive: nothing here downloads it. `evcap weights import` turns it into safetensors.

Notation: N windows, T frames, H x W pixels, D = 2048.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from evcap_backbones.network_backbone import PREFIX, NetworkBackbone
from evcap_cli.backbones.contract import BackboneSpec, ClipInput, WeightsSource
from evcap_cli.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor, nn

LEGACY_FILE: Final = "resnext-101-kinetics.pth"
FILE: Final = "resnext-101-kinetics.safetensors"
"""The imported file; found without ``--weights`` where it lies in torch hub's checkpoint folder."""
DRIVE_FOLDER: Final = "https://drive.google.com/drive/folders/14KRBqT8ySfPtFSuLsFS2U4I-ihTDs0Y9"
MEAN_GREY_LEVELS: Final = (114.7748, 107.7354, 99.4750)
"""Of red, green and blue over ActivityNet, 0..255; upstream subtracts it and divides by nothing."""


class ResNeXt3D101(NetworkBackbone):
    """Global average of the last feature map of 3D-ResNeXt-101, one row a window."""

    spec = BackboneSpec(
        name="resnext3d",
        kind="motion",
        dim=2048,
        version="1",
        input=ClipInput(
            size=(112, 112),
            fit="crop",
            frames=16,
            mean=(MEAN_GREY_LEVELS[0] / 255, MEAN_GREY_LEVELS[1] / 255, MEAN_GREY_LEVELS[2] / 255),
            std=(1 / 255, 1 / 255, 1 / 255),
        ),
        license="MIT",
        weights=FILE,
        # a third of the thirty moments of a clip: no batch of a single video is filled up in vain
        batch_size=10,
    )
    network: nn.Module

    def weights_source(self) -> WeightsSource:
        """Where people get the file; it has to be imported before it is used."""
        return WeightsSource(f"Hara's {LEGACY_FILE}", DRIVE_FOLDER, license="MIT", file=FILE)

    def build(self) -> Any:
        from evcap_backbones.resnext3d_network import ResNeXt3D

        return ResNeXt3D()

    def default_file(self) -> Path:
        """The imported file in torch hub's checkpoint folder; nothing can download it.

        Raises:
            WeightsError: it is not there.
        """
        from evcap_cli.backbones.downloading import local_copy

        file = local_copy(self.weights_source())
        if file is None:
            raise WeightsError(
                f"{LEGACY_FILE} has no download that evcap could do for you",
                path=self.spec.name,
                hint=f"get it from {DRIVE_FOLDER}, run `evcap weights import {self.spec.name} {LEGACY_FILE} "
                f"-o {self.spec.name}.safetensors`, then pass --weights {self.spec.name}={self.spec.name}.safetensors",
            )
        return file

    def import_state(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take off the prefix of the published file.

        Raises:
            ValueError: the tensors are not those of a 3-D network in Hara's naming.
        """
        renamed = super().import_state(tensors)
        if len(renamed) < len(tensors):
            raise ValueError(f"some tensors are there twice, with and without the prefix {PREFIX!r}")
        stem = renamed.get("conv1.weight")
        if stem is None or stem.ndim != 5 or "fc.weight" not in renamed:
            raise ValueError(f"this is not {LEGACY_FILE} (no 3-D conv1.weight, or no fc.weight)")
        return renamed

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        import torch
        from torch.fx.experimental.optimization import fuse

        # batch norms are multiplied into the convolutions before them: a sixth faster, equal to rounding
        network = fuse(self.loaded(weights).eval().requires_grad_(False), inplace=True)
        self.network = network.to(device, dtype).to(memory_format=torch.channels_last_3d)

    def extract(self, batch: Tensor) -> Tensor:
        """Describe windows (N, 3, T, H, W) -> (N, D)."""
        import torch

        features: Tensor = self.network(batch.contiguous(memory_format=torch.channels_last_3d))
        return features
