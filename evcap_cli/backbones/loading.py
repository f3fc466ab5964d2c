"""From addresses to loaded backbones: ask the plugins, apply options, read weights, note what was read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli import console, plugins
from evcap_cli.backbones.contract import KINDS, Backbone, Kind, WeightsSource, address_of, split_address
from evcap_cli.backbones.hub import within_reach
from evcap_cli.backbones.identity import digest_of, file_digest
from evcap_cli.backbones.offloader import offload
from evcap_cli.backbones.weights import RANDOM, random_seed
from evcap_cli.devices import out_of_memory
from evcap_cli.errors import EvcapError, PluginError, UsageError, WeightsError, one_line
from evcap_cli.plugin_calls import contained
from evcap_cli.reading.regular import check_regular

if TYPE_CHECKING:
    import torch


def load_backbones(
    addresses: Mapping[Kind, str],
    *,
    weights: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, str]] | None = None,
    allow_unused: Collection[str] = (),
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> dict[Kind, Backbone]:
    """Load the backbone of each kind.

    Args:
        addresses: kind -> NAME or NAME:VARIANT.
        weights: NAME (or NAME:VARIANT) -> path or source; others load their default.
        options: NAME (or NAME:VARIANT) -> key -> value.
        allow_unused: names in weights and options that need not be in use: evcap.toml serves several presets.
        device: where models and batches live.
        dtype: of the model and of the batches it is given; float32 when None.

    Where a device's memory does not hold all of them, those that were loaded before go back to the CPU, with a warning.

    Raises:
        PluginError: a backbone is not installed, or fails to load.
        WeightsError: weights are missing, damaged, of another architecture or not to be downloaded.
        UsageError: an unknown variant or option, a backbone of another kind, or weights or options for a backbone that
            is not in use.
    """
    import torch

    made = make_backbones(addresses, weights or {}, options or {}, allow_unused)
    where, number = torch.device(device), dtype or torch.float32
    loaded: list[Backbone] = []
    crowded = False
    for backbone in made.values():
        chosen = chosen_weights(backbone, weights or {})
        try:
            load_one(backbone, chosen, where, number)
        except PluginError as problem:
            # one at a time is on the device from here on (``offloader.py``): slower, but each model alone may well fit
            if where.type == "cpu" or not out_of_memory(problem.__cause__) or not offload(loaded):
                raise
        else:
            loaded.append(backbone)
            continue
        if not crowded:
            console.warn(f"{backbone.spec.name}: no memory next to the other models; going on with one at a time")
        crowded = True
        if where.type == "cuda":
            torch.cuda.empty_cache()  # only here: the exception kept what was loaded half
        load_one(backbone, chosen, where, number)
        loaded.append(backbone)
    return made


def make_backbones(
    addresses: Mapping[Kind, str],
    weights: Mapping[str, str],
    options: Mapping[str, Mapping[str, str]],
    allow_unused: Collection[str],
) -> dict[Kind, Backbone]:
    """The backbone of each kind, not loaded yet; the arguments are those of ``load_backbones``.

    Raises:
        PluginError, UsageError: see ``load_backbones``.
    """
    made = {kind: make_backbone(kind, addresses[kind], options) for kind in KINDS if kind in addresses}
    used = {name for backbone in made.values() for name in _names(backbone)}
    for given, flag in ((weights, "--weights"), (options, "--option")):
        unused = sorted(set(given) - used - set(allow_unused))
        if unused:
            raise UsageError(
                f"{flag} names {unused[0]!r}, which is not in use", hint=f"in use: {', '.join(sorted(used))}"
            )
    return made


def make_backbone(kind: Kind, address: str, options: Mapping[str, Mapping[str, str]]) -> Backbone:
    """The backbone at ``address``, not loaded yet.

    Raises:
        PluginError, UsageError: see ``load_backbones``.
    """
    name, variant = split_address(address)
    given = {**options.get(name, {}), **(options.get(address, {}) if variant else {})}
    try:
        kind_of_backbone = plugins.backbone_class(name)
        with contained():
            backbone = kind_of_backbone(variant, given)
    except EvcapError:
        raise
    except ValueError as problem:
        raise UsageError(str(problem), path=address, hint="see docs/plugins.md") from problem
    except Exception as problem:
        raise PluginError(
            f"cannot be set up ({one_line(problem)})", path=address, hint="update the plugin"
        ) from problem
    if backbone.spec.kind != kind:
        raise UsageError(
            f"is a backbone for {backbone.spec.kind}, not for {kind}", path=address, hint="see `evcap plugins`"
        )
    return backbone


def load_one(
    backbone: Backbone, weights: str | None, device: torch.device, dtype: torch.dtype, *, announce: bool = True
) -> None:
    """Call ``backbone.load`` and note the number format and, where the backbone did not, what weights it was given.

    The digest of drawn weights starts with "random:SEED": that is how every checkpoint and record made with them knows.
    ``announce``: say on stderr that weights are random.

    Raises:
        WeightsError, PluginError, UsageError: see ``load_backbones``.
    """
    address = address_of(backbone)
    if weights == "":
        raise WeightsError("no weights are named", path=address, hint=f"expected --weights {address}=PATH")
    seed = random_seed(weights)
    given = str(Path(weights).expanduser()) if weights is not None and weights.startswith("~") else weights
    local = given is not None and seed is None and Path(given).exists()
    if given is not None and seed is None and not local and _looks_like_path(given):
        raise WeightsError("these weights do not exist", path=given, hint=f"check --weights {address}=PATH")
    if local and not Path(str(given)).is_dir():
        # whatever the plugin opens it with
        check_regular(str(given), error=WeightsError, hint=f"--weights {address}=PATH names a file or a folder")
    backbone.dtype = dtype  # before load: a backbone that computes in another format says so there
    try:
        with within_reach(_known_source(backbone) if given is None else None), contained():
            backbone.load(given, device, dtype)
    except WeightsError as problem:
        hint = for_backbone(problem.hint, address)
        raise WeightsError(problem.cause, path=problem.path or address, hint=hint) from problem
    except EvcapError:
        raise
    except Exception as problem:
        if local and not out_of_memory(problem):
            raise WeightsError(
                f"cannot be loaded by {address} ({one_line(problem)})",
                path=given,
                hint=f"check that --weights {address}=PATH names weights of this backbone, whole and of its variant",
            ) from problem
        if out_of_memory(problem):
            hint = "free some memory, or try --device cpu"
            raise PluginError("cannot be loaded: out of memory", path=address, hint=hint) from problem
        hint = f"check --weights {address}={weights}" if weights else f"pass a local copy with --weights {address}=PATH"
        raise PluginError(f"cannot be loaded ({one_line(problem)})", path=address, hint=hint) from problem
    if seed is not None:
        drawn = "" if backbone.weights_digest.startswith(RANDOM) else backbone.weights_digest
        backbone.weights_digest = f"{RANDOM}{seed}" + (f":{drawn}" if drawn else "")
        if announce:
            console.info(
                f"note: {address} has random weights ({RANDOM}{seed}): for tests and benchmarks, marked as such"
            )
    elif given is not None and not backbone.weights_digest:
        backbone.weights_digest = _digest(Path(given)) if local else given


def default_source(backbone: Backbone) -> WeightsSource | None:
    """Where the default weights of a backbone come from; None: it needs none.

    Raises:
        WeightsError: the backbone fails to say.
    """
    try:
        with contained():
            return backbone.weights_source()
    except Exception as problem:
        raise WeightsError(
            f"does not say where its weights come from ({one_line(problem)})",
            path=address_of(backbone),
            hint="update the plugin, or pass a local copy with --weights NAME=PATH",
        ) from problem


def _known_source(backbone: Backbone) -> WeightsSource | None:
    try:
        return default_source(backbone)
    except WeightsError:  # matters to `evcap weights list`; ``load`` may work all the same
        return None


def chosen_weights(backbone: Backbone, weights: Mapping[str, str]) -> str | None:
    """What ``weights``, by NAME or NAME:VARIANT, has for a backbone, the more exact name first."""
    return next((weights[name] for name in _names(backbone) if name in weights), None)


def for_backbone(hint: str | None, address: str) -> str | None:
    """A hint of ``weights.py``, which does not know whose weights it reads, with the backbone's name in it."""
    return hint and hint.replace("--weights NAME=", f"--weights {address}=").replace(
        "import NAME ", f"import {address} "
    )


def _names(backbone: Backbone) -> tuple[str, ...]:
    """What a user may call a backbone in --weights and --option, the more exact name first."""
    return (address_of(backbone), backbone.spec.name) if backbone.variant else (backbone.spec.name,)


def _looks_like_path(weights: str) -> bool:
    return weights.startswith(("/", "./", "../", "~", "\\")) or weights.endswith(
        (".safetensors", ".pth", ".pt", ".bin")
    )


def _digest(weights: Path) -> str:
    """Digest of a file, or of all files of a folder with their names."""
    if weights.is_file():
        return file_digest(weights)
    files = sorted(path for path in weights.rglob("*") if path.is_file())
    return digest_of({path.relative_to(weights).as_posix(): file_digest(path) for path in files})
