"""Audio by HuBERT, through transformers (paper 1.1): facebook/hubert-base-ls960 and its relatives, see ``speech.py``.

Hsu et al., "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units" (2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from evcap_backbones.hub_backbone import Published
from evcap_backbones.speech import SPEECH_INPUT, SpeechBackbone
from evcap_cli.backbones.contract import BackboneSpec

DEFAULT: Final = "facebook/hubert-base-ls960"
LICENSE: Final = "Apache-2.0"
_LARGER: Final = {
    "num_attention_heads": 16,
    "conv_bias": True,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}
LARGE: Final = Published(
    1024, LICENSE, {**_LARGER, "hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096}
)
EXTRA_LARGE: Final = Published(
    1280, LICENSE, {**_LARGER, "hidden_size": 1280, "num_hidden_layers": 48, "intermediate_size": 5120}
)


class Hubert(SpeechBackbone):
    """Hidden states of a HuBERT network, one row a step."""

    title = "HuBERT"
    model_type = "hubert"
    published: ClassVar[Mapping[str, Published]] = {
        DEFAULT: Published(768, LICENSE),
        "facebook/hubert-large-ls960-ft": LARGE,
        "facebook/hubert-xlarge-ll60k": EXTRA_LARGE,
        "facebook/hubert-xlarge-ls960-ft": EXTRA_LARGE,
        "facebook/hubert-large-ll60k": LARGE,
    }
    spec = BackboneSpec(
        name="hubert",
        kind="audio",
        dim=768,
        version="1",
        input=SPEECH_INPUT,
        license="Apache-2.0",
        weights=DEFAULT,
        # 1,500 steps keep a CPU busy, and most videos have one chunk
        batch_size=1,
    )
