"""Objects by RT-DETR v2 (COCO), through transformers: boxes and the decoder's embedding of each.

``rtdetr`` is the smallest network (ResNet-18), ``rtdetr:PekingU/rtdetr_v2_r50vd`` and the like the larger ones. The
feature of a box is the decoder's last hidden state of the query that gave it: the 256 numbers from which its class and
its place were read. A query gives one box, with its best class; nothing has to be suppressed. Clustering over
neighbouring frames and pooling are ``evcap_cli/features/tracks.py`` (paper 1.1).

Lv et al., "RT-DETRv2: Improved Baseline with Bag-of-Freebies for Real-Time Detection Transformer" (2024).

Notation: N frames, H x W = 640 x 640 pixels, Q queries of a frame, C classes, k boxes kept of a frame, D = 256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from evcap_backbones.hub_backbone import Published
from evcap_backbones.options import share, whole_number
from evcap_backbones.transformers_backbone import TransformersBackbone
from evcap_cli.backbones.contract import BackboneSpec, Detections, FrameInput

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DEFAULT: Final = "PekingU/rtdetr_v2_r18vd"
LICENSE: Final = "Apache-2.0"
WIDTH: Final = 256
QUERIES: Final = 300
SCORE_THRESHOLD: Final = 0.5
TOP_K: Final = 20
"""Boxes kept of a frame; more than are kept of a clip, so that the limit rarely decides."""


def _basic(depths: tuple[int, ...], decoder_layers: int) -> dict[str, Any]:
    """Configuration of the two networks on a small ResNet."""
    return {
        "num_labels": 80,
        "backbone_config": {
            "model_type": "rt_detr_resnet",
            "hidden_sizes": [64, 128, 256, 512],
            "depths": list(depths),
            "layer_type": "basic",
            "out_indices": [2, 3, 4],
        },
        "encoder_in_channels": [128, 256, 512],
        "hidden_expansion": 0.5,
        "decoder_layers": decoder_layers,
    }


class RTDetr(TransformersBackbone):
    """The most confident boxes of a frame, each with its query's embedding."""

    model_type = "rt_detr_v2"
    published: ClassVar[Mapping[str, Published]] = {
        DEFAULT: Published(WIDTH, LICENSE, _basic((2, 2, 2, 2), 3)),
        "PekingU/rtdetr_v2_r34vd": Published(WIDTH, LICENSE, _basic((3, 4, 6, 3), 4)),
        "PekingU/rtdetr_v2_r101vd": Published(
            WIDTH,
            LICENSE,
            {
                "num_labels": 80,
                "backbone_config": {
                    "model_type": "rt_detr_resnet",
                    "depths": [3, 4, 23, 3],
                    "out_indices": [2, 3, 4],
                },
                "encoder_ffn_dim": 2048,
                "encoder_hidden_dim": 384,
                "decoder_in_channels": [384, 384, 384],
            },
        ),
        "PekingU/rtdetr_v2_r50vd": Published(WIDTH, LICENSE, {"num_labels": 80}),
    }
    outside_shapes = (
        "activation_function",
        "anchor_image_size",
        "backbone_config.downsample_in_bottleneck",
        "backbone_config.downsample_in_first_stage",
        "backbone_config.hidden_act",
        "backbone_config.out_features",
        "batch_norm_eps",
        "decoder_activation_function",
        "decoder_attention_heads",
        "decoder_method",
        "decoder_offset_scale",
        "encode_proj_layers",
        "encoder_activation_function",
        "encoder_attention_heads",
        "eval_size",
        "feat_strides",
        "layer_norm_eps",
        "learn_initial_query",
        "normalize_before",
        "num_queries",
        "positional_encoding_temperature",
    )
    spec = BackboneSpec(
        name="rtdetr",
        kind="object",
        dim=WIDTH,
        version="1",
        # neither the aspect ratio nor mean and std count: so it was trained
        input=FrameInput(size=(640, 640), fit="stretch"),
        license="Apache-2.0",
        weights=DEFAULT,
        # a tenth of the thirty frames of a clip
        batch_size=3,
    )
    network: nn.Module

    def __init__(self, variant: str | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__(variant, options)
        self.score_threshold, self.top_k = _choices(self.options)

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec; options change what is kept, not what is read.

        Raises:
            ValueError: for a network that is not known here, an unknown option or a value out of its range.
        """
        _choices(options)
        name = variant or cls.default()
        return replace(cls.spec, dim=cls.known_variant(name).dim, weights=name)

    def auto_class(self, config: Any) -> str:  # noqa: ARG002
        return "AutoModelForObjectDetection"

    def declared(self) -> dict[str, Any]:
        return {"d_model": self.spec.dim}

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:  # noqa: ARG002
        import torch

        # boxes are refined layer by layer: eight bits of a number place them to three pixels only
        self.dtype = torch.float32
        self.network = self.loaded(weights).to(device, memory_format=torch.channels_last)

    def extract(self, batch: Tensor) -> list[Detections]:
        """Objects of frames (N, 3, H, W): N ``Detections``, the most confident first."""
        import torch
        from torchvision.ops import box_convert, clip_boxes_to_image

        if not len(batch):
            return []
        height, width = batch.shape[-2:]
        found = self.network(batch.contiguous(memory_format=torch.channels_last))
        scores, order = found.logits.sigmoid().amax(-1).sort(dim=1, descending=True, stable=True)  # (N, Q)
        kept = (scores[:, : self.top_k] > self.score_threshold).sum(1).tolist()
        boxes = box_convert(found.pred_boxes, "cxcywh", "xyxy") * batch.new_tensor([width, height, width, height])
        boxes = clip_boxes_to_image(boxes, (height, width))
        return [
            Detections(boxes[row, chosen], scores[row, : len(chosen)], found.last_hidden_state[row, chosen])
            for row, chosen in enumerate(order[row, :count] for row, count in enumerate(kept))
        ]


def _choices(options: Mapping[str, str]) -> tuple[float, int]:
    """The score that a box needs more than, and how many are kept of a frame.

    Raises:
        ValueError: an unknown option, or a value out of its range.
    """
    unknown = next((key for key in options if key not in ("score_threshold", "top_k")), None)
    if unknown is not None:
        raise ValueError(f"rtdetr has no option {unknown!r}; it has score_threshold and top_k")
    threshold, top_k = options.get("score_threshold"), options.get("top_k")
    return (
        SCORE_THRESHOLD if threshold is None else share("rtdetr.score_threshold", threshold),
        TOP_K if top_k is None else whole_number("rtdetr.top_k", top_k, 1, QUERIES),
    )
