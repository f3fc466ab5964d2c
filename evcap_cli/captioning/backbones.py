"""Which backbones a caption run loads: those of its checkpoint, with what the user says about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evcap_cli.checkpoints.trained_backbones import check_installed, requested_backbones, with_trained_backbones

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

    trained, requested = checkpoint.backbones, requested_backbones(checkpoint, options)
    found = replacements(trained, requested, checkpoint.name)
    for kind, name in found.items():
        trained[kind] = {**trained[kind], "name": name}
    hint = "leave the option out, or train a checkpoint with that backbone"
    chosen = with_trained_backbones(checkpoint, options, requested, hint=hint)
    check_installed(checkpoint)
    return chosen, found


def check_captioner(options: CaptionOptions, *, with_backbones: bool) -> None:
    """See what ``captioner_of`` would refuse, as far as no download and no weights are needed for it.

    Args:
        options: of the run.
        with_backbones: whether to read a checkpoint for the backbones that ``options`` name, which takes time.

    Raises:
        CheckpointError, PluginError, UsageError: as ``captioner_of`` does.
    """
    from evcap_cli.captioning.checkpoint_captioner import check_for_checkpoint
    from evcap_cli.captioning.ready_made import check_ready_made
    from evcap_cli.checkpoints.checkpoint_files import resolve
    from evcap_cli.checkpoints.hub import HUB_PREFIX

    if check_ready_made(options):
        return
    check_for_checkpoint(options)
    if with_backbones:
        check_backbones(options)
    elif not options.checkpoint.startswith(HUB_PREFIX):
        resolve(options.checkpoint)


def check_backbones(options: CaptionOptions) -> None:
    """See what ``captioner_of`` would refuse of a checkpoint's backbones, before any weights are read.

    Raises:
        CheckpointError, PluginError, UsageError: as ``captioner_of`` does.
    """
    from evcap_cli.backbones.loading import make_backbones
    from evcap_cli.checkpoints.checkpoint import Checkpoint

    chosen, _ = choose_backbones(Checkpoint.from_pretrained(options.checkpoint), options)
    make_backbones(chosen.addresses(), chosen.weights, chosen.backbone_options, chosen.allow_unused)
