"""The backbones that a checkpoint was trained on, as options of a run that reads the same features."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from evcap_cli import plugins
from evcap_cli.errors import CheckpointError, PluginError
from evcap_cli.features.options import FeatureOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evcap_cli.backbones.contract import Kind
    from evcap_cli.checkpoints.checkpoint import Checkpoint

OptionsT = TypeVar("OptionsT", bound=FeatureOptions)


def requested_backbones(checkpoint: Checkpoint, options: FeatureOptions) -> dict[Kind, str]:
    """Kind -> backbone that ``options`` name, without the kinds of a preset that ``checkpoint`` does not read."""
    return {
        kind: name
        for kind, name in options.addresses().items()
        # a preset names all four kinds, whatever the checkpoint reads
        if kind in checkpoint.backbones or kind in options.backbones
    }


def with_trained_backbones(
    checkpoint: Checkpoint, options: OptionsT, requested: Mapping[Kind, str], *, hint: str
) -> OptionsT:
    """``options`` that name the backbones of ``checkpoint`` with their options and drawn weights.

    Args:
        checkpoint: whose backbones.
        options: of the run; weights and options of backbones that they name count more.
        requested: of ``requested_backbones``.
        hint: what to do where they are others.

    Raises:
        CheckpointError: ``requested`` names others.
    """
    trained = checkpoint.backbones
    addresses: dict[str, str] = {kind: str(record["name"]) for kind, record in trained.items()}
    for kind, name in requested.items():
        if name != addresses.get(kind):
            used = f"{kind} backbone {addresses[kind]}" if kind in addresses else f"no {kind} backbone"
            raise CheckpointError(f"was trained with {used}, not with {name}", path=checkpoint.name, hint=hint)
    # drawn weights are drawn again, unless the user names others, by the backbone's name or its full address
    drawn = {
        name: source
        for name, source in checkpoint.random_weights.items()
        if not {name, name.partition(":")[0]} & set(options.weights)
    }
    trained_options = {str(record["name"]).partition(":")[0]: record["options"] for record in trained.values()}
    return replace(
        options,
        backbone=None,
        backbones=addresses,
        weights={**drawn, **options.weights},
        backbone_options={**trained_options, **options.backbone_options},
    )


def check_installed(checkpoint: Checkpoint) -> None:
    """See that the plugins of the checkpoint's backbones are there.

    Raises:
        PluginError: naming the first that is not, and the distribution to install.
    """
    for kind, record in checkpoint.backbones.items():
        name = str(record["name"]).partition(":")[0]
        try:
            plugins.backbone_class(name, str(record.get("distribution", "")))
        except PluginError as problem:
            cause = f"needs the {kind} backbone {name}: {problem.cause}"
            raise PluginError(cause, path=checkpoint.name, hint=problem.hint) from problem
