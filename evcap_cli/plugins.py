"""Finding and registering plugins: one entry point at a time, each in a guard.

A plugin that fails to import or to register is reported with its distribution's name and skipped; two that claim one
name are both named. What comes in through a hook is kept in typed registries, where the rest of evcap finds it by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from evcap_cli import console, hookspecs, plugin_calls
from evcap_cli.errors import PluginError, one_line

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone
    from evcap_cli.output.writers import Writer
    from evcap_cli.systems.captioner_spec import CaptionerSpec
    from evcap_cli.systems.spec import SystemSpec

GROUP = "evcap"
OWN = "evcap"
"""The distribution that evcap itself is."""
ONLY_VARIABLE = "EVCAP_PLUGINS"
"""Comma-separated entry point names: only these are loaded. Empty: none but what evcap itself brings."""

_CLASH_HINT = f"uninstall one of them or choose with {ONLY_VARIABLE}"
_OWN = {
    "evcap-backbones": "evcap_backbones",
    "evcap-experiments": "evcap_experiments",
    "evcap-multimodal": "evcap_multimodal",
    "evcap-systems": "evcap_cli.systems.bundled",
}
"""evcap's own entry points, found by name when evcap runs from a source tree that was not installed as it stands."""


@dataclass(frozen=True)
class Loaded:
    """One entry point, and the error that kept it from loading."""

    name: str
    distribution: str
    version: str
    error: str | None = None


@dataclass
class Registry:
    """Everything plugins registered, and which distribution each thing came from."""

    loaded: list[Loaded] = field(default_factory=list)
    backbones: dict[str, type[Backbone]] = field(default_factory=dict)
    systems: dict[str, SystemSpec] = field(default_factory=dict)
    captioners: dict[str, CaptionerSpec] = field(default_factory=dict)
    writers: dict[str, Writer] = field(default_factory=dict)
    metrics: dict[str, Callable[..., float]] = field(default_factory=dict)
    commands: dict[str, Any] = field(default_factory=dict)
    """Of plugins."""
    origin: dict[tuple[str, str], str] = field(default_factory=dict)
    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(GROUP))
    clashes: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """(kind, name) -> the two distributions that claim it; the first keeps it until the name is used."""

    def add(self, kind: str, table: dict[str, Any], name: str, thing: Any, distribution: str) -> bool:
        """Enter ``thing`` unless the name is taken by another distribution; then note the clash and return False."""
        holder = self.origin.get((kind, name))
        if holder == OWN:
            self.refuse(kind, name, distribution)
            return False
        if holder is not None:
            self.clashes[kind, name] = (holder, distribution)
            console.warn(f"{_clash_text(kind, name, holder, distribution)}; {_CLASH_HINT}")
            return False
        table[name] = thing
        self.origin[kind, name] = distribution
        return True

    def forget(self, kind: str) -> None:
        """Take out every name of one kind, and its clashes."""
        for table in (self.origin, self.clashes):
            for key in [key for key in table if key[0] == kind]:
                del table[key]

    def hook(self, name: str, plugin: str) -> pluggy.HookCaller:
        """The hook ``name`` of one plugin alone."""
        mine = self.manager.get_plugin(plugin)
        return self.manager.subset_hook_caller(
            name, [other for other in self.manager.get_plugins() if other is not mine]
        )

    def refuse(self, kind: str, name: str, distribution: str) -> None:
        """Say that a name is evcap's own: nobody can take or disable it."""
        console.warn(
            f"{kind} {name!r} of {distribution} is left out: evcap has one of that name; "
            f"update or uninstall {distribution}"
        )


def _chosen(points: Iterable[EntryPoint]) -> list[EntryPoint]:
    points = sorted(points, key=lambda point: (point.name not in _OWN, point.name))
    chosen = os.environ.get(ONLY_VARIABLE)
    if chosen is None:
        return points
    names = {name.strip() for name in chosen.split(",") if name.strip()}
    missing = names - {point.name for point in points} - set(_OWN)
    if missing:
        console.warn(f"{ONLY_VARIABLE} names {sorted(missing)[0]!r}, which is not installed")
    return [point for point in points if point.name in names or point.name in _OWN]


def _entry_points() -> list[EntryPoint]:
    points = _chosen(entry_points(group=GROUP))
    found = {point.name for point in points}
    return [EntryPoint(name, module, GROUP) for name, module in _OWN.items() if name not in found] + points


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """Name and version of what brings a plugin."""
    return (OWN, "") if point.dist is None else _named(point.dist)


@cache
def _named(found: Distribution) -> tuple[str, str]:
    metadata = found.metadata  # read and parsed whenever it is taken
    return metadata["Name"], metadata["Version"]


@cache
def registry() -> Registry:
    """Load every healthy plugin once and return what they registered."""
    found = Registry()
    found.manager.add_hookspecs(hookspecs)
    found.manager.register(import_module("evcap_cli.output.builtin_writers"), name="evcap")
    _collect("evcap", found, "evcap")
    for point in _entry_points():
        found.loaded.append(_load(point, found))
    return found


