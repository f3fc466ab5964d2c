"""evcap: captions that say what happens in a video and what it feels like.

The names below are the whole plugin contract; they load on first use, so that ``import evcap_cli`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import (
        AudioInput as AudioInput,
    )
    from evcap_cli.backbones.contract import (
        Backbone as Backbone,
    )
    from evcap_cli.backbones.contract import (
        BackboneSpec as BackboneSpec,
    )
    from evcap_cli.backbones.contract import (
        ClipInput as ClipInput,
    )
    from evcap_cli.backbones.contract import (
        Detections as Detections,
    )
    from evcap_cli.backbones.contract import (
        FrameInput as FrameInput,
    )
    from evcap_cli.backbones.contract import (
        WeightsSource as WeightsSource,
    )

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("evcap")

_CONTRACT = frozenset(
    {"AudioInput", "Backbone", "BackboneSpec", "ClipInput", "Detections", "FrameInput", "WeightsSource"}
)
__all__ = [
    "AudioInput",
    "Backbone",
    "BackboneSpec",
    "ClipInput",
    "Detections",
    "FrameInput",
    "WeightsSource",
    "hookimpl",
]


def __getattr__(name: str) -> object:
    if name in _CONTRACT:
        return getattr(import_module("evcap_cli.backbones.contract"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
