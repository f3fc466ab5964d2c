"""HuBERT networks of transformers: the published sizes, and networks made, sped up and cut for ``hubert.py``.

Hsu et al., "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units" (2021).
Importing this module loads neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

NO_MASKING: Final = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
"""Masks are for training: without them the network has no embedding for masked steps."""
OUTSIDE_SHAPES: Final = (
    "conv_stride",
    "do_stable_layer_norm",
    "feat_extract_activation",
    "feat_extract_norm",
    "hidden_act",
    "layer_norm_eps",
    "num_attention_heads",
)
"""Fields of the config that change features and cannot be seen in the tensors: part of the digest."""


@dataclass(frozen=True)
class Size:
    """One of the published sizes: its width, its transformer layers, and where its config is not the base's."""

    dim: int
    layers: int
    config: Mapping[str, Any] = field(default_factory=dict)


_LARGER: Final = {
    "num_attention_heads": 16,
    "conv_bias": True,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}
BASE: Final = Size(768, 12)
LARGE: Final = Size(1024, 24, {**_LARGER, "intermediate_size": 4096})
EXTRA_LARGE: Final = Size(1280, 48, {**_LARGER, "intermediate_size": 5120})
DEFAULT: Final = "facebook/hubert-base-ls960"
SIZES: Final[Mapping[str, Size]] = {
    DEFAULT: BASE,
    "facebook/hubert-large-ll60k": LARGE,
    "facebook/hubert-large-ls960-ft": LARGE,
    "facebook/hubert-xlarge-ll60k": EXTRA_LARGE,
    "facebook/hubert-xlarge-ls960-ft": EXTRA_LARGE,
}
"""Known without a network; any other repository needs ``--option hubert.dim=N``."""


def config_of(size: Size) -> Any:
    """The HubertConfig of a published size."""
    from transformers import HubertConfig

    shape = {"hidden_size": size.dim, "num_hidden_layers": size.layers, **size.config}
    return HubertConfig(**shape, **NO_MASKING)


def outside_shapes(config: Any) -> dict[str, Any]:
    """What of the config belongs in a digest next to the tensors."""
    return {name: getattr(config, name) for name in OUTSIDE_SHAPES}


def drawn(config: Any) -> Any:
    """A network with values from torch's generator."""
    from transformers import HubertModel

    return HubertModel(config)


def baked(network: Any) -> Any:
    """The network with the normalised weight of the convolution of positions computed, once and in float32."""
    from torch.nn.utils import parametrize

    convolution = network.encoder.pos_conv_embed.conv
    if parametrize.is_parametrized(convolution, "weight"):
        parametrize.remove_parametrizations(convolution, "weight")
        convolution.requires_grad_(False)
    return network


def cut(network: Any, layer: int) -> Any:
    """The network with its first ``layer`` transformer layers only.

    The final norm of the larger sizes goes with the last layer: hidden states before it are not normalised.
    """
    import torch

    network.encoder.layers = network.encoder.layers[:layer]
    if network.config.do_stable_layer_norm:
        network.encoder.layer_norm = torch.nn.Identity()
    return network
