"""Ready-made captioners: image-or-video-text-to-text models of transformers, called with frames that evcap decoded.

Registered through the same entry point as a third party's; nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evcap_cli.systems.captioner_spec import CaptionerSpec
from evcap_cli.version import hookimpl

_FACTORY: Final = "evcap_multimodal.tunable:TunableMultimodalCaptioner"

CAPTIONERS: Final = (
    CaptionerSpec(
        "transformers",
        "any image-or-video-text-to-text model: -c hf-hub:ORG/NAME[@REVISION], or a folder",
        factory=_FACTORY,
        config_key="model_type",
    ),
    CaptionerSpec(
        "adapter",
        "a run of evcap train --model multimodal: -c RUN, or hf-hub:ORG/NAME",
        factory="evcap_multimodal.tuned:TunedCaptioner",
        config_key="evcap_adapter",
    ),
    CaptionerSpec(
        "served",
        "a model behind an OpenAI-compatible server: -c http://HOST:PORT/v1#MODEL",
        factory="evcap_multimodal.served:ServedCaptioner",
        schemes=("http://", "https://"),
    ),
    CaptionerSpec(
        "smolvlm2",
        "SmolVLM2 500M, small enough for a CPU",
        factory=_FACTORY,
        address="hf-hub:HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        download="2.0 GB",
        license="Apache-2.0",
    ),
    CaptionerSpec(
        "qwen3-vl",
        "Qwen3-VL 4B, for a GPU of 16 GB or more",
        factory=_FACTORY,
        address="hf-hub:Qwen/Qwen3-VL-4B-Instruct",
        download="8.9 GB",
        license="Apache-2.0",
    ),
    CaptionerSpec(
        "gemma-4",
        "Gemma 4 E2B, which reads the audio too",
        factory=_FACTORY,
        address="hf-hub:google/gemma-4-E2B-it",
        download="10 GB",
        license="Apache-2.0",
        takes_audio=True,
    ),
)


@hookimpl
def register_captioners(register: Callable[[CaptionerSpec], None]) -> None:
    """Offer the suggested models by short names, and every other one by its address."""
    for spec in CAPTIONERS:
        register(spec)
