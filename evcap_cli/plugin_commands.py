"""Commands of plugins: each plugin adds its own to an empty app, and evcap takes over those that fit.

What a plugin does to its app beyond that has no effect: it gets none of evcap's commands in hand.
"""

from __future__ import annotations

from functools import partial

import typer
from typer.main import get_command_name, get_group
from typer.models import CommandInfo, TyperInfo

from evcap_cli import console, plugin_calls, plugins
from evcap_cli.errors import one_line

Entry = CommandInfo | TyperInfo


def register_commands(app: typer.Typer) -> None:
    """Add the commands of plugins to ``app``; what fails or has the name of another is left out with a warning."""
    found = plugins.registry()
    found.forget("command")  # of an app that was built before
    own = {name_of(entry) for entry in _entries(app)}
    for plugin in found.loaded:
        hook = found.hook("register_commands", plugin.name)
        if plugin.error is not None or not hook.get_hookimpls():
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
            for name in sorted(own.intersection(names)):
                found.refuse("command", name, plugin.distribution)
            if own.isdisjoint(names):
                # of several names that come together all are noted, also where one is taken
                free = [found.add("command", found.commands, name, entry, plugin.distribution) for name in names]
                if all(free):
                    _add(app, entry)
    for kind, name in found.clashes:
        if kind == "command":
            _disable(app, name)


def _entries(app: typer.Typer) -> list[Entry]:
    return [*app.registered_commands, *app.registered_groups]


def _add(app: typer.Typer, entry: Entry) -> None:
    if isinstance(entry, CommandInfo):
        app.registered_commands.append(entry)
    else:
        app.registered_groups.append(entry)


def name_of(entry: Entry) -> str:
    """The name that an entry of an app is called by; of a group without one, that of its callback."""
    return entry.name if isinstance(entry.name, str) else get_command_name(entry.callback.__name__)  # type: ignore[union-attr]


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
