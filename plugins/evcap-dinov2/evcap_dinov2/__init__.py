"""DINOv2 as an appearance backbone of evcap: declaration and registration.

Nothing heavy is imported here, evcap does it at every start. What reads weights is in ``model.py``.

Notation: N frames, H x W = 224 x 224 pixels, D the width of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from evcap_cli import Backbone, BackboneSpec, FrameInput, WeightsSource, hookimpl

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WIDTHS = {
    "facebook/dinov2-small": 384,
    "facebook/dinov2-base": 768,
    "facebook/dinov2-large": 1024,
    "facebook/dinov2-giant": 1536,
}
"""D of each model on the hub, known without reading its configuration: declaring a backbone needs no network."""
DEFAULT = "facebook/dinov2-base"


class Dinov2(Backbone):
    """The class token after the last layer norm, one row a frame.

    It is what ``Dinov2Model`` calls ``pooler_output``, and what the linear probes of the DINOv2 paper read: one vector
    of the whole picture. A mean over patches would weigh background by its area.
    """

    spec = BackboneSpec(
        name="dinov2",
        kind="appearance",
        dim=WIDTHS[DEFAULT],
        version="1",
        # as preprocessor_config.json of every model in WIDTHS has it
        input=FrameInput(
            size=(224, 224),
            short_side=256,
            fit="crop",
            interpolation="bicubic",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        license="MIT",
        weights=DEFAULT,
    )

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec of ``dinov2:facebook/dinov2-small`` and the like.

        Raises:
            ValueError: for another model, or any option.
        """
        if options:
            raise ValueError(f"dinov2 has no option {next(iter(options))!r}")
        name = variant or DEFAULT
        if name not in WIDTHS:
            raise ValueError(f"dinov2 has no variant {name!r}, only {', '.join(WIDTHS)}")
        return replace(cls.spec, dim=WIDTHS[name], weights=name)

    @property
    def hub_name(self) -> str:
        """The repository of this variant's weights."""
        return self.variant or DEFAULT

    def weights_source(self) -> WeightsSource:
        """A repository on the hub; Meta released code and weights under the Apache licence."""
        return WeightsSource(self.hub_name, f"hf-hub:{self.hub_name}", "Apache-2.0")

    def fetch_weights(self) -> None:
        """Download the default weights.

        Raises:
            WeightsError: they cannot be had.
        """
        from evcap_dinov2.model import from_hub

        from_hub(self.hub_name)

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        """Read a folder as ``save_pretrained`` writes it, the hub's (None), or draw weights (random:SEED).

        Raises:
            WeightsError: there are none, or they are not those of a DINOv2 of this width.
        """
        from evcap_cli import random_seed, state_digest
        from evcap_dinov2.model import drawn, from_folder, from_hub

        seed = random_seed(weights)
        if seed is not None:
            model = drawn(self.hub_name, seed)
        else:
            model = from_folder(from_hub(self.hub_name) if weights is None else weights, self.spec.dim)
        self.weights_digest = state_digest(model.state_dict())
        self.model = model.to(device, dtype).eval().requires_grad_(False)

    def extract(self, batch: Tensor) -> Tensor:
        """Describe frames (N, 3, H, W) -> (N, D)."""
        if not len(batch):
            return batch.new_zeros(0, self.spec.dim)
        features: Tensor = self.model(pixel_values=batch).pooler_output
        return features


@hookimpl
def register_backbones(register: Callable[[type[Backbone]], None]) -> None:
    """Offer DINOv2."""
    register(Dinov2)
