"""Weights of the released code of EPAN and DCGN, under the names of the systems ``epan`` and ``dcgn``.

The released state dicts are those of songpipi/EPAN and kyrieye/MM-2024. What nothing uses is left out: three attentions
of the decoder, the biases of attention keys (softmax drops them), and the row of no word in the table of emotion words.

Notation: D feature width, d model width, a inner width of attention, h LSTM width, V vocabulary, N_c categories, N_w
emotion words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from evcap_cli.network.layers import sinusoid_positions
from evcap_cli.systems.dcgn import SUBSPACES, DcgnConfig
from evcap_cli.systems.epan import EpanConfig

POSITIONS: Final = "phr_encoder.position_enc.weight"
"""A table of sinusoids; a state dict may lack it."""
_UNUSED: Final = ("semantic_attention_word", "semantic_attention_vis", "semantic_attention_vw")
_EMOTION: Final = "emotion_attention."
_SHARED_EMOTION: Final = "decoder.emo_atten."
"""DCGN's decoder holds the emotion module once more: a state dict names it under one of the two, or both."""
_LAYER: Final = (
    ("attention.query", "{0}.w_qs"),
    ("attention.value", "{0}.w_vs"),
    ("attention.join", "{0}.fc"),
    ("attention_norm", "{0}.layer_norm"),
    ("feed_forward.inner", "pos_ffn.w_1"),
    ("feed_forward.outer", "pos_ffn.w_2"),
    ("feed_forward_norm", "pos_ffn.layer_norm"),
)
"""Maps of a layer, each with weight and bias."""


