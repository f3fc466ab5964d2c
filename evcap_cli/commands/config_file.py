"""evcap.toml: a table a command, and what all commands share: [weights], [option], [presets.NAME] and [engine]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_type_hints

import typer

from evcap_cli.backbones.contract import KINDS
from evcap_cli.backbones.presets import PRESETS
from evcap_cli.errors import UsageError

ENGINE: Final = ("engine", "ray_address", "workers_per_node", "gpus_per_worker", "cpus_per_worker", "worker_wait")
"""The options of [engine], for all commands that have them."""
SHARED: Final = ("weights", "option", "presets", "engine")
"""Tables that belong to no command; ``evcap weights`` has no options of its own to set."""
SEE: Final = "see docs/configuration.md"
EXAMPLE: Final = 'weights: NAME = "PATH", option: fasterrcnn.top_k = 20'


def read_config(path: Path) -> dict[str, Any]:
    """An evcap.toml, its shared tables checked.

    Raises:
        UsageError: it cannot be read, is not TOML, or a shared table has another form.
    """
    from evcap_cli.reading.typed import NotOfType, checked, read_toml

    values = read_toml(dict[str, dict[str, Any]], path, error=UsageError, hint=SEE)
    try:
        checked(dict[str, str], values.get("weights", {}), "[weights]")
        checked(dict[str, dict[str, str | float | bool]], values.get("option", {}), "[option]")
    except NotOfType as problem:
        raise UsageError(str(problem), path=path, hint=f"for example {EXAMPLE}; {SEE}") from problem
    for name, preset in values.get("presets", {}).items():
        _check_preset(name, preset, path)
    return values


def _check_preset(name: str, preset: object, path: Path) -> None:
    if name in PRESETS:
        raise UsageError(f"[presets.{name}] is evcap's own preset", path=path, hint="give yours another name")
    if not isinstance(preset, dict) or not preset:
        raise UsageError(
            f"preset {name!r} names no backbone", path=path, hint=f'expected [presets.{name}] kind = "name"'
        )
    for kind, backbone in preset.items():
        if kind not in KINDS:
            raise UsageError(
                f"[presets.{name}] has an unknown kind {kind!r}", path=path, hint=f"one of: {', '.join(KINDS)}"
            )
        if not isinstance(backbone, str) or not backbone:
            raise UsageError(f'[presets.{name}] {kind} is not {kind} = "NAME" or "NAME:VARIANT"', path=path, hint=SEE)


def take_defaults(context: typer.Context, path: Path | None) -> Path | None:
    """The callback of ``--config``: the command's table of evcap.toml becomes the defaults of its options.

    Raises:
        UsageError: the file, a table or a key in it is not what evcap knows.
    """
    if path is None:
        return None
    values = read_config(path)
    commands = getattr(context.find_root().command, "commands", {})
    for table in values:
        if table not in SHARED and table not in commands:
            raise UsageError(f"[{table}] is not a command of evcap", path=path, hint=SEE)
    command = context.info_name or ""
    known = {name: str(parameter.name) for parameter in context.command.params for name in _names(parameter)}
    kinds = get_type_hints(context.command.callback)
    defaults: dict[str, Any] = {}
    for key, value in values.get("engine", {}).items():
        name = key.replace("-", "_")
        if name not in ENGINE:
            raise UsageError(f"[engine] has no option {key!r}", path=path, hint=f"it has {', '.join(ENGINE)}")
        if name in known:  # a command that works in its own process has none of them
            defaults[name] = _checked(value, kinds.get(name), f"[engine] {key}", path)
    for key, value in (values.get(command, {}) if command not in SHARED else {}).items():
        name = key.replace("-", "_")
        if name not in known:
            raise UsageError(f"[{command}] has no option {key!r}", path=path, hint=f"see evcap {command} --help")
        defaults[known[name]] = _checked(value, kinds.get(known[name]), f"[{command}] {key}", path)
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


def _checked(value: object, kind: Any, name: str, path: Path) -> object:
    """A value for an option of type ``kind``; a number may stand for its digits."""
    from pydantic import PydanticUserError

    from evcap_cli.reading.typed import NotOfType, checked

    try:
        checked(kind, value, name)
    except NotOfType as problem:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and kind in (str, str | None):
            return str(value)
        raise UsageError(str(problem), path=path, hint=SEE) from problem
    except PydanticUserError:  # a type of a plugin's own, which its parser checks
        return value
    return value


def _names(parameter: Any) -> Iterator[str]:
    """What evcap.toml may call an option: as its flags, or as the function's argument."""
    yield str(parameter.name)
    for flag in parameter.opts:
        yield flag.lstrip("-").replace("-", "_")


def presets(config: Path | None) -> Mapping[str, Mapping[str, str]]:
    """``[presets.NAME]`` of the file that ``--config`` names."""
    found: dict[str, dict[str, str]] = {} if config is None else read_config(config).get("presets", {})
    return found


def weights(config: Path | None) -> dict[str, str]:
    """``[weights]``: backbone name -> path or source; a path may start with ~."""
    return {} if config is None else dict(read_config(config).get("weights", {}))


def backbone_options(config: Path | None) -> dict[str, dict[str, str]]:
    """``[option]``: backbone name -> key -> value, as text, as on the command line."""
    table = {} if config is None else read_config(config).get("option", {})
    return {name: {key: _text(value) for key, value in keys.items()} for name, keys in table.items()}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
