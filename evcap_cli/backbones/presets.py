"""Named sets of backbones. Names only: plugins say which of them are installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from evcap_cli.backbones.contract import KINDS, Kind
from evcap_cli.errors import UsageError

PRESETS: Final[Mapping[str, Mapping[Kind, str]]] = {
    "lite": {"appearance": "lite-appearance", "motion": "lite-motion", "object": "lite-object", "audio": "lite-audio"},
    "resnet": {"appearance": "resnet", "motion": "resnext3d", "object": "fasterrcnn", "audio": "hubert"},
    "clip": {"appearance": "clip", "motion": "resnext3d", "object": "fasterrcnn", "audio": "hubert"},
    "open": {"appearance": "clip", "motion": "r3d", "object": "fasterrcnn", "audio": "hubert"},
    "modern": {
        "appearance": "clip:ViT-B-16-SigLIP2-256/webli",
        "motion": "vjepa2",
        "object": "rtdetr",
        "audio": "wavlm",
    },
}
"""``--backbone NAME`` (paper 1.1): lite needs no weights; resnet is the paper's Table 1, clip its Table 2.

open is the paper's with a motion network that anyone can download; modern is what came since. No preset holds weights
that may not be used commercially.
"""


def backbone_addresses(
    preset: str | None,
    overrides: Mapping[str, str] | None = None,
    own: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[Kind, str]:
    """Kind -> NAME or NAME:VARIANT of ``preset``, with single kinds replaced; in the order of ``KINDS``.

    Args:
        preset: a name in ``PRESETS`` or ``own``; None: none.
        overrides: kind -> NAME or NAME:VARIANT.
        own: the user's presets, of evcap.toml.

    Raises:
        UsageError: an unknown preset or kind.
    """
    known: dict[str, Mapping[str, str]] = {**(own or {})}
    known.update({name: {str(kind): backbone for kind, backbone in kinds.items()} for name, kinds in PRESETS.items()})
    if preset is not None and preset not in known:
        raise UsageError(
            f"unknown --backbone {preset!r}",
            hint=f"one of: {', '.join([*PRESETS, *(own or {})])}, or [presets.{preset}] in the file of --config",
        )
    chosen: dict[str, str] = {} if preset is None else dict(known[preset])
    chosen.update(overrides or {})
    unknown = set(chosen) - set(KINDS)
    if unknown:
        raise UsageError(f"unknown kind of backbone {sorted(unknown)[0]!r}", hint=f"one of: {', '.join(KINDS)}")
    return {kind: chosen[kind] for kind in KINDS if kind in chosen}
