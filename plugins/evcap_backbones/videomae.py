"""Motion by VideoMAE, through transformers: 16 frames of 224 x 224 pixels, every fourth frame of the video.

``videomae`` is the base network fine-tuned on Kinetics-400, ``videomae:ORG/NAME`` another one that is known here. Its
feature is what its classifier reads; of networks that were not fine-tuned, the mean of the encoder's output. The
published weights may not be used commercially.

Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training" (2022).

Notation: N windows, T frames, H x W pixels, D = 768 (1024 for large).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from evcap_backbones.hub_backbone import Published
from evcap_backbones.transformers_backbone import IMAGENET_MEAN, IMAGENET_STD, TransformersBackbone
from evcap_cli.backbones.contract import BackboneSpec, ClipInput

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DEFAULT: Final = "MCG-NJU/videomae-base-finetuned-kinetics"
LICENSE: Final = "CC-BY-NC-4.0"
LARGE: Final = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
PRETRAINED: Final = {"use_mean_pooling": False}
"""Without a classifier, and with a norm at the end of the encoder."""


class VideoMAE(TransformersBackbone):
    """What VideoMAE gives its classifier, one row a window."""

    model_type = "videomae"
    published: ClassVar[Mapping[str, Published]] = {
        DEFAULT: Published(768, LICENSE, {"num_labels": 400}),
        "MCG-NJU/videomae-base-finetuned-ssv2": Published(768, LICENSE, {"num_labels": 174}),
        "MCG-NJU/videomae-base": Published(768, LICENSE, PRETRAINED),
        "MCG-NJU/videomae-large": Published(1024, LICENSE, {**LARGE, **PRETRAINED}),
        "MCG-NJU/videomae-large-finetuned-kinetics": Published(1024, LICENSE, {**LARGE, "num_labels": 400}),
    }
    heads = ("decoder.", "encoder_to_decoder.", "mask_token", "classifier.")
    outside_shapes = ("num_attention_heads", "hidden_act", "layer_norm_eps", "use_mean_pooling")
    spec = BackboneSpec(
        name="videomae",
        kind="motion",
        dim=768,
        version="1",
        # frames and stride of its fine-tuning; mean and std of the published preprocessors, not of transformers' class
        input=ClipInput(size=(224, 224), fit="crop", frames=16, stride=4, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        license="Apache-2.0",
        weights=DEFAULT,
        # 1,568 patches a window keep a CPU busy; a fifteenth of the thirty moments of a clip
        batch_size=2,
    )
    encoder: nn.Module
    norm: nn.Module

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec of ``videomae:ORG/NAME``.

        Raises:
            ValueError: for a network that is not known here, or any option.
        """
        if options:
            raise ValueError(f"videomae has no option {next(iter(options))!r}")
        name = variant or cls.default()
        return replace(cls.spec, dim=cls.known_variant(name).dim, weights=name)

    def auto_class(self, config: Any) -> str:
        return "AutoModelForVideoClassification" if config.use_mean_pooling else "AutoModel"

    def declared(self) -> dict[str, Any]:
        frames = cast(ClipInput, self.spec.input).frames
        return {"hidden_size": self.spec.dim, "image_size": self.side, "num_frames": frames}

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        network = self.loaded(weights)
        # fine-tuned networks have their last norm after the mean over patches, next to the classifier
        tuned = hasattr(network, "fc_norm")
        self.encoder = (network.videomae if tuned else network).to(device, dtype)
        self.norm = (network.fc_norm if tuned else torch.nn.Identity()).to(device, dtype)

    def extract(self, batch: Tensor) -> Tensor:
        """Describe windows (N, 3, T, H, W) -> (N, D)."""
        if not len(batch):
            return batch.new_zeros(0, self.spec.dim)
        patches = self.encoder(batch.transpose(1, 2)).last_hidden_state  # (N, T/2 * H/16 * W/16, D)
        features: Tensor = self.norm(patches.mean(1))
        return features
