"""``evcap plugins``: what is installed, from which distribution, under which licences, and what failed to load."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evcap_cli import console
from evcap_cli import plugins as registry_of
from evcap_cli.commands import options as shared
from evcap_cli.errors import EXIT_NOTHING_DONE, EXIT_SOME_FAILED, UsageError, one_line
from evcap_cli.plugin_calls import contained

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Show installed backbones, systems, formats, metrics and plugins.", rich_markup_mode=None)
    group.callback(invoke_without_command=True)(show)
    group.command()(check)
    app.add_typer(group, name="plugins")


def rows() -> list[dict[str, Any]]:
    """One row a registered thing and one a plugin that failed."""
    registry = registry_of.registry()
    found: list[dict[str, Any]] = []
    for (kind, name), distribution in registry.origin.items():
        row: dict[str, Any] = {"kind": kind, "name": name, "distribution": distribution}
        if kind == "backbone":
            spec = registry.backbones[name].spec
            row |= {"stream": spec.kind, "dim": spec.dim, "version": spec.version, "license": spec.license}
            row |= _weights(registry.backbones[name])
        elif kind == "system":
            system = registry.systems[name]
            row |= {"title": system.shown, "description": system.about, "license": system.license}
            row |= {"source": system.source} if system.source else {}
        elif kind == "writer":
            row["description"] = registry.writers[name].description
        clash = registry.clashes.get((kind, name))
        if clash is not None:
            row["error"] = f"also offered by {clash[1]}"
        found.append(row)
    found += [
        {"kind": "plugin", "name": plugin.name, "distribution": plugin.distribution, "error": plugin.error}
        for plugin in registry.loaded
        if plugin.error is not None
    ]
    return found


def _weights(backbone: type[Backbone]) -> dict[str, Any]:
    """Whose weights a backbone loads by default, and under which licence; a backbone that cannot say stays listed."""
    try:
        with contained():
            source = backbone().weights_source()
    except Exception as problem:
        return {"weights": None, "note": f"does not say whose weights it loads: {one_line(problem)}"}
    return {"weights": None if source is None else {"name": source.name, "license": source.license}}


def show(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List what is installed; exit code 3 when a plugin failed to load."""
    if context.invoked_subcommand is not None:
        return
    found = rows()
    if as_json:
        console.data(json.dumps(found, indent=1) + "\n")
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for title in ("kind", "name", "dim", "distribution", "licence", "weights' licence", "note"):
            table.add_column(title, overflow="fold")
        for row in found:
            table.add_row(
                row.get("stream", row["kind"]),
                row["name"],
                str(row.get("dim", "")),
                row["distribution"],
                row.get("license", ""),
                _licence(row),
                row.get("error", row.get("note", row.get("description", ""))),
            )
        console.answer_table(table)
    if any("error" in row for row in found):
        raise typer.Exit(EXIT_SOME_FAILED)


def _licence(row: dict[str, Any]) -> str:
    if "weights" not in row or "note" in row:
        return ""
    return "(no weights)" if row["weights"] is None else str(row["weights"]["license"])


def check(
    backbone: Annotated[str, typer.Argument(metavar="NAME[:VARIANT]", help="An installed backbone.")],
    weights: shared.Weights = None,
    option: shared.Option = None,
) -> None:
    """See whether a backbone keeps the plugin contract; exit code 1 when it does not.

    Prints one verdict a line. Without --weights its default weights are loaded, NAME=random:0 draws some.

    Example: evcap plugins check lite-appearance
    """
    from evcap_cli.backbones.contract import BackboneAddress
    from evcap_cli.testing import examine_backbone

    address = BackboneAddress.parse(backbone)
    cls = registry_of.backbone_class(address.name)
    names = dict.fromkeys((address.name, backbone))
    given, chosen = shared.pairs(weights or (), "--weights"), shared.backbone_options(option or ())
    for flag, table in (("--weights", given), ("--option", chosen)):
        unused = sorted(set(table) - set(names))
        if unused:
            raise UsageError(f"{flag} names {unused[0]!r}, which is not checked", hint=f"checked: {backbone}")
    options = {key: value for name in names for key, value in chosen.get(name, {}).items()}
    source = given.get(backbone, given.get(address.name))
    report = examine_backbone(cls, address.variant, options, source, tell=lambda verdict: console.answer(str(verdict)))
    console.answer(report.summary)
    if not report.ok:
        raise typer.Exit(EXIT_NOTHING_DONE)
