"""A backbone whose weights are a repository of transformers on the hub: which ones are known, where they are found.

What is loaded with them is up to ``speech.py`` and ``transformers_backbone.py``. Importing this module loads neither
torch nor transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from evcap_backbones import hub_files
from evcap_cli.backbones.contract import Backbone, WeightsSource
from evcap_cli.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
PREFIX: Final = "module."
"""What data-parallel training puts before every name."""


@dataclass(frozen=True)
class Published:
    """A repository of the hub that is known without a network.

    Args:
        dim: width of its features.
        license: of its weights, as its page on the hub says.
        config: fields of its config.json that are not transformers' defaults.
    """

    dim: int
    license: str
    config: Mapping[str, Any] = field(default_factory=dict)


class HubBackbone(Backbone):
    """Subclasses say which repositories they know; the first is the default."""

    model_type: ClassVar[str]
    """As transformers calls the family."""
    published: ClassVar[Mapping[str, Published]]
    fixed: ClassVar[Mapping[str, Any]] = {}
    """Fields of the configuration that are set whatever config.json says."""

    @classmethod
    def default(cls) -> str:
        """The repository that is meant where none is named."""
        return next(iter(cls.published))

    @classmethod
    def known_variant(cls, repository: str) -> Published:
        """A repository, which must be known.

        Raises:
            ValueError: it is not.
        """
        if repository not in cls.published:
            raise ValueError(f"{cls.spec.name} has no variant {repository!r}; one of: {', '.join(cls.published)}")
        return cls.published[repository]

    @property
    def repository(self) -> str:
        """The repository of this variant's weights."""
        return self.variant or self.default()

    def weights_source(self) -> WeightsSource:
        """The variant's repository on the hub."""
        return self._hub(self.repository)

    def fetch_weights(self) -> None:
        hub_files.fetch(self.weights_source())

    def import_state(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The names that transformers reads; the prefix that data-parallel training leaves is taken off."""
        return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}

    @property
    def known(self) -> Published | None:
        """What is known of this variant's repository."""
        return self.published.get(self.repository)

    def known_config(self) -> Any:
        """The configuration of a known repository.

        Raises:
            WeightsError: it is not known.
        """
        from transformers import AutoConfig

        if self.known is None:
            raise WeightsError(
                "its architecture is known from its config.json only",
                path=f"{self.spec.name}:{self.repository}",
                hint="give a transformers folder, config.json and model.safetensors, with --weights NAME=FOLDER",
            )
        return AutoConfig.for_model(self.model_type, **{**self.known.config, **self.fixed})

    def read(self, weights: str | None) -> tuple[Path, Any, dict[str, Tensor]]:
        """Read weights: a folder, a file, a repository of the hub, or the default (None).

        Returns:
            The file, its configuration, and its tensors by the names that ``import_state`` gives.

        Raises:
            WeightsError: they are missing, damaged, of another kind of model, or cannot be fetched.
        """
        place, own = self._place(weights)
        file = hub_files.weights_file(place)
        try:
            tensors = self.import_state(hub_files.tensors_of(file))
        except ValueError as problem:
            raise WeightsError(str(problem), path=file, hint="check --weights NAME=PATH") from problem
        known = self.known_config() if own and self.known is not None else None
        return file, hub_files.config_of(file, self.model_type, known, **self.fixed), tensors

    def _place(self, weights: str | None) -> tuple[Path, bool]:
        """The folder or file of ``weights``, and whether the variant's configuration is used where there is none."""
        if weights is not None:
            path = Path(weights)
            if path.exists() or path.suffix == ".safetensors" or not HUB_ID.fullmatch(weights):
                return path, True
        repository = weights or self.repository
        return hub_files.found(self._hub(repository)), repository == self.repository

    def _hub(self, repository: str) -> WeightsSource:
        from evcap_cli.backbones.weights import HUB

        known = self.published.get(repository)
        license_ = "unknown" if known is None else known.license
        return WeightsSource(f"transformers {repository}", f"{HUB}{repository}", license_, hub_files.FILE)
