"""The backbones that come with evcap, registered through the same entry point as a stranger's.

Importing this package and registering load no torch.
"""

from __future__ import annotations

from collections.abc import Callable

from evcap_backbones.lite import LiteAppearance, LiteAudio, LiteMotion, LiteObject
from evcap_cli import Backbone, hookimpl


@hookimpl
def register_backbones(register: Callable[[type[Backbone]], None]) -> None:
    """Offer every bundled backbone."""
    for backbone in (LiteAppearance, LiteMotion, LiteObject, LiteAudio):
        register(backbone)
