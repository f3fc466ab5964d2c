"""What every value given to a command goes through, whether typed, in the environment or in evcap.toml.

The argument parser gives each parameter its text here before it is converted, so that ``~`` and an empty value mean the
same for all commands and options.
"""

from __future__ import annotations

from typing import Any

from evcap_cli.errors import UsageError
from evcap_cli.paths import expanded

INPUTS = "INPUT..."
"""A file of that very name counts before the home folder there: patterns of a shell may name one."""


def read_values(command: Any, *, refuse_empty: bool) -> None:
    """See that the values of ``command`` and of the commands below it are read as ``value`` says.

    Args:
        command: of the parser; typer brings its own and does not export its types.
        refuse_empty: an empty text is wrong usage. A plugin's command may give it a meaning.
    """
    for below in getattr(command, "commands", {}).values():
        read_values(below, refuse_empty=refuse_empty)
    for parameter in command.params:
        _watch(parameter, refuse_empty)


def _watch(parameter: Any, refuse_empty: bool) -> None:
    consume = parameter.consume_value

    def consume_value(context: Any, given: Any) -> tuple[Any, Any]:
        found, source = consume(context, given)
        if source is not None and source.name != "DEFAULT":
            found = _each(found, parameter, refuse_empty)
        return found, source

    parameter.consume_value = consume_value


def _each(found: Any, parameter: Any, refuse_empty: bool) -> Any:
    """A value, or each of several."""
    if isinstance(found, (list, tuple)):
        return type(found)(_each(one, parameter, refuse_empty) for one in found)
    return value(found, _name(parameter), refuse_empty=refuse_empty) if isinstance(found, str) else found


def value(text: str, name: str, *, refuse_empty: bool = True) -> str:
    """``text`` with its ``~`` expanded, also in NAME=~/PATH. Inputs expand theirs themselves, see ``inputs.py``.

    Raises:
        UsageError: it is empty, or holds a zero byte.
    """
    if not text and refuse_empty:
        raise UsageError(f"{name} is empty", hint="give a value or leave it out; is a shell variable not set?")
    if "\\0" in text:
        raise UsageError(f"{name} holds a zero byte: {text!r}", hint="no path and no name has one")
    if name == INPUTS:
        return text
    key, sign, path = text.partition("=~")
    if sign and "/" not in key:
        return f"{key}={expanded('~' + path)}"
    return expanded(text)


def _name(parameter: Any) -> str:
    """As a user calls it: the longest flag, or what help shows for an argument."""
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name)