def released_config(state: Mapping[str, Tensor], *, evolving: bool) -> EpanConfig:
    """The configuration of a released state dict; what it does not say is as in the released code.

    Args:
        state: of ``plain_names``.
        evolving: of DCGN.

    Raises:
        KeyError: a tensor is missing that says how large the model is.
        ValueError: the sizes are not those of a captioner.
    """
    kind = DcgnConfig if evolving else EpanConfig
    return kind(
        appearance_dim=state["vis_encoder.app_linear.weight"].shape[-1],
        motion_dim=None,
        object_dim=None,
        audio_dim=None,
        vocabulary=len(state["embedding.weight"]),
        categories=len(state["emotion_attention.classifier.weight"]),
        words=len(state["emotion_attention.classifier2.weight"]),
        normalise_streams=False,
        as_published=True,
    )


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without ``module.``, and DCGN's emotion module under one name.

    Raises:
        ValueError: the two copies of DCGN's emotion module differ.
    """
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    for name in [each for each in plain if each.startswith(_SHARED_EMOTION)]:
        own = _EMOTION + name.removeprefix(_SHARED_EMOTION)
        tensor = plain.pop(name)
        first = plain.setdefault(own, tensor)
        if first is not tensor and not torch.equal(first, tensor):
            raise ValueError(f"{name} and {own} differ, though the released code has one module for both")
    return plain


def released_shapes(config: EpanConfig) -> dict[str, tuple[int, ...]]:
    """What a released state dict holds, but for ``POSITIONS``: name -> shape."""
    d, a, h, hidden = config.width, config.attention_width, config.lstm_width, config.word_hidden
    shapes: dict[str, tuple[int, ...]] = {}

    def dense(name: str, inputs: int, outputs: int, *kernel: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs, *kernel), (outputs,)

    def layer(name: str, part: str, inner: int, feed_forward: int) -> None:
        for each in ("w_qs", "w_ks", "w_vs"):
            dense(f"{name}.{part}.{each}", d, inner)
        dense(f"{name}.{part}.fc", inner, d)
        dense(f"{name}.pos_ffn.w_1", d, feed_forward, 1)
        dense(f"{name}.pos_ffn.w_2", feed_forward, d, 1)
        for norm in (f"{part}.layer_norm", "pos_ffn.layer_norm"):
            shapes[f"{name}.{norm}.weight"], shapes[f"{name}.{norm}.bias"] = (d,), (d,)

    def additive(name: str, query: int, key: int, width: int) -> None:
        shapes[f"{name}.b"], shapes[f"{name}.w.weight"] = (width,), (1, width)
        shapes[f"{name}.W.weight"], shapes[f"{name}.U.weight"] = (width, query), (width, key)

    dense("vis_encoder.app_linear", config.appearance_dim, d)
    layer("vis_encoder.vis_enc.layer_stack.0", "slf_attn", config.head_width, config.feed_forward)
    layer("phr_encoder.layer_stack.0", "slf_attn", config.head_width, config.feed_forward)
    for name in _UNUSED:
        additive(f"decoder.{name}", h, d, a)
    additive("decoder.semantic_alignment", d, d, config.alignment_width)
    additive("decoder.semantic_attention_all", h, 2 * d + hidden, a)
    shapes["decoder.rnn.weight_ih_l0"], shapes["decoder.rnn.weight_hh_l0"] = (4 * h, 3 * d + hidden), (4 * h, h)
    shapes["decoder.rnn.bias_ih_l0"] = shapes["decoder.rnn.bias_hh_l0"] = (4 * h,)
    dense("decoder.out", h, config.vocabulary)
    for encoder in ("emo_dec", "emo_dec2"):
        for number in range(config.emotion_layers):
            inner = config.emotion_heads * config.head_width
            layer(f"{_EMOTION}{encoder}.layer_stack.{number}", "enc_attn", inner, config.emotion_feed_forward)
    dense(f"{_EMOTION}fc", d, config.category_hidden)
    dense(f"{_EMOTION}classifier", config.category_hidden, config.categories)
    dense(f"{_EMOTION}fc2", d, hidden)
    dense(f"{_EMOTION}classifier2", hidden, config.words)
    shapes["embedding.weight"], shapes["embedding_emo.weight"] = (config.vocabulary, d), (config.words + 1, d)
    if isinstance(config, DcgnConfig):
        additive("decoder.intensity_alignment", d, d, config.alignment_width)
        widths = sum(d // heads for heads in SUBSPACES)
        for name, outputs in (("w_v", d), ("agg_w_a", config.slots), ("agg_w_c", d)):
            dense(f"decoder.dynamic_module.{name}", d, outputs)
        dense("decoder.dynamic_module.ele_route_w", 2 * d, 1)
        for name, outputs in (("wq", widths), ("wk", widths), ("wv", sum(SUBSPACES)), ("wr", len(SUBSPACES))):
            dense(f"decoder.dynamic_module.subspace_{name}", d, outputs)
    return shapes


def from_released(
    state: Mapping[str, Tensor],
    config: EpanConfig,
    vocabulary: Sequence[int] | None = None,
    words: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Parameters of ``epan`` or ``dcgn`` with ``as_published``; buffers are left to the model.

    Args:
        state: of ``plain_names``, with the tensors of ``released_shapes``.
        config: of ``released_config``.
        vocabulary: the released row of each word, (V,); None: in order.
        words: the released number, from 0, of each emotion word, (N_w,); None: in order.

    Raises:
        ValueError: the positions are not the released ones.
    """
    _check_positions(state.get(POSITIONS), config)
    of_word = torch.arange(config.vocabulary) if vocabulary is None else torch.tensor(vocabulary)
    of_emotion = torch.arange(config.words) if words is None else torch.tensor(words)
    pairs = [
        ("encoder.visual.projection.linear", "vis_encoder.app_linear"),
        *_layers("encoder.visual.encoder.layers.0", "vis_encoder.vis_enc.layer_stack.0", "slf_attn"),
        *_layers("decoder.phrases.layer", "phr_encoder.layer_stack.0", "slf_attn"),
        ("encoder.perception.category_head.0", f"{_EMOTION}fc"),
        ("encoder.perception.category_head.1", f"{_EMOTION}classifier"),
        ("encoder.perception.word_head.0", f"{_EMOTION}fc2"),
        ("encoder.perception.word_head.1", f"{_EMOTION}classifier2"),
        ("decoder.output", "decoder.out"),
    ]
    for ours, theirs in (("category_encoder", "emo_dec"), ("word_encoder", "emo_dec2")):
        for number in range(config.emotion_layers):
            own = f"encoder.perception.{ours}.layers.{number}"
            pairs += _layers(own, f"{_EMOTION}{theirs}.layer_stack.{number}", "enc_attn")
    found: dict[str, Tensor] = {}
    for own, other in pairs:
        weight = state[f"{other}.weight"]
        found[f"{own}.weight"] = weight.squeeze(-1) if weight.dim() > 2 else weight
        if f"{other}.bias" in state and not own.endswith("attention.key"):
            found[f"{own}.bias"] = state[f"{other}.bias"]
    for part in ("weight", "bias"):
        found[f"decoder.output.{part}"] = found[f"decoder.output.{part}"][of_word]
        name = f"encoder.perception.word_head.1.{part}"
        found[name] = found[name][of_emotion]
    found["decoder.embedding.weight"] = state["embedding.weight"][of_word]
    found["encoder.vectors.words"] = state["embedding_emo.weight"][1:][of_emotion]
    found |= _additive("decoder.alignment", state, "decoder.semantic_alignment", query="U", key="W")
    found |= _evolving(state, config) if isinstance(config, DcgnConfig) else _constant(state, config)
    return found


