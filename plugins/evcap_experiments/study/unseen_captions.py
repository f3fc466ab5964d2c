"""Captions of the unseen clips by a trained run, kept in its folder until checkpoint or clips change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.backbones.identity import digest_of, file_digest
from evcap_cli.errors import DataError
from evcap_cli.files import write_whole
from evcap_cli.reading.typed import read_json
from evcap_experiments.feature_captions import caption_features, drop_audio
from evcap_experiments.study.conditions import PASSES, Pass

if TYPE_CHECKING:
    from evcap_cli.features.streams import ClipFeatures
    from evcap_experiments.study.study_worlds import Worlds

FILE: Final = "study.json"
MODEL: Final = "model.safetensors"
CaptionsByPass = dict[Pass, dict[str, str]]
"""Pass -> id -> caption."""


@dataclass(frozen=True)
class _File:
    """What ``write_captions`` writes; ``of`` is a digest."""

    of: str
    captions: CaptionsByPass


def kept_captions(run: Path, worlds: Worlds) -> CaptionsByPass | None:
    """What ``write_captions`` left; None where there is nothing, or captions of another checkpoint or other clips."""
    try:
        found = read_json(_File, run / FILE)
        return found.captions if found.of == _digest(run, worlds) and found.captions.keys() == set(PASSES) else None
    except (DataError, OSError):
        return None


def write_captions(
    run: Path,
    worlds: Worlds,
    unseen: Mapping[str, ClipFeatures],
    conflict: Mapping[str, ClipFeatures],
    device: str = "cpu",
) -> CaptionsByPass:
    """Caption the unseen clips with and without their sound, and the clips in conflict, and keep it in the run.

    Args:
        run: folder of a finished run.
        worlds: whose clips they are.
        unseen: id -> features; a clip without any is left out, and counts as wrong later.
        conflict: the same of the clips in conflict.
        device: to caption on.

    Raises:
        CheckpointError: the run's checkpoint cannot be read. WriteError: no permission, a full disk.
    """
    from evcap_cli.checkpoints.checkpoint import Checkpoint

    checkpoint = Checkpoint.from_pretrained(run)
    checkpoint.model.to(device)
    captions: CaptionsByPass = {
        "with audio": caption_features(checkpoint, unseen),
        "conflict": caption_features(checkpoint, conflict),
    }
    if checkpoint.model.config.streams.get("audio") is None:
        captions["without audio"] = captions["with audio"]
    else:
        captions["without audio"] = caption_features(
            checkpoint, {name: drop_audio(clip) for name, clip in unseen.items()}
        )
    write_whole(run / FILE, json.dumps({"of": _digest(run, worlds), "captions": captions}, indent=1) + "\n")
    return captions


def _digest(run: Path, worlds: Worlds) -> str:
    """Of the checkpoint and of the clips that it captions."""
    clips = [[clip.to_dict() for clip in several] for several in (worlds.unseen, worlds.conflict.facts)]
    return digest_of([file_digest(run / MODEL), clips])
