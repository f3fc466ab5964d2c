"""``evcap weights list, fetch, import``: where weights come from, getting them ahead of time, old files made safe."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evcap_cli import console, plugins
from evcap_cli.commands import options as shared
from evcap_cli.commands.captioner_weights import (
    KIND,
    captioner_row,
    downloaded_captioners,
    fetch_captioner,
    is_captioner,
)
from evcap_cli.console import counted, noun
from evcap_cli.errors import (
    EXIT_NOTHING_DONE,
    EXIT_SOME_FAILED,
    EvcapError,
    UsageError,
    WeightsError,
    reason_of,
)
from evcap_cli.plugin_calls import contained

if TYPE_CHECKING:
    from torch import Tensor

    from evcap_cli.backbones.contract import Backbone

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PRESET-or-NAME...",
        help="Presets (lite, resnet, clip, open, modern, your own), backbones, captioners (smolvlm2) or "
        "hf-hub:ORG/NAME.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="Show, fetch and import the weights of backbones and ready-made captioners.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("list")(list_)
    group.command()(fetch)
    group.command("import")(import_)
    app.add_typer(group, name="weights")


def list_(
    names: Names = None,
    weights: shared.Weights = None,
    option: shared.Option = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    config: shared.Config = None,
) -> None:
    """Show where the weights of backbones and captioners come from, their licence, and whether they are here.

    Without a name, every installed backbone and every captioner with a model of its own is listed; exit code 3 when
    one cannot say.

    Example: evcap weights list clip
    """
    settings = shared.backbone_settings(config, weights, option)
    captioners, others = _split(names or (), settings)
    found = []
    if others or not names:
        found = [_row(backbone, settings.weights) for backbone in _backbones(others, settings)]
    found += [captioner_row(name) for name in captioners or (() if names else downloaded_captioners())]
    if as_json:
        console.data(json.dumps(found, indent=1) + "\n")
    else:
        console.answer_table(("kind", "name", "source", "licence", "here"), map(_cells, found))
    if any("error" in row for row in found):
        raise typer.Exit(EXIT_SOME_FAILED)


def fetch(
    names: Names = None,
    appearance: shared.Appearance = None,
    motion: shared.Motion = None,
    object_: shared.Object = None,
    audio: shared.Audio = None,
    weights: shared.Weights = None,
    option: shared.Option = None,
    config: shared.Config = None,
    quiet: shared.Quiet = False,  # noqa: ARG001  read by its callback
    verbose: shared.Verbose = False,  # noqa: ARG001
) -> None:
    """Download all weights that presets, backbones or captioners need, ahead of time, for machines without a network.

    A preset and a backbone may share a name: it then means the preset; --appearance clip fetches that one alone.

    Example: evcap weights fetch smolvlm2
    """
    from evcap_cli.backbones.contract import address_of

    settings = shared.backbone_settings(config, weights, option)
    single = list(shared.overrides(appearance, motion, object_, audio).values())
    if not names and not single:
        raise UsageError("nothing to fetch is named", hint="for example: evcap weights fetch clip")
    captioners, others = _split(names or (), settings)
    backbones = _backbones(others, settings, single) if others or single else []
    work: list[tuple[str, Callable[[str], str]]] = [
        (address_of(backbone), partial(_fetch, backbone, settings.weights)) for backbone in backbones
    ]
    work += [(name, partial(fetch_captioner, name)) for name in captioners]
    failed = 0
    for number, (name, fetched) in enumerate(work, 1):
        count = f"[{number}/{len(work)}]"
        try:
            state = fetched(count)
        except EvcapError as problem:
            failed += 1
            console.error(problem)
        else:
            console.info(f"{count} {name} {state}")
    done = len(work) - failed
    what = "backbone" if not captioners else "model" if backbones else "captioner"
    console.info(
        f"{done} of {counted(len(work), what)} {noun(done, 'is', 'are')} ready"
        + (f", {failed} failed" if failed else "")
    )
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED if done else EXIT_NOTHING_DONE)


def import_(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:VARIANT]", help="The backbone that the weights are for, or the system: epan or dcgn."
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .pth, .pt, .ckpt or .bin file, or .safetensors.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The .safetensors file to write, whole or not at all; of a system the folder.",
        ),
    ],
    vocabulary: Annotated[
        Path | None,
        typer.Option("--vocabulary", metavar="FILE", help="Words of a system: one a line, in the order of the rows."),
    ] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option("--lexicon", metavar="PATH", help="Emotion words of a system: EPAN's EmotionEval folder."),
    ] = None,
    backbone: shared.Preset = None,
    appearance: shared.Appearance = None,
    features: Annotated[
        str | None,
        typer.Option("--features", metavar="NAME", help="Published features of a system that no backbone here gives."),
    ] = None,
    weights: shared.Weights = None,
    option: shared.Option = None,
    config: shared.Config = None,
) -> None:
    """Turn a legacy weights file into safetensors, without executing anything in it, and check that it fits.

    A checkpoint of the released code of EPAN or DCGN becomes a folder that captions, scores and explains.

    Example: evcap weights import resnext3d resnext-101-kinetics.pth -o resnext3d.safetensors
    """
    from evcap_cli.commands.released_weights import SYSTEMS, ReleasedFlags, import_released

    settings = shared.backbone_settings(config, weights, option)
    flags = ReleasedFlags(vocabulary, lexicon, backbone, appearance, features, settings)
    if name in SYSTEMS:
        if name in plugins.registry().backbones:
            raise UsageError(
                f"{name} is a system and a backbone ({plugins.distribution_of('backbone', name)})",
                hint="uninstall that distribution, or import where it is not installed",
            )
        import_released(name, file, output, flags)
        return
    if name in plugins.systems():
        raise UsageError(f"{name} has no released checkpoints to import", hint=f"one of: {', '.join(SYSTEMS)}")
    if flags.any_given or weights:
        raise UsageError(
            "--vocabulary, --lexicon, --backbone, --appearance, --features and --weights are of a system",
            path=name,
            hint=f"leave them out, or name {' or '.join(SYSTEMS)}",
        )
    _import_backbone(name, file, output, settings)


def _import_backbone(name: str, file: Path, output: Path, settings: shared.BackboneSettings) -> None:
    """Write the safetensors file of a backbone.

    Raises:
        EvcapError: see ``import_``.
    """
    from safetensors.torch import save

    from evcap_cli.backbones.contract import address_of
    from evcap_cli.backbones.weights import read_legacy, read_tensors, state_digest
    from evcap_cli.files import check_writable, write_whole

    if output.suffix != ".safetensors":
        raise UsageError("does not end in .safetensors", path=output, hint="such as -o weights.safetensors")
    if output.exists() and file.exists() and output.samefile(file):
        raise UsageError("is the input itself", path=output, hint="give the output another name")
    (backbone,) = _backbones([name], settings, presets=False)
    check_writable(output)
    read = read_tensors if file.suffix == ".safetensors" else read_legacy
    tensors = _fitting(backbone, address_of(backbone), read(file), file)
    write_whole(output, save(tensors, metadata={"format": "pt"}))
    address = address_of(backbone)
    console.info(f"{output}: {counted(len(tensors), 'tensor')} for {address}, digest {state_digest(tensors)}")
    console.info(f"use it with --weights {address}={output}")


def _fitting(backbone: Backbone, address: str, tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """``tensors`` under the names that ``backbone`` loads, each with memory of its own.

    Raises:
        WeightsError: they are not this backbone's.
    """
    import torch

    hint = f"give the backbone, as NAME or NAME:VARIANT, that {file.name} belongs to"
    try:
        with contained():
            named = backbone.import_state(tensors)
            backbone.check_state(named)
    except EvcapError as problem:
        raise WeightsError(f"does not fit {address}: {problem.cause}", path=file, hint=hint) from problem
    except Exception as problem:
        raise WeightsError(f"does not fit {address} ({reason_of(problem)})", path=file, hint=hint) from problem
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in named.items()}


def _split(names: Iterable[str], settings: shared.BackboneSettings) -> tuple[list[str], list[str]]:
    """Names of captioners, each once, and the others: presets and backbones go first where names are shared.

    Raises:
        PluginError: a name that is neither.
    """
    from evcap_cli.backbones.contract import split_address
    from evcap_cli.backbones.presets import PRESETS

    captioners: dict[str, None] = {}
    others: list[str] = []
    for name in names:
        if name in PRESETS or name in settings.presets or split_address(name)[0] in plugins.registry().backbones:
            others.append(name)
        elif is_captioner(name):
            captioners[name] = None
        else:
            raise shared.neither_backbone_nor_captioner(split_address(name)[0])
    return list(captioners), others


def _backbones(
    names: Iterable[str], settings: shared.BackboneSettings, single: Iterable[str] = (), *, presets: bool = True
) -> list[Backbone]:
    """Each backbone of ``names`` (presets or addresses) and ``single`` (addresses) once; all where both are empty.

    Raises:
        UsageError, PluginError: a name that is neither, a variant or an option that the backbone does not know.
    """
    from evcap_cli.backbones.contract import split_address
    from evcap_cli.backbones.loading import make_backbone
    from evcap_cli.backbones.presets import PRESETS, backbone_addresses

    addresses: list[str] = []
    for name in names:
        preset = presets and (name in PRESETS or name in settings.presets)
        addresses += backbone_addresses(name, own=settings.presets).values() if preset else [name]
    addresses += single
    made = []
    for address in dict.fromkeys(addresses or plugins.registry().backbones):
        kind = plugins.backbone_class(split_address(address)[0]).spec.kind
        made.append(make_backbone(kind, address, settings.options))
    return made


def _row(backbone: Backbone, weights: Mapping[str, str]) -> dict[str, Any]:
    from evcap_cli.backbones.contract import address_of
    from evcap_cli.backbones.downloading import local_copy
    from evcap_cli.backbones.loading import chosen_weights, default_source

    row: dict[str, Any] = {"name": address_of(backbone), "kind": backbone.spec.kind}
    chosen = chosen_weights(backbone, weights)
    if chosen is not None:
        there = Path(chosen).expanduser().exists()
        return row | {"source": chosen, "location": "", "license": "yours", "here": chosen if there else None}
    try:
        source = default_source(backbone)
    except WeightsError as problem:
        return row | {"error": problem.cause}
    if source is None:
        return row | {"source": None, "location": "", "license": "", "here": None}
    copy = local_copy(source)
    return row | {
        "source": source.name,
        "location": source.location,
        "license": source.license,
        "here": None if copy is None else str(copy),
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return row["kind"], row["name"], row["error"], "", "?"
    if row["kind"] == KIND and row["location"]:
        size = f" ({row['download']})" if row.get("download") else ""
        return row["kind"], row["name"], row["location"] + size, row["license"], row["here"] or "no"
    if row["source"] is None:
        return row["kind"], row["name"], "needs none", "", ""
    source = f"{row['source']} ({row['location']})" if row["location"] else row["source"]
    return row["kind"], row["name"], source, row["license"], row["here"] or "no"


def _fetch(backbone: Backbone, weights: Mapping[str, str], count: str) -> str:
    """Fetch what one backbone needs; returns what became of it.

    Raises:
        EvcapError: it cannot be fetched.
    """
    from evcap_cli.backbones.contract import Backbone, address_of
    from evcap_cli.backbones.downloading import local_copy, unreachable
    from evcap_cli.backbones.hub import within_reach
    from evcap_cli.backbones.loading import chosen_weights, default_source, for_backbone
    from evcap_cli.backbones.weights import random_seed

    address = address_of(backbone)
    chosen = chosen_weights(backbone, weights)
    if chosen is not None and random_seed(chosen) is not None:
        return "draws its weights"
    if chosen is not None:
        if not Path(chosen).expanduser().exists():
            raise WeightsError("these weights do not exist", path=chosen, hint=f"check --weights {address}=PATH")
        return f"uses {chosen}"
    source = default_source(backbone)
    if source is None:
        return "needs no weights"
    copy = local_copy(source)
    if copy is not None:
        return f"is here already: {copy}"
    if type(backbone).fetch_weights is Backbone.fetch_weights:
        raise WeightsError(
            f"cannot fetch its weights ahead of time ({source.name})",
            path=address,
            hint=f"get {source.location} and pass it with --weights {address}=PATH",
        )
    console.info(f"{count} {address}: fetching {source.name} from {source.location}")
    try:
        with within_reach(source), contained():
            backbone.fetch_weights()
    except EvcapError as problem:
        hint = for_backbone(problem.hint, address)
        raise WeightsError(problem.cause, path=problem.path or address, hint=hint) from problem
    except Exception as problem:
        raise unreachable(source, address, problem) from problem
    copy = local_copy(source)
    return ("is fetched" if copy is None else f"is here now: {copy}") + f" (licence: {source.license})"
