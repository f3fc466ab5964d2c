"""Objects by torchvision's Faster R-CNN (ResNet-50, FPN, version 2, COCO): boxes and the box head's features of each.

The feature of a box is the 1024 numbers from which its class and its place were read, taken from the forward pass that
found it: the box head's output is kept while torchvision picks the detections, and each detection is traced back to the
proposal it came from. Boxes, scores and labels are torchvision's own. Clustering over neighbouring frames and pooling
are ``evcap_cli/features/tracks.py`` (paper 1.1).

Notation: N frames, H x W pixels, P proposals of a frame, C classes with the background, k detections of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from evcap_backbones.network_backbone import NetworkBackbone
from evcap_backbones.options import share, whole_number
from evcap_cli.backbones.contract import BackboneSpec, Detections, FrameInput, WeightsSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SOURCE: Final = WeightsSource(
    "torchvision FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
    "https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
    license="unknown",
)
"""Written out, so that listing backbones imports no model library; a test compares it with the library's own entry."""
SHORT_SIDE: Final = 800
MAX_SIDE: Final = 1333
"""Of a picture, as the detector was trained and scored."""
LARGEST_COUNT: Final = 1000
"""Proposals torchvision keeps of each level of the pyramid before it chooses among them."""
WIDTH: Final = 1024
"""What the box head gives for a box."""


@dataclass(frozen=True)
class Choices:
    """What ``--option fasterrcnn.KEY=VALUE`` chooses.

    Args:
        score_threshold: a detection needs more than this; torchvision's own 0.05 keeps mostly boxes that are not there.
        top_k: detections kept of a frame; more than are kept of a clip, so that the limit rarely decides.
        proposals: boxes of a frame that the box head reads; fewer are faster, torchvision's own number is 1000.
    """

    score_threshold: float = 0.5
    top_k: int = 20
    proposals: int = 1000

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Choices:
        """Read options.

        Raises:
            ValueError: an unknown option, or a value out of its range.
        """
        chosen: dict[str, Any] = {}
        for key, text in options.items():
            if key == "score_threshold":
                chosen[key] = share(f"fasterrcnn.{key}", text)
            elif key in ("top_k", "proposals"):
                chosen[key] = whole_number(f"fasterrcnn.{key}", text, 1, LARGEST_COUNT)
            else:
                raise ValueError(f"fasterrcnn has no option {key!r}; one of: score_threshold, top_k, proposals")
        return cls(**chosen)


class FasterRCNN(NetworkBackbone):
    """The most confident detections of a frame, each with its box head's representation."""

    spec = BackboneSpec(
        name="fasterrcnn",
        kind="object",
        dim=WIDTH,
        version="1",
        input=FrameInput(
            short_side=SHORT_SIDE,
            max_side=MAX_SIDE,
            fit="keep",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        license="BSD-3-Clause",
        weights="COCO_V1",
        # frames are large, and a short batch is filled: few at once waste little memory and time
        batch_size=2,
    )
    model: Any

    def __init__(self, variant: str | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__(variant, options)
        self.choices = Choices.parse(self.options)

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec; options change what is kept, not what it looks like.

        Raises:
            ValueError: for any variant, an unknown option or a value out of its range.
        """
        Choices.parse(options)
        return super().spec_for(variant, {})

    def weights_source(self) -> WeightsSource:
        """Torchvision's COCO weights."""
        return SOURCE

    def build(self) -> Any:
        import torch
        from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

        with torch.device("cpu"):  # its anchors are not in its state
            return fasterrcnn_resnet50_fpn_v2(
                weights=None,
                weights_backbone=None,
                box_score_thresh=self.choices.score_threshold,
                box_detections_per_img=self.choices.top_k,
                rpn_post_nms_top_n_test=self.choices.proposals,
            )

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        from evcap_backbones.box_features import keep_box_features

        model = self.loaded(weights)
        keep_box_features(model)
        self.compute = dtype
        # weights stay float32: torchvision places boxes and suppresses overlaps in float32 only, autocast does the rest
        self.model = model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)

    def extract(self, batch: Tensor) -> list[Detections]:
        """Objects of frames (N, 3, H, W): N ``Detections``, the most confident first."""
        import torch

        if not len(batch):
            return []  # torchvision's detector needs at least one frame
        with torch.autocast(batch.device.type, dtype=self.compute, enabled=self.compute != torch.float32):
            found = self.model(list(batch.float()))
        return [Detections(one["boxes"], one["scores"], one["features"].float()) for one in found]
