"""Motion by V-JEPA 2, through transformers: the mean of the encoder's output over the patches of a window.

``vjepa2`` is ViT-L at 256 x 256 pixels, ``vjepa2:facebook/vjepa2-vith-fpc64-256`` and the like the larger ones. A
window has 16 frames, every fourth of the video, as in the authors' own evaluation of this size; ``--option
vjepa2.frames=64`` and ``vjepa2.stride`` change that: positions are rotations, which take any even number of frames.
The predictor, which V-JEPA 2 is trained with, is not used.

Assran et al., "V-JEPA 2: Self-Supervised Video Models Enable Understanding, Prediction and Planning" (2025).

Notation: N windows, T frames, H x W pixels, D = 1024 (1280 for huge, 1408 for giant).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from evcap_backbones.hub_backbone import Published
from evcap_backbones.options import whole_number
from evcap_backbones.transformers_backbone import IMAGENET_MEAN, IMAGENET_STD, TransformersBackbone
from evcap_cli.backbones.contract import BackboneSpec, ClipInput

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DEFAULT: Final = "facebook/vjepa2-vitl-fpc64-256"
SIDE: Final = 256
TUBELET: Final = 2
"""Frames that a patch spans."""
MOST_FRAMES: Final = 128
MOST_STRIDE: Final = 64
GIANT: Final = {"hidden_size": 1408, "num_hidden_layers": 40, "num_attention_heads": 22, "mlp_ratio": 48 / 11}


class VJepa2(TransformersBackbone):
    """The mean over a window's patches, one row a window."""

    model_type = "vjepa2"
    published: ClassVar[Mapping[str, Published]] = {
        DEFAULT: Published(1024, "MIT"),
        "facebook/vjepa2-vith-fpc64-256": Published(1280, "Apache-2.0", {"hidden_size": 1280, "num_hidden_layers": 32}),
        "facebook/vjepa2-vitg-fpc64-256": Published(1408, "Apache-2.0", GIANT),
        "facebook/vjepa2-vitg-fpc64-384": Published(1408, "Apache-2.0", {**GIANT, "crop_size": 384}),
    }
    heads = ("pooler.", "classifier.")
    outside_shapes = ("num_attention_heads", "hidden_act", "layer_norm_eps", "crop_size")
    spec = BackboneSpec(
        name="vjepa2",
        kind="motion",
        dim=1024,
        version="1",
        input=ClipInput(
            size=(SIDE, SIDE), short_side=292, fit="crop", frames=16, stride=4, mean=IMAGENET_MEAN, std=IMAGENET_STD
        ),
        license="Apache-2.0",
        weights=DEFAULT,
        # 2,048 patches a window keep a CPU busy
        batch_size=1,
    )
    encoder: nn.Module

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec of ``vjepa2:ORG/NAME``.

        Raises:
            ValueError: for a network that is not known here, an option other than frames and stride, or a value out of
                its range.
        """
        name = variant or cls.default()
        known = cls.known_variant(name)
        window = cls.spec.input
        side = known.config.get("crop_size", SIDE)
        # as transformers' preprocessor computes it
        changed: dict[str, Any] = {"size": (side, side), "short_side": int(side * 256 / 224)}
        for key, text in options.items():
            if key not in ("frames", "stride"):
                raise ValueError(f"vjepa2 has no option {key!r}; it has frames and stride")
            most = MOST_FRAMES if key == "frames" else MOST_STRIDE
            changed[key] = whole_number(f"vjepa2.{key}", text, 1, most)
        if changed.get("frames", 0) % TUBELET:
            raise ValueError(f"vjepa2.frames must be even, got {changed['frames']}")
        return replace(cls.spec, dim=known.dim, weights=name, input=replace(window, **changed))

    def auto_class(self, config: Any) -> str:  # noqa: ARG002
        return "AutoModel"

    def declared(self) -> dict[str, Any]:
        return {"hidden_size": self.spec.dim, "crop_size": self.side, "tubelet_size": TUBELET}

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        self.encoder = self.loaded(weights).encoder.to(device, dtype)

    def extract(self, batch: Tensor) -> Tensor:
        """Describe windows (N, 3, T, H, W) -> (N, D)."""
        if not len(batch):
            return batch.new_zeros(0, self.spec.dim)
        patches = self.encoder(batch.transpose(1, 2)).last_hidden_state  # (N, T/2 * H/16 * W/16, D)
        features: Tensor = patches.mean(1)
        return features
