"""evcap: captions that say what happens in a video and what it feels like.

The names below are the whole plugin contract; they load on first use, so that ``import evcap_cli`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from evcap_cli.version import __version__ as __version__
from evcap_cli.version import hookimpl as hookimpl

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
    from evcap_cli.backbones.weights import (
        load_strictly as load_strictly,
    )
    from evcap_cli.backbones.weights import (
        random_seed as random_seed,
    )
    from evcap_cli.backbones.weights import (
        read_tensors as read_tensors,
    )
    from evcap_cli.backbones.weights import (
        seeded as seeded,
    )
    from evcap_cli.backbones.weights import (
        state_digest as state_digest,
    )
    from evcap_cli.errors import WeightsError as WeightsError
    from evcap_cli.network.batch import ClipBatch as ClipBatch
    from evcap_cli.network.config import SystemConfig as SystemConfig
    from evcap_cli.network.losses import Targets as Targets
    from evcap_cli.systems.contract import CaptionModel as CaptionModel
    from evcap_cli.systems.contract import Prepared as Prepared
    from evcap_cli.systems.contract import WeightedTerms as WeightedTerms
    from evcap_cli.systems.spec import SystemSpec as SystemSpec

_CONTRACT = "evcap_cli.backbones.contract"
_SYSTEM = "evcap_cli.systems.contract"
_WEIGHTS = "evcap_cli.backbones.weights"
_ROOMS = {
    "AudioInput": _CONTRACT,
    "Backbone": _CONTRACT,
    "BackboneSpec": _CONTRACT,
    "CaptionModel": _SYSTEM,
    "ClipBatch": "evcap_cli.network.batch",
    "ClipInput": _CONTRACT,
    "Detections": _CONTRACT,
    "FrameInput": _CONTRACT,
    "Prepared": _SYSTEM,
    "SystemConfig": "evcap_cli.network.config",
    "SystemSpec": "evcap_cli.systems.spec",
    "Targets": "evcap_cli.network.losses",
    "WeightedTerms": _SYSTEM,
    "WeightsError": "evcap_cli.errors",
    "WeightsSource": _CONTRACT,
    "load_strictly": _WEIGHTS,
    "random_seed": _WEIGHTS,
    "read_tensors": _WEIGHTS,
    "seeded": _WEIGHTS,
    "state_digest": _WEIGHTS,
}
"""Where each public name is at home."""

__all__ = [
    "AudioInput",
    "Backbone",
    "BackboneSpec",
    "CaptionModel",
    "ClipBatch",
    "ClipInput",
    "Detections",
    "FrameInput",
    "Prepared",
    "SystemConfig",
    "SystemSpec",
    "Targets",
    "WeightedTerms",
    "WeightsError",
    "WeightsSource",
    "hookimpl",
    "load_strictly",
    "random_seed",
    "read_tensors",
    "seeded",
    "state_digest",
]


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
