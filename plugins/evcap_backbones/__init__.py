"""The backbones that come with evcap, registered through the same entry point as a stranger's.

Importing this package and registering load no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evcap_backbones.clip import Clip
from evcap_backbones.fasterrcnn import FasterRCNN
from evcap_backbones.hubert import Hubert
from evcap_backbones.lite import LiteAppearance, LiteAudio, LiteMotion, LiteObject
from evcap_backbones.r3d import R3D
from evcap_backbones.resnet import ResNet
from evcap_backbones.resnext3d import ResNeXt3D101
from evcap_backbones.rtdetr import RTDetr
from evcap_backbones.videomae import VideoMAE
from evcap_backbones.vjepa2 import VJepa2
from evcap_backbones.wavlm import WavLM
from evcap_cli import Backbone, hookimpl

BACKBONES: Final[tuple[type[Backbone], ...]] = (
    LiteAppearance,
    LiteMotion,
    LiteObject,
    LiteAudio,
    ResNet,
    Clip,
    ResNeXt3D101,
    R3D,
    VideoMAE,
    VJepa2,
    FasterRCNN,
    RTDetr,
    Hubert,
    WavLM,
)


@hookimpl
def register_backbones(register: Callable[[type[Backbone]], None]) -> None:
    """Offer every bundled backbone."""
    for backbone in BACKBONES:
        register(backbone)
