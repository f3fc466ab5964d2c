"""From addresses to loaded backbones: ask the plugins, apply options, read weights, note what was read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli import plugins
from evcap_cli.backbones.contract import KINDS, Backbone, BackboneAddress, Kind
from evcap_cli.backbones.identity import digest_of, file_digest
from evcap_cli.errors import EvcapError, PluginError, UsageError

if TYPE_CHECKING:
    import torch

RANDOM: Final = "random:"
"""``--weights NAME=random:SEED``: freshly drawn weights, for tests and benchmarks; marked in every record."""


def load_backbones(
    addresses: Mapping[Kind, str],
    *,
    weights: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, str]] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> dict[Kind, Backbone]:
    """Load the backbone of each kind.

    Args:
        addresses: kind -> NAME or NAME:VARIANT.
        weights: NAME (or NAME:VARIANT) -> path or source; others load their default.
        options: NAME (or NAME:VARIANT) -> key -> value.
        device: where models and batches live.
        dtype: of the model and of the batches it is given; float32 when None.

    Raises:
        PluginError: a backbone is not installed, or fails to load.
        UsageError: an unknown variant or option, a backbone of another kind, weights that are not there, or weights or
            options for a backbone that is not in use.
    """
    import torch

    made = {kind: make_backbone(kind, addresses[kind], options or {}) for kind in KINDS if kind in addresses}
    for given, flag in ((weights or {}, "--weights"), (options or {}, "--option")):
        used = {name for backbone in made.values() for name in _names(backbone)}
        unused = sorted(set(given) - used)
        if unused:
            raise UsageError(
                f"{flag} names {unused[0]!r}, which is not in use", hint=f"in use: {', '.join(sorted(used))}"
            )
    for backbone in made.values():
        chosen = next(((weights or {})[name] for name in _names(backbone) if name in (weights or {})), None)
        load_one(backbone, chosen, torch.device(device), dtype or torch.float32)
    return made


def make_backbone(kind: Kind, address: str, options: Mapping[str, Mapping[str, str]]) -> Backbone:
    """The backbone at ``address``, not loaded yet.

    Raises:
        PluginError, UsageError: see ``load_backbones``.
    """
    parsed = BackboneAddress.parse(address)
    given = {**options.get(parsed.name, {}), **(options.get(address, {}) if parsed.variant else {})}
    try:
        backbone = plugins.backbone_class(parsed.name)(parsed.variant, given)
    except EvcapError:
        raise
    except ValueError as problem:
        raise UsageError(str(problem), path=address, hint="see docs/plugins.md") from problem
    except Exception as problem:
        raise PluginError(
            f"cannot be set up ({_one_line(problem)})", path=address, hint="update the plugin"
        ) from problem
    if backbone.spec.kind != kind:
        raise UsageError(
            f"is a backbone for {backbone.spec.kind}, not for {kind}", path=address, hint="see `evcap plugins`"
        )
    return backbone


def load_one(backbone: Backbone, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
    """Call ``backbone.load`` and note the number format and, where the backbone did not, what weights it was given.

    Raises:
        PluginError, UsageError: see ``load_backbones``.
    """
    address = str(BackboneAddress(backbone.spec.name, backbone.variant))
    local = weights is not None and not weights.startswith(RANDOM) and Path(weights).exists()
    if weights is not None and not local and _looks_like_path(weights):
        raise UsageError("these weights do not exist", path=weights, hint=f"check --weights {address}=PATH")
    backbone.dtype = dtype  # before load: a backbone that computes in another format says so there
    try:
        backbone.load(weights, device, dtype)
    except EvcapError:
        raise
    except Exception as problem:
        hint = f"check --weights {address}=PATH" if weights else f"pass a local copy with --weights {address}=PATH"
        raise PluginError(f"cannot be loaded ({_one_line(problem)})", path=address, hint=hint) from problem
    if weights is not None and not backbone.weights_digest:
        backbone.weights_digest = _digest(Path(weights)) if local else weights


def _names(backbone: Backbone) -> tuple[str, ...]:
    """What a user may call a backbone in --weights and --option, the more exact name first."""
    address = str(BackboneAddress(backbone.spec.name, backbone.variant))
    return (address, backbone.spec.name) if backbone.variant else (address,)


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


def _one_line(problem: BaseException) -> str:
    return " ".join(f"{type(problem).__name__}: {problem}".split())
