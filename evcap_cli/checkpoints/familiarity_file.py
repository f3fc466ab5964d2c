"""familiarity.safetensors of a checkpoint folder: the summary of the training videos, there where one was made.

config.json names its digest, so that a file of another training is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evcap_cli.checkpoints.checkpoint_files import COPY_AGAIN, FAMILIARITY, read_files
from evcap_cli.errors import CheckpointError, reason_of

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.features.familiarity import Familiarity


def familiarity_bytes(familiarity: Familiarity) -> bytes:
    """The file's content; the same summary gives the same bytes."""
    import safetensors.torch

    return safetensors.torch.save(familiarity.tensors())


def content_digest(content: bytes) -> str:
    """What config.json says of the file."""
    import xxhash

    return xxhash.xxh3_128_hexdigest(content)


def read_familiarity(
    folder: Path, shown: Path, digest: str, backbones: Mapping[Kind, Mapping[str, Any]]
) -> Familiarity:
    """The summary in ``folder``.

    Args:
        folder: of the checkpoint.
        shown: what errors call it.
        digest: that config.json names.
        backbones: kind -> record; "dim" is the width that a summary must have.

    Raises:
        CheckpointError: the file is missing, of another checkpoint, or damaged.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    from evcap_cli.features.familiarity import Familiarity

    content = read_files(folder, (FAMILIARITY,))[FAMILIARITY]
    if content_digest(content) != digest:
        raise CheckpointError("is not the one that config.json names", path=shown / FAMILIARITY, hint=COPY_AGAIN)
    try:
        found = Familiarity.from_tensors(safetensors.torch.load(content))
    except (SafetensorError, ValueError) as problem:
        cause = f"is damaged ({reason_of(problem)})"
        raise CheckpointError(cause, path=shown / FAMILIARITY, hint=COPY_AGAIN) from problem
    for kind, summary in found.streams.items():
        expected = backbones[kind]["dim"] if kind in backbones else None
        if len(summary.mean) != expected:
            raise CheckpointError(
                f"its {kind} stream is {len(summary.mean)} wide, that of config.json {expected or 'not there'}",
                path=shown / FAMILIARITY,
                hint=COPY_AGAIN,
            )
    return found
