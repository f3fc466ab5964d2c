"""Which backbones a caption run loads: those of its checkpoint, with what the user says about them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from evcap_cli.errors import CheckpointError, PluginError

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.captioning.options import CaptionOptions
    from evcap_cli.checkpoints.checkpoint import Checkpoint


def choose_backbones(checkpoint: Checkpoint, options: CaptionOptions) -> tuple[CaptionOptions, dict[Kind, str]]:
    """``options`` that name the backbones of ``checkpoint`` with their weights and options, and what the user adds.

    Returns:
        The options, and which backbones replace feature files that the checkpoint was trained on: kind -> address.

    Raises:
        CheckpointError: the user names others. PluginError: one is not installed.
    """
    from evcap_cli.data.published_backbones import replacements

    trained = checkpoint.backbones
    requested = {
        kind: name
        for kind, name in options.addresses().items()
        # a preset names all four kinds, whatever the checkpoint reads
        if kind in trained or kind in options.backbones
    }
    found = replacements(trained, requested, checkpoint.name)
    for kind, name in found.items():
        trained[kind] = {**trained[kind], "name": name}
    addresses: dict[str, str] = {kind: str(record["name"]) for kind, record in trained.items()}
    for kind, name in requested.items():
        if name != addresses.get(kind):
            used = f"{kind} backbone {addresses[kind]}" if kind in addresses else f"no {kind} backbone"
            raise CheckpointError(
                f"was trained with {used}, not with {name}",
                path=checkpoint.name,
                hint="leave the option out, or train a checkpoint with that backbone",
            )
    _check_installed(checkpoint)
    # drawn weights are drawn again, unless the user names others, by the backbone's name or its full address
    drawn = {
        name: source
        for name, source in checkpoint.random_weights.items()
        if not {name, name.partition(":")[0]} & set(options.weights)
    }
    trained_options = {str(record["name"]).partition(":")[0]: record["options"] for record in trained.values()}
    chosen = replace(
        options,
        backbone=None,
        backbones=addresses,
        weights={**drawn, **options.weights},
        backbone_options={**trained_options, **options.backbone_options},
    )
    return chosen, found


def _check_installed(checkpoint: Checkpoint) -> None:
    """See that the plugins of the checkpoint's backbones are there.

    Raises:
        PluginError: naming the first that is not, and the distribution to install.
    """
    from evcap_cli import plugins

    for kind, record in checkpoint.backbones.items():
        name = str(record["name"]).partition(":")[0]
        try:
            plugins.backbone_class(name, str(record.get("distribution", "")))
        except PluginError as problem:
            cause = f"needs the {kind} backbone {name}: {problem.cause}"
            raise PluginError(cause, path=checkpoint.name, hint=problem.hint) from problem


def check_backbones(options: CaptionOptions) -> None:
    """See what ``captioner_of`` would refuse of backbones, before any weights are read.

    Raises:
        CheckpointError, PluginError, UsageError: as ``captioner_of`` does.
    """
    from evcap_cli.backbones.loading import make_backbones
    from evcap_cli.captioning.ready_made import open_ready_made
    from evcap_cli.checkpoints.checkpoint import Checkpoint

    if open_ready_made(options) is not None:
        return
    chosen, _ = choose_backbones(Checkpoint.from_pretrained(options.checkpoint), options)
    make_backbones(chosen.addresses(), chosen.weights, chosen.backbone_options, chosen.allow_unused)
