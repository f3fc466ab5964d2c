"""What the compared systems see: the features of a moment side by side, standardised like the paper's system's.

Notation: B clips, N_v moments, D width of all features of a moment together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.collate import stream_statistics
from evcap_cli.network.visual_encoder import StandardisedStream

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind


def moment_features(batch: ClipBatch, streams: Mapping[Kind, int]) -> Tensor:
    """[appearance; motion] where ``streams`` has motion, else appearance: (B, N_v, D)."""
    if "motion" not in streams:
        return batch.appearance
    if batch.motion is None:
        raise ValueError("the model reads a stream of kind motion, but the batch has none")
    return torch.cat([batch.appearance, batch.motion], dim=-1)


@torch.no_grad()
def standardise_moments(stream: StandardisedStream, clips: Iterable[ClipFeatures], streams: Mapping[Kind, int]) -> None:
    """Take the statistics of ``stream``, which reads ``moment_features``, from training clips."""
    if not stream.normalise:
        return
    found = stream_statistics(clips, streams)
    start = 0
    for kind, dim in streams.items():
        if kind in found:
            mean, deviation = found[kind]
            stream.mean[start : start + dim] = mean
            stream.scale[start : start + dim] = 1 / deviation
        start += dim
