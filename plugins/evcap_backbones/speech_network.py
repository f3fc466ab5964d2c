"""Networks of transformers that read sound like HuBERT: their tensors' names, and networks made, sped up and cut.

Importing this module loads neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

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
PARTS: Final = ("feature_extractor.", "feature_projection.", "encoder.")
"""Of the network; heads for speech recognition and the like are left out."""


def renamed(tensors: Mapping[str, Tensor], prefix: str, title: str) -> dict[str, Tensor]:
    """The network's own tensors by today's names: no prefix, no heads, weight norm as torch writes it since 2.0.

    Raises:
        ValueError: they are not those of such a network, which ``title`` names.
    """
    named = {}
    for name, tensor in tensors.items():
        name = name.removeprefix(prefix)
        for old, new in ((".weight_g", "original0"), (".weight_v", "original1")):
            if name.endswith(old):
                name = f"{name.removesuffix(old)}.parametrizations.weight.{new}"
        if name.startswith(PARTS):
            named[name] = tensor
    if "feature_extractor.conv_layers.0.conv.weight" not in named:
        raise ValueError(f"these are not {title}'s weights (no feature_extractor.conv_layers.0.conv.weight)")
    return named


def drawn(config: Any) -> Any:
    """A network with values from torch's generator."""
    from transformers import AutoModel

    return AutoModel.from_config(config)


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
