"""Where memory does not hold all models of a run: the others wait on the CPU, and each returns when it runs.

Models are found as the modules among a backbone's attributes; a backbone without any takes no room and is never moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from evcap_cli.backbones.contract import Backbone


class Offloader:
    """The backbones that share a device; they are all on it at first.

    Args:
        backbones: loaded.
        device: where they are; when one is not, only one at a time is on the device from the start.
    """

    def __init__(self, backbones: Iterable[Backbone], device: torch.device) -> None:
        self.backbones, self.device = list(backbones), device
        self.only: Backbone | None = None
        """The only one on the device; None as long as all fit."""
        away = [backbone for backbone in self.backbones if _is_elsewhere(backbone, device)]
        if away:  # memory ran out while they were loaded, see ``loading.py``
            there = [backbone for backbone in self.backbones if backbone not in away and _modules(backbone)]
            self.only = (there or away)[0]
            offload(backbone for backbone in self.backbones if backbone is not self.only)
            _move(self.only, device)

    def load(self, backbone: Backbone) -> None:
        """See that ``backbone`` is on the device before it runs."""
        if self.only is None or self.only is backbone:
            return
        _move(self.only, "cpu")
        _move(backbone, self.device)
        self.only = backbone  # last: a move that failed half way is done again

    def offload_others(self, backbone: Backbone) -> bool:
        """Send the others to the CPU, from now on for good: each returns when it runs.

        Returns:
            Whether that freed anything: not on a CPU, and not where ``backbone`` was alone already.
        """
        others = [other for other in self.backbones if other is not backbone and _modules(other)]
        if self.device.type == "cpu" or self.only is not None or not others:
            return False
        self.only = backbone
        offload(others)
        return True


def offload(backbones: Iterable[Backbone]) -> bool:
    """Send models to the CPU.

    Returns:
        Whether there were any.
    """
    moved = [backbone for backbone in backbones if _modules(backbone)]
    for backbone in moved:
        _move(backbone, "cpu")
    return bool(moved)


def _is_elsewhere(backbone: Backbone, device: torch.device) -> bool:
    weights = (weight for module in _modules(backbone) for weight in module.parameters())
    return any(weight.device.type != device.type for weight in weights)


def _modules(backbone: Backbone) -> list[nn.Module]:
    from torch import nn

    return [value for value in vars(backbone).values() if isinstance(value, nn.Module)]


def _move(backbone: Backbone, device: torch.device | str) -> None:
    for module in _modules(backbone):
        module.to(device)
