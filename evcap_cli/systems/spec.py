"""What a captioning system declares: enough to list it, to start a recipe and to find its class.

Importing this module loads no torch: registering a system must stay cheap, only ``SystemSpec.load`` may use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.errors import PluginError
from evcap_cli.reading.typed import from_toml
from evcap_cli.systems.factories import class_of

if TYPE_CHECKING:
    from evcap_cli.systems.contract import CaptionModel

TABLES: Final = ("train", "model", "loss")
"""Tables of a recipe."""


@dataclass(frozen=True)
class SystemSpec:
    """A captioning system before it is loaded.

    Args:
        name: how users call it, as in ``--model NAME``, and what its checkpoints say.
        about: one line for ``evcap plugins``.
        factory: "module:Class" of its ``CaptionModel``, imported on use.
        recipe: TOML text with the tables [train], [model] and [loss]: what differs from the defaults of training and
            of the system's configuration.
        title: how tables and prose call it, where that is not ``name``.
        source: where it was published.
        license: of the code that implements it.
        like: the system that it extends, if any: it has that one's configuration and modules, and takes what a recipe
            says of that one where the recipe does not name it.
    """

    name: str
    about: str
    factory: str
    recipe: str = ""
    title: str = ""
    source: str = ""
    license: str = ""
    like: str = ""

    @property
    def shown(self) -> str:
        """Its name for people."""
        return self.title or self.name

    def load(self) -> type[CaptionModel]:
        """The system's class.

        Raises:
            PluginError: it cannot be imported, or is not a captioning system.
        """
        from evcap_cli.systems.contract import CaptionModel

        return class_of(self.factory, CaptionModel, f"system {self.name!r}")  # type: ignore[type-abstract]  # a base

    def recipe_tables(self) -> dict[str, dict[str, Any]]:
        """Its defaults by table; a table that is not given is empty.

        Raises:
            PluginError: the text is not a recipe.
        """
        found = from_toml(
            dict[str, Any], self.recipe, path=Path(f"the recipe of system {self.name!r}"), error=PluginError
        )
        for table, values in found.items():
            if table not in TABLES or not isinstance(values, dict):
                known = ", ".join(TABLES)
                raise PluginError(f"the recipe of system {self.name!r} has no table [{table}] to give; known: {known}")
        return {table: dict(found.get(table, {})) for table in TABLES}
