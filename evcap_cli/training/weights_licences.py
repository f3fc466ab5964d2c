"""Under which licence the weights stand that a checkpoint's features were made with, for its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.backbones.weights import RANDOM
from evcap_cli.data.features_hdf5 import FOREIGN_VERSION

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind

UNKNOWN: Final = "unknown"


def weights_licences(records: Mapping[Kind, Mapping[str, Any]]) -> dict[str, str]:
    """Kind -> licence, as far as it is known.

    What is known is whose weights a backbone loads by default: for weights of the user's own it says no more than that.
    Nothing is loaded or downloaded for it.

    Args:
        records: what a checkpoint remembers of its backbones.
    """
    return {kind: _licence(kind, record) for kind, record in records.items()}


def _licence(kind: Kind, record: Mapping[str, Any]) -> str:
    digest = str(record.get("weights_digest", ""))
    if record["version"] == FOREIGN_VERSION:
        return f"{UNKNOWN} (feature files)"
    if digest.startswith(RANDOM):
        return "random weights"
    if not digest:
        return "no weights"
    from evcap_cli.backbones.loading import default_source, make_backbone

    name = str(record["name"])
    try:
        backbone = make_backbone(kind, name, {name.partition(":")[0]: record["options"]})
        source = default_source(backbone)
    except Exception:  # a plugin that cannot say, or is not installed here, must not end a training
        return UNKNOWN
    return UNKNOWN if source is None else f"{source.license} ({source.name})"
