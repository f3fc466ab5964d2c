"""From extracted features to a batch of constant shapes, and the statistics by which streams are standardised.

Constant shapes (the configuration's numbers of rows, whatever the clips hold) keep results free of their neighbours.

Notation: B clips, N rows of a stream, D width of a backbone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.config import SystemConfig

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind

SMALLEST_SPREAD = 1e-3
"""A dimension that varies less than this share of its stream's usual spread counts as constant."""


def collate(clips: Sequence[ClipFeatures], config: SystemConfig) -> ClipBatch:
    """Features of B clips as the captioner takes them; streams that the model does not read are left out.

    A stream with more rows than the configuration allows is thinned: moments and objects to evenly spread ones,
    audio by averaging neighbours.

    Raises:
        ValueError: for a stream that was not extracted, has another width, or does not fit the moments.
    """
    if not clips:
        raise ValueError("a batch needs at least one clip")
    streams = config.streams
    appearance, moment_times, visual_mask = _stack(clips, "appearance", streams["appearance"], config.moments)
    if not visual_mask.any(dim=1).all():
        raise ValueError("a clip needs at least one moment of the appearance stream, one has none")
    batch = ClipBatch(appearance=appearance, visual_mask=visual_mask, moment_times=moment_times)
    if "motion" in streams:
        for number, clip in enumerate(clips):
            moments, windows = (len(_stream(clip, kind).values) for kind in ("appearance", "motion"))
            if moments != windows:
                raise ValueError(f"clip {number} has {moments} moments of appearance but {windows} of motion")
        batch.motion, _, _ = _stack(clips, "motion", streams["motion"], config.moments)
    if "object" in streams:
        batch.objects, _, batch.object_mask = _stack(clips, "object", streams["object"], config.objects)
    if "audio" in streams:
        batch.audio, batch.audio_times, batch.audio_mask = _stack(clips, "audio", streams["audio"], config.audio_steps)
    return batch


def stream_statistics(clips: Iterable[ClipFeatures], dims: Mapping[Kind, int]) -> dict[Kind, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of each dimension over all rows of all clips, in one pass.

    Args:
        clips: training clips; read once, none is kept.
        dims: the streams, with their widths.

    Returns:
        By stream two tensors (D,); a stream without any row is missing.
    """
    count = dict.fromkeys(dims, 0)
    mean = {kind: torch.zeros(dim, dtype=torch.float64) for kind, dim in dims.items()}
    squares = {kind: torch.zeros(dim, dtype=torch.float64) for kind, dim in dims.items()}
    for clip in clips:
        for kind in dims:
            rows = _stream(clip, kind).values.double()
            if not len(rows):
                continue
            # Chan's update: sums of squares about the mean, which does not cancel for large offsets.
            rows_mean = rows.mean(dim=0)
            shift = rows_mean - mean[kind]
            total = count[kind] + len(rows)
            squares[kind] += ((rows - rows_mean) ** 2).sum(dim=0) + shift**2 * (count[kind] * len(rows) / total)
            mean[kind] += shift * (len(rows) / total)
            count[kind] = total
    found: dict[Kind, tuple[Tensor, Tensor]] = {}
    for kind in dims:
        if count[kind]:
            deviation = (squares[kind] / count[kind]).sqrt()
            usual = float(deviation.square().mean().sqrt()) or 1.0
            deviation = torch.where(deviation < SMALLEST_SPREAD * usual, usual, deviation)
            found[kind] = (mean[kind].float(), deviation.float())
    return found


def _stream(clip: ClipFeatures, kind: Kind) -> StreamFeatures:
    if kind not in clip.streams:
        raise ValueError(f"the model reads a stream of kind {kind}, which was not extracted")
    return clip.streams[kind]


def _stack(clips: Sequence[ClipFeatures], kind: Kind, dim: int, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """One stream of all clips: values (B, limit, dim), times (B, limit), mask (B, limit)."""
    values = torch.zeros(len(clips), limit, dim)
    times = torch.zeros(len(clips), limit)
    mask = torch.zeros(len(clips), limit, dtype=torch.bool)
    for row, clip in enumerate(clips):
        stream = _stream(clip, kind)
        if not len(stream.values):
            continue
        if stream.values.shape[1] != dim:
            raise ValueError(f"the model reads {dim} {kind} features a row, clip {row} has {stream.values.shape[1]}")
        kept_values, kept_times = thinned(stream, kind, limit)
        rows = len(kept_values)
        values[row, :rows], times[row, :rows], mask[row, :rows] = kept_values, kept_times, True
    return values, times, mask


def thinned(stream: StreamFeatures, kind: Kind, limit: int) -> tuple[Tensor, Tensor]:
    """At most ``limit`` rows of one stream with their times, as ``collate`` takes them."""
    values, times = stream.values.float(), stream.times.float()
    if len(values) <= limit:
        return values, times
    if kind == "audio":
        joined = torch.cat([values, times.unsqueeze(1)], dim=1).T.unsqueeze(0)
        pooled = F.adaptive_avg_pool1d(joined, limit)[0].T
        return pooled[:, :-1], pooled[:, -1]
    chosen = torch.linspace(0, len(values) - 1, limit).round().long()
    return values[chosen], times[chosen]
