"""The systems that come with evcap, registered through the same entry point as a stranger's; torch is not imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evcap_cli.systems.spec import SystemSpec
from evcap_cli.version import hookimpl

_AS_EPAN: Final = """
[train]
optimiser = "adamax"
learning_rate = 7e-4
weight_decay = 1e-5
clip_norm = 5.0
"""
"""EPAN's optimiser, which its descendants keep."""

SYSTEMS: Final = (
    SystemSpec(
        "fusion",
        "the paper's system: fine-grained visual and audio-visual dual-branch fusion",
        factory="evcap_cli.systems.fusion:Fusion",
        license="MIT",
    ),
    SystemSpec(
        "fusion+",
        "fusion with what the study found to help: objects that the decoder attends to, self-critical epochs",
        factory="evcap_cli.systems.fusion:Fusion",
        recipe="""
[train]
self_critical_epochs = 5

[model]
decoder_objects = true
""",
        title="fusion+",
        license="MIT",
        like="fusion",
    ),
    SystemSpec(
        "epan",
        "emotion perceived in the picture, then described",
        factory="evcap_cli.systems.epan:Epan",
        recipe=_AS_EPAN,
        title="EPAN",
        source="https://github.com/songpipi/EPAN",
        license="MIT",
    ),
    SystemSpec(
        "dcgn",
        "EPAN with an emotion that evolves from word to word",
        factory="evcap_cli.systems.dcgn:Dcgn",
        recipe=_AS_EPAN,
        title="DCGN",
        source="https://github.com/kyrieye/MM-2024",
        license="MIT",
    ),
    SystemSpec(
        "canet",
        "pictures, words and the two aligned, each attended to by the LSTM (reconstruction: no code is public)",
        factory="evcap_cli.systems.canet:Canet",
        recipe=_AS_EPAN,
        title="CANet (reconstruction)",
        license="MIT",
    ),
    SystemSpec(
        "sa-lstm",
        "an LSTM that attends to the frames themselves (soft attention)",
        factory="evcap_cli.systems.sa_lstm:SaLstm",
        recipe="""
[train]
optimiser = "adam"
amsgrad = true
learning_rate = 2e-4
weight_decay = 1e-5
clip_norm = 5.0
length_penalty = 0.0
""",
        title="SA-LSTM",
        source="https://github.com/hobincar/SA-LSTM",
        license="MIT",
    ),
)


@hookimpl
def register_systems(register: Callable[[str, SystemSpec], None]) -> None:
    """Offer every bundled system."""
    for spec in SYSTEMS:
        register(spec.name, spec)
