"""Named sets of backbones. Names only: which of them are installed is the plugins' business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from evcap_cli.backbones.contract import KINDS, Kind
from evcap_cli.errors import UsageError

PRESETS: Final[Mapping[str, Mapping[Kind, str]]] = {
    "lite": {"appearance": "lite-appearance", "motion": "lite-motion", "object": "lite-object", "audio": "lite-audio"},
    "resnet": {"appearance": "resnet", "motion": "resnext3d", "object": "fasterrcnn", "audio": "hubert"},
    "clip": {"appearance": "clip", "motion": "resnext3d", "object": "fasterrcnn", "audio": "hubert"},
}
"""``--backbone NAME`` (paper 1.1): lite needs no weights; resnet is the paper's Table 1, clip its Table 2."""


def backbone_addresses(preset: str | None, overrides: Mapping[str, str] | None = None) -> dict[Kind, str]:
    """Kind -> NAME or NAME:VARIANT of ``preset``, with single kinds replaced; in the order of ``KINDS``.

    Raises:
        UsageError: an unknown preset or kind.
    """
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"unknown --backbone {preset!r}", hint=f"one of: {', '.join(PRESETS)}")
    chosen: dict[str, str] = {} if preset is None else {str(kind): name for kind, name in PRESETS[preset].items()}
    chosen.update(overrides or {})
    unknown = set(chosen) - set(KINDS)
    if unknown:
        raise UsageError(f"unknown kind of backbone {sorted(unknown)[0]!r}", hint=f"one of: {', '.join(KINDS)}")
    return {kind: chosen[kind] for kind in KINDS if kind in chosen}
