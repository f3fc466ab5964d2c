"""Features that others published: which backbone they are from, and what captions videos in its place.

Of a published feature file nothing is known but its name and its width. A checkpoint trained on such files keeps that
(version ``hdf5``); which backbone gives the same features only the user can say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.data.features_hdf5 import FOREIGN_VERSION
from evcap_cli.data.features_layout import surrogate_kinds
from evcap_cli.errors import CheckpointError

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone, Kind

PUBLISHED_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "clip": ("clip", "clipvitb32"),
    "resnet": ("resnet101",),
    "resnext3d": ("3dresnext101",),
}
"""Backbone -> names of its published files, lower case without punctuation: EPAN has CLIP, ResNet101 and
3D-ResNext101, SGN before it ResNet101 and 3DResNext101."""


def plain(name: str) -> str:
    """A name as ``PUBLISHED_NAMES`` has it."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


def published_backbone(name: str) -> str:
    """The backbone that features published as ``name`` are from, by its known names; else ``name`` itself."""
    return next((backbone for backbone, names in PUBLISHED_NAMES.items() if plain(name) in names), name)


def replacements(
    records: Mapping[Kind, Mapping[str, Any]], requested: Mapping[Kind, str], checkpoint: str
) -> dict[Kind, str]:
    """The backbones that replace published features at the user's word; empty where a checkpoint has no such.

    Args:
        records: what the checkpoint remembers.
        requested: kind -> backbone that the command line names.
        checkpoint: its name, for the error.

    Raises:
        CheckpointError: one has no replacement; it names the likely ones. Nothing replaces surrogates.
    """
    if surrogate_kinds(records):
        raise CheckpointError(
            "was trained on surrogate features, made from captions: it cannot caption videos",
            path=checkpoint,
            hint="its captions of the test split are in test.jsonl of the run; train on real features to caption",
        )
    foreign = {kind: record for kind, record in records.items() if record["version"] == FOREIGN_VERSION}
    if any(kind not in requested for kind in foreign):
        names = ", ".join(f"{kind} {record['name']} ({record['dim']} wide)" for kind, record in foreign.items())
        likely = " ".join(f"--{kind} {published_backbone(str(record['name']))}" for kind, record in foreign.items())
        raise CheckpointError(
            f"was trained on feature files, not on a backbone: {names}",
            path=checkpoint,
            hint=f"if you know what made them, say so, for example {likely}",
        )
    return {kind: requested[kind] for kind in foreign}


def check_replacement(record: Mapping[str, Any], backbone: Backbone, checkpoint: str) -> None:
    """See that a replacement backbone gives features of the width that the checkpoint reads.

    Raises:
        CheckpointError: it does not.
    """
    spec = backbone.spec
    if spec.dim != record["dim"]:
        raise CheckpointError(
            f"reads {spec.kind} features {record['dim']} wide, {spec.name} gives {spec.dim}",
            path=checkpoint,
            hint=f"name another backbone with --{spec.kind}",
        )
