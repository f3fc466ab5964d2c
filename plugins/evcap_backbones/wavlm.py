"""Audio by WavLM, through transformers: microsoft/wavlm-base-plus and its relatives, see ``speech.py``.

Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing" (2021): HuBERT's way of
training on mixed speakers and more speech, with gated relative positions. The base networks take samples as they are,
the large one brings them to mean 0 and variance 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from evcap_backbones.hub_backbone import Published
from evcap_backbones.speech import SPEECH_INPUT, SpeechBackbone
from evcap_backbones.speech_network import OUTSIDE_SHAPES
from evcap_cli.backbones.contract import BackboneSpec

DEFAULT: Final = "microsoft/wavlm-base-plus"
LICENSE: Final = "CC-BY-SA-3.0"
"""What the pages on the hub link to. The code's own repository says MIT: the stricter one is shown."""


class WavLM(SpeechBackbone):
    """Hidden states of a WavLM network, one row a step."""

    title = "WavLM"
    model_type = "wavlm"
    outside_shapes = (*OUTSIDE_SHAPES, "max_bucket_distance")
    published: ClassVar[Mapping[str, Published]] = {
        DEFAULT: Published(768, LICENSE),
        "microsoft/wavlm-base": Published(768, LICENSE),
        "microsoft/wavlm-large": Published(
            1024,
            LICENSE,
            {
                "hidden_size": 1024,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "intermediate_size": 4096,
                "do_stable_layer_norm": True,
                "feat_extract_norm": "layer",
            },
        ),
    }
    spec = BackboneSpec(
        name="wavlm",
        kind="audio",
        dim=768,
        version="1",
        input=SPEECH_INPUT,
        license="Apache-2.0",
        weights=DEFAULT,
        batch_size=1,
    )

    def normalises(self, config: Any) -> bool:
        """Only networks with normalised convolutions were trained on normalised samples."""
        return bool(config.feat_extract_norm == "layer")
