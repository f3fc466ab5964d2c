"""Which models are on the device: all of them, or one at a time once memory has asked for it.

Models are found as the modules a backbone holds; a backbone without any takes no room and is never moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from evcap_cli.backbones.contract import Backbone


class Residents:
    """The backbones that share a device; they are all on it at first.

    Args:
        backbones: loaded. device: where they are; when one is not, they take turns from the start.
    """

    def __init__(self, backbones: Iterable[Backbone], device: torch.device) -> None:
        self.backbones, self.device = list(backbones), device
        self.alone: Backbone | None = None
        """The only one on the device; None as long as all fit."""
        away = [backbone for backbone in self.backbones if _is_away(backbone, device)]
        if away:  # memory ran out while they were loaded, see ``loading.py``
            there = [backbone for backbone in self.backbones if backbone not in away and _modules(backbone)]
            self.alone = (there or away)[0]
            clear(backbone for backbone in self.backbones if backbone is not self.alone)
            _move(self.alone, device)

    def admit(self, backbone: Backbone) -> None:
        """See that ``backbone`` is on the device before it runs."""
        if self.alone is None or self.alone is backbone:
            return
        _move(self.alone, "cpu")
        _move(backbone, self.device)
        self.alone = backbone  # last: a move that failed half way is done again

    def make_room(self, backbone: Backbone) -> bool:
        """Send the others to the CPU, from now on for good: each comes back when it runs.

        Returns:
            Whether that freed anything: not on a CPU, and not where ``backbone`` was alone already.
        """
        others = [other for other in self.backbones if other is not backbone and _modules(other)]
        if self.device.type == "cpu" or self.alone is not None or not others:
            return False
        self.alone = backbone
        clear(others)
        return True


def clear(backbones: Iterable[Backbone]) -> bool:
    """Send models to the CPU.

    Returns:
        Whether there were any.
    """
    moved = [backbone for backbone in backbones if _modules(backbone)]
    for backbone in moved:
        _move(backbone, "cpu")
    return bool(moved)


def _is_away(backbone: Backbone, device: torch.device) -> bool:
    weights = (weight for module in _modules(backbone) for weight in module.parameters())
    return any(weight.device.type != device.type for weight in weights)


def _modules(backbone: Backbone) -> list[nn.Module]:
    from torch import nn

    return [value for value in vars(backbone).values() if isinstance(value, nn.Module)]


def _move(backbone: Backbone, device: torch.device | str) -> None:
    for module in _modules(backbone):
        module.to(device)