def _load(point: EntryPoint, found: Registry) -> Loaded:
    """Import and register one plugin; whatever it raises (SystemExit included) stays its own problem."""
    distribution, version = _distribution(point)
    try:
        with plugin_calls.registering():
            found.manager.register(point.load(), name=point.name)
            found.manager.check_pending()
            _collect(point.name, found, distribution)
    except Exception as problem:
        if found.manager.has_plugin(point.name):
            found.manager.unregister(name=point.name)
        reason = one_line(problem)
        plugin_calls.show_traceback(problem)
        label = f"{distribution} {version}".strip()
        console.warn(
            f"plugin {point.name!r} of {label} is broken and was skipped: {reason}; update or uninstall {distribution}"
        )
        return Loaded(point.name, distribution, version, reason)
    return Loaded(point.name, distribution, version)


def _collect(name: str, found: Registry, distribution: str) -> None:
    """Call the registering hooks of one plugin alone; all of it counts or, when it raises, none of it."""
    new: list[tuple[str, dict[str, Any], str, Any]] = []

    def keep(kind: str, table: dict[str, Any], key: str, thing: Any) -> None:
        if not isinstance(key, str) or not key:
            raise TypeError(f"a {kind} has the name {key!r}, which is no text")
        new.append((kind, table, key, thing))

    def backbone(cls: type[Backbone]) -> None:
        spec = getattr(cls, "spec", None)
        if spec is None:
            raise TypeError(f"backbone {cls.__name__} has no spec")
        keep("backbone", found.backbones, spec.name, cls)

    def writer(thing: Writer) -> None:
        if not thing.suffix.startswith("."):
            raise ValueError(f"the suffix {thing.suffix!r} of a writer does not begin with a dot")
        keep("writer", found.writers, thing.suffix, thing)

    def captioner(spec: CaptionerSpec) -> None:
        keep("captioner", found.captioners, spec.name, spec)

    found.hook("register_backbones", name)(register=backbone)
    found.hook("register_writers", name)(register=writer)
    found.hook("register_captioners", name)(register=captioner)
    found.hook("register_systems", name)(register=partial(keep, "system", found.systems))
    found.hook("register_metrics", name)(register=partial(keep, "metric", found.metrics))
    for kind, table, key, thing in new:
        found.add(kind, table, key, thing, distribution)


def _clash_text(kind: str, name: str, first: str, second: str) -> str:
    return f"{kind} {name!r} is offered by both {first} and {second}"


def check_clash(kind: str, name: str) -> None:
    """See that one distribution alone offers a name.

    Raises:
        PluginError: two do.
    """
    if (kind, name) in registry().clashes:
        raise PluginError(_clash_text(kind, name, *registry().clashes[kind, name]), hint=_CLASH_HINT)


def _registered(kind: str, table: Mapping[str, Any], name: str, hint: str) -> Any:
    check_clash(kind, name)
    if name not in table:
        known = ", ".join(sorted(table)) or "none"
        raise PluginError(f"no {kind} named {name!r} is installed (installed: {known})", hint=hint)
    return table[name]


def backbone_class(name: str, distribution: str = "") -> type[Backbone]:
    """The backbone registered as ``name``.

    Args:
        name: without a variant.
        distribution: the one that is known to offer it, where something remembers that; else a likely name is given.

    Raises:
        PluginError: nothing, or more than one distribution, offers that name.
    """
    found: type[Backbone] = _registered("backbone", registry().backbones, name, how_to_get(name, distribution))
    return found


def how_to_get(name: str, distribution: str = "") -> str:
    """The next step where no installed plugin offers the backbone, system or captioner ``name``."""
    broken = {plugin.distribution: plugin.error for plugin in registry().loaded if plugin.error is not None}
    if distribution in broken:
        return f"{distribution} brings it and is broken ({broken[distribution]}): update it"
    if os.environ.get(ONLY_VARIABLE) is not None:
        return f"{ONLY_VARIABLE} keeps plugins out: unset it, or install the one that brings {name}"
    if distribution:
        return f"pip install {'-U ' if distribution == 'evcap' else ''}{distribution}"
    if broken:
        first = next(iter(broken))
        return f"{first} may bring it and is broken ({broken[first]}): update it"
    return f"install the plugin that brings it, for example: pip install evcap-{name}"


def distribution_of(kind: str, name: str) -> str:
    """The distribution that offers a registered thing, such as ("backbone", "resnet"); empty where nothing does."""
    return registry().origin.get((kind, name), "")


def writers() -> dict[str, Writer]:
    """Output formats by suffix, such as ".srt"."""
    return registry().writers


def metrics() -> dict[str, Callable[..., float]]:
    """Metrics that plugins add, by name."""
    return registry().metrics


def system(name: str, distribution: str = "") -> SystemSpec:
    """The captioning system registered as ``name``.

    Args:
        name: of it.
        distribution: the one that is known to offer it, where something remembers that.

    Raises:
        PluginError: nothing, or more than one distribution, offers that name.
    """
    hint = how_to_get(name, distribution) if distribution else "see `evcap plugins` for what is installed"
    found: SystemSpec = _registered("system", registry().systems, name, hint)
    return found


def systems() -> dict[str, SystemSpec]:
    """Captioning systems by name."""
    return registry().systems


def captioners() -> dict[str, CaptionerSpec]:
    """Captioners by name."""
    return registry().captioners


def captioner(name: str) -> CaptionerSpec:
    """The captioner registered as ``name``.

    Raises:
        PluginError: nothing, or more than one distribution, offers that name.
    """
    found: CaptionerSpec = _registered(
        "captioner", registry().captioners, name, "see `evcap plugins` for what is installed"
    )
    return found
