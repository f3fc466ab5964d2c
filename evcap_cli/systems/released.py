"""How the released code of EPAN and DCGN starts its weights and where it drops, for systems with ``as_published``.

By songpipi/EPAN and kyrieye/MM-2024. Everything is drawn from torch's generator, module by module; the released code
draws in another order, so that its seeds give other weights.

Notation: d model width, d_k width of an attention head, h LSTM width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from evcap_cli.network.emotion import EmotionPerception, TiedEmotionWords
from evcap_cli.network.layers import Mlp, MultiHeadCrossAttention
from evcap_cli.network.phrases import PhraseEncoder
from evcap_cli.network.visual_encoder import StreamProjection
from evcap_cli.systems.aligned_decoder import AlignedDecoder
from evcap_cli.systems.attention import AdditiveEnergies


def drop_as_released(system: nn.Module) -> None:
    """Leave dropout after each part of a layer, and on the weights of self-attention; take it away elsewhere.

    The released code has none on projected features, on words with their positions, inside a feed-forward part, and on
    the weights of the attention to emotion words.
    """
    for module in system.modules():
        if isinstance(module, (StreamProjection, Mlp)):
            module.dropout.rate = 0.0
        elif isinstance(module, PhraseEncoder):
            module.dropout.p = 0.0
        elif isinstance(module, EmotionPerception):
            for part in module.modules():
                if isinstance(part, MultiHeadCrossAttention):
                    part.dropout.rate = 0.0


@torch.no_grad()
def start_as_released(system: nn.Module) -> None:
    """Draw all weights again.

    Linear maps start as torch starts them. Attention with heads: W_q, W_k and W_v are normal with variance
    2 / (d + d_k), the map that joins heads is Glorot normal. Additive attention: its bias is one. Word vectors are
    standard normal, where no file gives them. LSTM: uniform up to 1 / sqrt(h), both biases.
    """
    for module in system.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    for module in system.modules():
        if isinstance(module, MultiHeadCrossAttention):
            deviation = (2.0 / (module.query.in_features + module.query.out_features // module.heads)) ** 0.5
            for part in (module.query, module.key, module.value):
                part.weight.normal_(0.0, deviation)
            nn.init.xavier_normal_(module.join.weight)
        elif isinstance(module, AdditiveEnergies):
            module.key.bias.fill_(1.0)
            uniform(module.vector, module.vector.numel())
        elif isinstance(module, TiedEmotionWords):
            module.words.normal_()
        elif isinstance(module, AlignedDecoder):
            _start_decoder(module)


def _start_decoder(decoder: AlignedDecoder[Any]) -> None:
    """Embedding, LSTM, and what is one map there and several here."""
    parameters, h = dict(decoder.named_parameters()), decoder.gates.out_features // 4
    decoder.embedding.weight.normal_()
    for name in ("gates.weight", "gates.bias", "recurrent_bias"):
        uniform(parameters[name], h)
    context = decoder.gates.in_features - decoder.word_width - h
    for name in ("attention.key.weight", "attention_told.weight", "attention_felt.weight"):
        if name in parameters:
            uniform(parameters[name], context)
    if "dynamics.factor_bias" in parameters:
        uniform(parameters["dynamics.factor_bias"], decoder.alignment.key.in_features)


def uniform(values: Tensor, inputs: int) -> None:
    """Fill ``values`` as torch starts a map of so many inputs: uniform up to 1 / sqrt(inputs)."""
    values.uniform_(-(inputs**-0.5), inputs**-0.5)
