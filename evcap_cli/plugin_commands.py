"""What a plugin's ``register_commands`` adds: to a copy of the app, tried out before it is taken over."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer
from typer.main import get_command_name, get_group
from typer.models import CommandInfo, TyperInfo

Entry = CommandInfo | TyperInfo


@dataclass(frozen=True)
class Added:
    """What one plugin did to its copy of the app.

    Args:
        entries: each new command or group, with the names that it takes.
        changed: what was there before and was removed, replaced or changed, by name.
    """

    entries: list[tuple[tuple[str, ...], Entry]]
    changed: list[str]


class Commands:
    """The commands of ``app``: evcap's own, and those of plugins as they come in."""

    def __init__(self, app: typer.Typer) -> None:
        self.app = app
        self.own = frozenset(_name(entry) for entry in _entries(app))

    def added_by(self, hook: Callable[..., object]) -> Added:
        """Call a plugin's hook with a copy of the app.

        Raises:
            Exception: the hook fails, or the parser can make no command of what it added.
        """
        guest = _copy(self.app)
        before = [(entry, _state(entry)) for entry in _entries(guest)]
        callback = guest.registered_callback
        hook(app=guest)
        now = _entries(guest)
        kept = {id(entry) for entry in now}
        changed = [_name(entry) for entry, state in before if id(entry) not in kept or _state(entry) != state]
        if guest.registered_callback is not callback:
            changed.append("the options of evcap")
        old = {id(entry) for entry, _ in before}
        return Added([(self._names(entry), entry) for entry in now if id(entry) not in old], changed)

    def _names(self, entry: Entry) -> tuple[str, ...]:
        """The names that an entry takes: several where a group without a name brings its commands."""
        if not isinstance(entry, CommandInfo | TyperInfo):
            raise TypeError(f"a {type(entry).__name__} is no command")
        alone = _copy(self.app)
        alone.registered_commands = [entry] if isinstance(entry, CommandInfo) else []
        alone.registered_groups = [entry] if isinstance(entry, TyperInfo) else []
        found = get_group(alone).commands
        for command in found.values():
            command.get_short_help_str()  # evcap --help calls it
        return tuple(found)

    def take(self, entry: Entry) -> None:
        """Let ``app`` have a plugin's command or group."""
        if isinstance(entry, CommandInfo):
            self.app.registered_commands.append(entry)
        else:
            self.app.registered_groups.append(entry)

    def disable(self, name: str, refuse: Callable[[], object]) -> None:
        """Let the command ``name`` call ``refuse``, whatever follows it."""
        one = typer.Typer()
        anything = {"ignore_unknown_options": True, "allow_extra_args": True}

        @one.command(name, context_settings=anything, add_help_option=False)
        def refused() -> None:
            """Offered by two plugins."""
            refuse()

        self.app.add_typer(one)  # without a name of its own, and last: its command comes in place of others


def _entries(app: typer.Typer) -> list[Entry]:
    return [*app.registered_commands, *app.registered_groups]


def _name(entry: Entry) -> str:
    if isinstance(entry.name, str):
        return entry.name
    return get_command_name(getattr(entry.callback, "__name__", "a group"))


def _copy(app: typer.Typer) -> typer.Typer:
    """Another app with the same commands: what is done to it or to its groups does not reach ``app``."""
    twin = copy.copy(app)
    twin.info = copy.copy(app.info)
    twin.registered_callback = copy.copy(app.registered_callback)
    twin.registered_commands = [copy.copy(command) for command in app.registered_commands]
    twin.registered_groups = [copy.copy(group) for group in app.registered_groups]
    for group in twin.registered_groups:
        if group.typer_instance is not None:
            group.typer_instance = _copy(group.typer_instance)
    return twin


def _state(entry: Entry) -> Any:
    """What can be compared of an entry and of all below it."""
    found = dict(vars(entry))
    below = found.pop("typer_instance", None)
    if below is None:
        return found
    return found, below.registered_callback, [_state(one) for one in _entries(below)]
