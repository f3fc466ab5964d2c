"""From "module:Class" to the class: how systems and captioners are registered without importing them."""

from __future__ import annotations

from importlib import import_module
from typing import TypeVar

from evcap_cli.errors import PluginError

T = TypeVar("T")


def class_of(factory: str, base: type[T], registered: str) -> type[T]:
    """The class that ``factory`` names.

    Args:
        factory: "module:Class".
        base: what it must be derived from; public as ``evcap_cli.NAME``.
        registered: how messages call what was registered, such as "system 'epan'".

    Raises:
        PluginError: it cannot be imported, or is not derived from ``base``.
    """
    module, _, name = factory.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as problem:
        raise PluginError(
            f"{registered} cannot be loaded from {factory!r}: {problem}",
            hint="update or uninstall the plugin that brings it",
        ) from problem
    if not (isinstance(found, type) and issubclass(found, base)):
        raise PluginError(
            f"{registered}: {factory} is not a {base.__name__}", hint=f"derive it from evcap_cli.{base.__name__}"
        )
    return found
