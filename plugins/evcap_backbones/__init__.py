"""The backbones that come with evcap, registered through the same entry point as a stranger's.

Importing this package and registering load no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evcap_backbones.clip import Clip
from evcap_backbones.fasterrcnn import FasterRCNN
from evcap_backbones.lite import LiteAppearance, LiteAudio, LiteMotion, LiteObject
from evcap_backbones.resnet import ResNet
from evcap_cli import Backbone, hookimpl

BACKBONES: Final[tuple[type[Backbone], ...]] = (
    LiteAppearance,
    LiteMotion,
    LiteObject,
    LiteAudio,
    ResNet,
    Clip,
    FasterRCNN,
)


@hookimpl
def register_backbones(register: Callable[[type[Backbone]], None]) -> None:
    """Offer every bundled backbone."""
    for backbone in BACKBONES:
        register(backbone)
