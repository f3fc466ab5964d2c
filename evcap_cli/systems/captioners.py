"""From the value of ``-c`` to a captioner: registered names and schemes first, then what a config.json says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli import plugins
from evcap_cli.checkpoints.checkpoint_files import VOCABULARY
from evcap_cli.checkpoints.hub import HUB_PREFIX, local_snapshot, snapshot
from evcap_cli.errors import CheckpointError
from evcap_cli.reading.typed import read_json
from evcap_cli.systems.captioner_spec import spec_by_config, spec_by_name

if TYPE_CHECKING:
    from evcap_cli.systems.captioner_spec import CaptionerSpec
    from evcap_cli.systems.clip_captioner import CaptionerOptions, ClipCaptioner

CONFIG: Final = "config.json"


def open_captioner(address: str, options: CaptionerOptions) -> ClipCaptioner | None:
    """The captioner that ``-c ADDRESS`` names, checked and without its weights.

    Args:
        address: a registered name, an address of a scheme that a captioner opens, a folder or ``hf-hub:org/name``.
        options: what the user chose.

    Returns:
        None where no captioner claims the address: it is a checkpoint of evcap's own, or nothing at all.

    Raises:
        CheckpointError, PluginError, UsageError: the captioner cannot be had or cannot caption.
    """
    found = find_captioner(address)
    return None if found is None else found[0].open(found[1], options)


def find_captioner(address: str) -> tuple[CaptionerSpec, str] | None:
    """Which registered captioner opens ``-c ADDRESS``, and the address that it opens; nothing is checked or loaded.

    Args:
        address: as ``open_captioner`` takes it.

    Returns:
        None where no captioner claims the address.

    Raises:
        CheckpointError: what it is cannot be learnt from the hub. PluginError: two distributions claim its name.
    """
    specs = plugins.captioners()
    named = spec_by_name(specs, address)
    if named is not None:
        spec, place = named
        # a name that two distributions claim is refused here
        return plugins.captioner(spec.name), place
    claimed = spec_by_config(specs, _config(address))
    return None if claimed is None else (plugins.captioner(claimed.name), address)


def _config(address: str) -> dict[str, Any]:
    """The config.json at an address; empty where there is none, and for a damaged one of evcap's own (loading says so).

    Raises:
        CheckpointError: the hub does not say, or another folder's is damaged.
    """
    if address.startswith(HUB_PREFIX):
        folder = local_snapshot(address, (CONFIG,))
        if folder is None or not (folder / CONFIG).is_file():
            folder = snapshot(address, (CONFIG,))
    else:
        folder = Path(address)
    if not (folder / CONFIG).is_file():
        return {}
    try:
        return read_json(dict[str, Any], folder / CONFIG, error=CheckpointError, hint="copy the model's folder again")
    except CheckpointError:
        if (folder / VOCABULARY).is_file():
            return {}
        raise
