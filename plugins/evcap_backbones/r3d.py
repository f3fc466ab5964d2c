"""Motion by torchvision's video ResNets trained on Kinetics-400, whose weights anyone can download.

``r3d`` is R3D-18, ``r3d:mc3_18`` and ``r3d:r2plus1d_18`` its relatives: 16 frames of 112 x 112 pixels, 512 features.
Not the paper's network (that is ``resnext3d``), but one that needs no file from a stranger's drive.

Notation: N windows, T frames, H x W pixels, D = 512.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from evcap_backbones.network_backbone import NetworkBackbone
from evcap_cli.backbones.contract import BackboneSpec, ClipInput, WeightsSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

VARIANTS: Final = ("r3d_18", "mc3_18", "r2plus1d_18")
TAG: Final = "KINETICS400_V1"
"""The one set of weights torchvision has for each of them; size, mean and std below are its own (a test compares)."""
DEFAULT_SOURCE: Final = WeightsSource(
    "torchvision R3D_18_Weights.KINETICS400_V1",
    "https://download.pytorch.org/models/r3d_18-b3b3357e.pth",
    license="unknown",
)
"""Written out, so that listing backbones imports no model library; a test compares it with the library's own entry."""
STRETCHED: Final = (128, 171)
CROP: Final = 112
TOP, LEFT = 8, 30  # where torchvision's centre crop of 112 x 112 begins; half of 59 is rounded to even there


class R3D(NetworkBackbone):
    """What a video ResNet of torchvision gives its classifier, one row a window."""

    spec = BackboneSpec(
        name="r3d",
        kind="motion",
        dim=512,
        version="1",
        input=ClipInput(
            # torchvision ignores the aspect ratio and then crops, in two steps; the second is in ``extract``
            size=STRETCHED,
            fit="stretch",
            frames=16,
            mean=(0.43216, 0.394666, 0.37645),
            std=(0.22803, 0.22145, 0.216989),
        ),
        license="BSD-3-Clause",
        weights=TAG,
        # a third of the thirty moments of a clip: no batch of a single video is filled up in vain
        batch_size=10,
    )
    model: nn.Module

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec, which all variants share.

        Raises:
            ValueError: for a variant torchvision does not have, or any option.
        """
        if variant is not None and variant not in VARIANTS:
            raise ValueError(f"r3d has no variant {variant!r}; one of: {', '.join(VARIANTS)}")
        return super().spec_for(None, options)

    def weights_source(self) -> WeightsSource:
        """The file torchvision lists for this variant."""
        if self._arch == VARIANTS[0]:
            return DEFAULT_SOURCE
        from torchvision.models import get_model_weights

        weights = get_model_weights(self._arch)[TAG]
        return WeightsSource(f"torchvision {weights}", weights.url, license="unknown")

    def build(self) -> Any:
        from torchvision.models import get_model

        return get_model(self._arch, weights=None)

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        model = self.loaded(weights)
        model.fc = torch.nn.Identity()
        # a tenth faster on a CPU
        self.model = model.eval().requires_grad_(False).to(device, dtype).to(memory_format=torch.channels_last_3d)

    def extract(self, batch: Tensor) -> Tensor:
        """Describe windows (N, 3, T, H, W) -> (N, D)."""
        import torch

        centre = batch[..., TOP : TOP + CROP, LEFT : LEFT + CROP]
        features: Tensor = self.model(centre.contiguous(memory_format=torch.channels_last_3d))
        return features

    @property
    def _arch(self) -> str:
        return self.variant or VARIANTS[0]
