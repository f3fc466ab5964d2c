"""The tables of a recipe, [train], [model] and [loss]: which fields a system has in them, and their values as TOML.

A table holds what every system is given; ``[model.epan]`` inside it what only that system is, and it counts more. Torch
is loaded for a system whose numbers are in its module, not for the paper's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, Final

from evcap_cli import plugins
from evcap_cli.network.config import FusionConfig, SystemConfig
from evcap_cli.reading.ranges import check_value, field_types
from evcap_cli.systems.spec import TABLES

FUSION: Final = "fusion"
"""The paper's system."""
FROM_DATA: Final = frozenset(
    ("appearance_dim", "motion_dim", "object_dim", "audio_dim", "vocabulary", "categories", "words", "loss")
)
"""Fields of the model that backbones and data decide, or that have a table of their own."""


def config_kind(system: str) -> type[SystemConfig]:
    """The class that holds a system's numbers.

    Raises:
        PluginError: no such system, or one that cannot be loaded.
    """
    return FusionConfig if family(system) == FUSION else plugins.system(system).load().Config


def family(system: str) -> str:
    """The system that ``system`` extends, or itself.

    Raises:
        PluginError: no such system.
    """
    return FUSION if system == FUSION else plugins.system(system).like or system


def loss_kind(config: type[SystemConfig]) -> Any:
    """The class that holds the numbers of its losses; None where it has none."""
    found = next((each for each in fields(config) if each.name == "loss"), None)
    return None if found is None else found.default_factory


def system_defaults(system: str) -> dict[str, dict[str, Any]]:
    """What a system's own recipe sets, by table; nothing for the paper's, whose numbers are everybody's defaults.

    Raises:
        PluginError: no such system, or a recipe that is none.
    """
    return {name: {} for name in TABLES} if system == FUSION else plugins.system(system).recipe_tables()


def for_system(tables: Mapping[str, Any], system: str) -> dict[str, dict[str, Any]]:
    """What a recipe's tables say of one system.

    Raises:
        ValueError: an unknown table, or a part of one for a system that nobody offers.
    """
    chosen: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
    for table, values in tables.items():
        if table not in chosen or not isinstance(values, Mapping):
            raise ValueError(f"unknown table [{table:.100}]; known: {', '.join(TABLES)}")
        parts = {name: part for name, part in values.items() if isinstance(part, Mapping)}
        unknown = sorted(parts.keys() - {FUSION} - plugins.systems().keys())
        if unknown:
            known = ", ".join(sorted(plugins.systems()))
            raise ValueError(
                f"[{table}.{unknown[0]:.100}]: no system {unknown[0]!r:.100} is installed (installed: {known})"
            )
        shared = {key: value for key, value in values.items() if key not in parts}
        chosen[table] = shared | dict(parts.get(family(system), {})) | dict(parts.get(system, {}))
    return chosen


def check_tables(tables: Mapping[str, Mapping[str, Any]], kinds: Mapping[str, Any]) -> None:
    """See that all fields exist and have the right type and range: better now than an hour later.

    Args:
        tables: by name.
        kinds: table -> the class that holds its fields; None: it has none.

    Raises:
        ValueError: naming the first that does not.
    """
    for table, values in tables.items():
        kind = kinds[table]
        known = set() if kind is None else {each.name for each in fields(kind)} - FROM_DATA
        types = field_types(kind) if values else {}
        for key, value in values.items():
            if key not in known:
                raise ValueError(f"[{table}] has no field {key!r:.100}")
            check_value(key, value, types.get(key))


def whole_tables(
    system: str, train: Any, model: Mapping[str, Any], loss: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Every value of a recipe by table, defaults included; a field without a default and a value is left out."""
    config = config_kind(system)
    losses = loss_kind(config)
    values = {f.name: model.get(f.name, _default(f)) for f in fields(config) if f.name not in FROM_DATA}
    tables = {
        "train": asdict(train),
        "model": {name: value for name, value in values.items() if value is not MISSING},
        "loss": {} if losses is None else asdict(losses(**loss)),
    }
    return {name: table for name, table in tables.items() if table}


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def to_toml(system: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """The recipe as text."""
    parts = [
        f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in t.items()) for name, t in tables.items()
    ]
    return "\n".join([f"system = {_toml(system)}\n", *parts])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
