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
    from evcap_cli.systems.captioner_spec import CaptionerSpec
    from evcap_cli.testing import CheckReport


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
        elif kind == "captioner":
            spec_of = registry.captioners[name]
            listens = "takes audio" if spec_of.takes_audio else ""
            download = f"downloads {spec_of.download}" if spec_of.download else ""
            row |= {
                "description": ", ".join(filter(None, (spec_of.about, download, listens))),
                "license": spec_of.license,
                "takes_audio": spec_of.takes_audio,
            }
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
        titles = ("kind", "name", "dim", "distribution", "licence", "weights' licence", "note")
        console.answer_table(titles, map(_cells, found))
    if any("error" in row for row in found):
        raise typer.Exit(EXIT_SOME_FAILED)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    weights = ""
    if "weights" in row and "note" not in row:
        weights = "(no weights)" if row["weights"] is None else row["weights"]["license"]
    note = row.get("error", row.get("note", row.get("description", "")))
    kind, dim, licence = row.get("stream", row["kind"]), str(row.get("dim", "")), row.get("license", "")
    return kind, row["name"], dim, row["distribution"], licence, weights, note


def check(
    name: Annotated[str, typer.Argument(metavar="NAME[:VARIANT]", help="An installed backbone, or a captioner as -c.")],
    weights: shared.Weights = None,
    option: shared.Option = None,
) -> None:
    """See whether a backbone or a captioner keeps the plugin contract; exit code 1 when it does not.

    Prints one result a line. Of a backbone its default weights are loaded; --weights gives others, NAME=random:0 draws
    some. A captioner is named as `evcap caption -c` takes it: a registered name, a folder or an address.

    Example: evcap plugins check lite-appearance
    """
    from evcap_cli.backbones.contract import split_address
    from evcap_cli.systems.captioners import find_captioner

    backbone = split_address(name)[0] in registry_of.registry().backbones
    captioner = None if backbone and name not in registry_of.captioners() else find_captioner(name)
    if not backbone and captioner is None:
        raise shared.neither_backbone_nor_captioner(split_address(name)[0])
    reports = []
    if backbone:
        reports.append(_check_backbone(name, weights, option))
    elif weights or option:
        raise UsageError("--weights and --option are for backbones", path=name, hint="leave them out")
    if captioner is not None:
        reports.append(_check_captioner(captioner[0], name))
    if not all(report.ok for report in reports):
        raise typer.Exit(EXIT_NOTHING_DONE)


def _check_backbone(backbone: str, weights: list[str] | None, option: list[str] | None) -> CheckReport:
    from evcap_cli.backbones.contract import split_address
    from evcap_cli.testing import examine_backbone

    name, variant = split_address(backbone)
    cls = registry_of.backbone_class(name)
    names = dict.fromkeys((name, backbone))
    given, chosen = shared.pairs(weights or (), "--weights"), shared.backbone_options(option or ())
    for flag, table in (("--weights", given), ("--option", chosen)):
        unused = sorted(set(table) - set(names))
        if unused:
            raise UsageError(f"{flag} names {unused[0]!r}, which is not checked", hint=f"checked: {backbone}")
    options = {key: value for named in names for key, value in chosen.get(named, {}).items()}
    source = given.get(backbone, given.get(name))
    report = examine_backbone(cls, variant, options, source, report=lambda result: console.answer(str(result)))
    console.answer(report.summary)
    return report


def _check_captioner(spec: CaptionerSpec, address: str) -> CheckReport:
    from evcap_cli.testing import examine_captioner

    report = examine_captioner(spec, address, report=lambda result: console.answer(str(result)))
    console.answer(report.summary)
    return report
