"""Commands of plugins: each plugin adds its own to an empty app, and evcap takes over those that fit.

What a plugin does to its app beyond that has no effect: it gets none of evcap's commands in hand.
"""

from __future__ import annotations

from collections.abc import Set
from functools import partial
from typing import Any

import typer
from typer.main import get_group
from typer.models import CommandInfo, TyperInfo

from evcap_cli import console, plugin_calls, plugins
from evcap_cli.errors import PluginError, one_line

Entry = CommandInfo | TyperInfo


def register_commands(app: typer.Typer, own: Set[str], bundled: Set[str]) -> None:
    """Add the commands of plugins to ``app``; what fails or has the name of another is left out with a warning.

    Args:
        app: of the parser.
        own: names of evcap's commands, which are not in ``app``.
        bundled: those of them that its own plugins bring; see the function of that name.
    """
    found = plugins.registry()
    found.forget("command")  # of an app that was built before
    for name in sorted(bundled):
        found.add("command", found.commands, name, None, plugins.OWN)
    for plugin in found.loaded:
        hook = found.hook("register_commands", plugin.name)
        if plugin.distribution == plugins.OWN or plugin.error is not None or not hook.get_hookimpls():
            continue
        guest = typer.Typer(rich_markup_mode=None)
        try:
            with plugin_calls.registering():
                hook(app=guest)
                added = [(entry, _names(entry)) for entry in _entries(guest)]
        except Exception as problem:
            plugin_calls.show_traceback(problem)
            console.warn(
                f"plugin {plugin.name!r} of {plugin.distribution} could not add its commands: "
                f"{one_line(problem)}; update or uninstall {plugin.distribution}"
            )
            continue
        for entry, names in added:
            for name in sorted(own & set(names)):
                found.refuse("command", name, plugin.distribution)
            if own.isdisjoint(names):
                # of several names that come together all are noted, also where one is taken
                free = [found.add("command", found.commands, name, entry, plugin.distribution) for name in names]
                if all(free):
                    _add(app, entry)
    for kind, name in found.clashes:
        if kind == "command":
            _disable(app, name)


def bundled(name: str) -> Any:
    """The command ``name`` of one of evcap's own plugins, as the parser takes it.

    Raises:
        PluginError: none brings it, since one is broken.
    """
    alone, found = typer.Typer(rich_markup_mode=None), plugins.registry()
    for plugin in found.loaded:
        if plugin.distribution == plugins.OWN and plugin.error is None:
            found.hook("register_commands", plugin.name)(app=alone)
    command = get_group(alone).commands.get(name)
    if command is None:
        raise PluginError(f"no plugin brings the command {name}", hint=plugins.how_to_get(name, plugins.OWN))
    return command


def _entries(app: typer.Typer) -> list[Entry]:
    return [*app.registered_commands, *app.registered_groups]


def _add(app: typer.Typer, entry: Entry) -> None:
    if isinstance(entry, CommandInfo):
        app.registered_commands.append(entry)
    else:
        app.registered_groups.append(entry)


def _names(entry: Entry) -> list[str]:
    """The names that an entry takes: several where a group without a name brings its commands.

    Raises:
        Exception: the parser can make no command of it.
    """
    alone = typer.Typer(rich_markup_mode=None)
    _add(alone, entry)
    commands = get_group(alone).commands
    for command in commands.values():
        command.get_short_help_str()  # evcap --help calls it
    return list(commands)


def _disable(app: typer.Typer, name: str) -> None:
    """Let the command ``name``, which two plugins offer, end in an error, whatever follows it."""
    one = typer.Typer()
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    refuse = partial(plugins.check_clash, "command", name)
    one.command(name, context_settings=anything, add_help_option=False, help="Offered by two plugins.")(
        lambda: refuse()
    )
    app.add_typer(one)  # without a name of its own, and last: its command comes in place of others