def _layers(own: str, other: str, part: str) -> Iterator[tuple[str, str]]:
    for mine, theirs in _LAYER:
        yield f"{own}.{mine}", f"{other}.{theirs.format(part)}"
    yield f"{own}.attention.key", f"{other}.{part}.w_ks"


def _additive(own: str, state: Mapping[str, Tensor], other: str, *, query: str, key: str) -> dict[str, Tensor]:
    return {
        f"{own}.query.weight": state[f"{other}.{query}.weight"],
        f"{own}.key.weight": state[f"{other}.{key}.weight"],
        f"{own}.key.bias": state[f"{other}.b"],
        f"{own}.vector": state[f"{other}.w.weight"][0],
    }


def _split(rows: Tensor, config: EpanConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Columns for E, T_t and V."""
    emotion, aligned, visual = torch.split(rows, [config.word_hidden, config.width, config.width], dim=1)
    return emotion, aligned, visual


def _gates(state: Mapping[str, Tensor], config: EpanConfig, order: Sequence[int]) -> dict[str, Tensor]:
    """The LSTM; ``order`` says which of E, T_t and V come first, second and third in ``attend``."""
    context, word = state["decoder.rnn.weight_ih_l0"].tensor_split([-config.width], dim=1)
    parts = _split(context, config)
    joined = [word, *(parts[number] for number in order), state["decoder.rnn.weight_hh_l0"]]
    return {
        "decoder.gates.weight": torch.cat(joined, dim=1),
        "decoder.gates.bias": state["decoder.rnn.bias_ih_l0"],
        "decoder.recurrent_bias": state["decoder.rnn.bias_hh_l0"],
    }


def _constant(state: Mapping[str, Tensor], config: EpanConfig) -> dict[str, Tensor]:
    """What is EPAN's alone."""
    found = _additive("decoder.attention", state, "decoder.semantic_attention_all", query="W", key="U")
    emotion, aligned, visual = _split(found["decoder.attention.key.weight"], config)
    found["decoder.attention.key.weight"] = torch.cat([visual, emotion], dim=1)
    return found | {"decoder.attention_told.weight": aligned} | _gates(state, config, (2, 0, 1))


def _evolving(state: Mapping[str, Tensor], config: DcgnConfig) -> dict[str, Tensor]:
    """What is DCGN's alone."""
    found = _additive("decoder.attention", state, "decoder.semantic_attention_all", query="W", key="U")
    found |= _additive("decoder.intensity", state, "decoder.intensity_alignment", query="U", key="W")
    emotion, aligned, found["decoder.attention.key.weight"] = _split(found["decoder.attention.key.weight"], config)
    found |= {"decoder.attention_told.weight": aligned, "decoder.attention_felt.weight": emotion}
    ours = {"word": "w_v", "assign": "agg_w_a", "value": "agg_w_c", "element": "ele_route_w", "query": "subspace_wq"}
    for own, other in ours.items():
        for part in ("weight", "bias"):
            found[f"decoder.dynamics.{own}.{part}"] = state[f"decoder.dynamic_module.{other}.{part}"]
    factors = {}
    for part in ("weight", "bias"):
        values = torch.split(state[f"decoder.dynamic_module.subspace_wv.{part}"], list(SUBSPACES))
        shares = torch.split(state[f"decoder.dynamic_module.subspace_wr.{part}"], 1)
        factors[part] = torch.cat([each for pair in zip(values, shares, strict=True) for each in pair])
    keys = state["decoder.dynamic_module.subspace_wk.weight"]
    found["decoder.dynamics.of_slots.weight"] = torch.cat([keys, factors["weight"]])
    found["decoder.dynamics.factor_bias"] = factors["bias"]
    return found | _gates(state, config, (2, 0, 1))


def _check_positions(given: Tensor | None, config: EpanConfig) -> None:
    if given is None:
        return
    expected = sinusoid_positions(config.max_words + 1, config.width)[1:]
    rows = given[1 : config.max_words + 1]
    if rows.shape != expected.shape or not torch.allclose(rows.float(), expected, atol=1e-5):
        raise ValueError(f"{POSITIONS} is not the table of sinusoids that the released code makes")
