"""A backbone around one network whose default weights are a file: fetching, importing, checking and loading them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evcap_cli.backbones.contract import Backbone, WeightsSource, address_of

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "module."
"""What data-parallel training puts before every name."""


class NetworkBackbone(Backbone):
    """Subclasses say where the weights are from (``weights_source``) and what network they are for (``build``)."""

    @abstractmethod
    def build(self) -> Any:
        """The network, freshly drawn; on the meta device where torch is set to it and its parts allow it."""

    @abstractmethod
    def weights_source(self) -> WeightsSource:
        """Where the default weights of this variant come from."""

    def default_file(self) -> Path:
        """The default weights on this machine.

        Raises:
            WeightsError: they cannot be had.
        """
        from evcap_cli.backbones.downloading import fetch

        return fetch(self.weights_source())

    def fetch_weights(self) -> None:
        self.default_file()

    def import_state(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's own names; the prefix that data-parallel training leaves is taken off."""
        return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}

    def check_state(self, tensors: Mapping[str, Tensor]) -> None:
        from evcap_cli.backbones.weights import filled

        filled(self.build, tensors, source=address_of(self))

    def loaded(self, weights: str | None) -> Any:
        """The network on the CPU: drawn (random:SEED), of a .safetensors file, or with the default weights (None).

        Raises:
            WeightsError: there are none, or they do not fit.
        """
        from evcap_cli.backbones import weights as room

        seed = room.random_seed(weights)
        if seed is not None:
            with room.seeded(seed):
                network = self.build()
            tensors = network.state_dict()
        else:
            file = self.default_file() if weights is None else Path(weights)
            legacy = weights is None and file.suffix != ".safetensors"
            tensors = room.read_legacy(file) if legacy else room.read_tensors(file)
            network = room.filled(self.build, tensors, source=str(file))
        # of what was read: counters of batches, which old files lack, have no value
        self.weights_digest = room.state_digest(tensors)
        return network
