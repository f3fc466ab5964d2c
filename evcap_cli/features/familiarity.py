"""How much a clip looks like the videos that a captioner was trained on.

A trained captioner captions every video, also one of a kind that it was not trained on. A small summary of its training
videos says how usual the features of a new clip are: per stream the mean over the clip's rows, under a Gaussian whose
covariance is a few principal directions and one variance for all others (probabilistic PCA, Tipping & Bishop 1999).
A clip is as unusual as its most unusual stream; validation videos, which the summary was not fitted on, say how often
training-like videos are at least as unusual.

Notation: n clips, D the backbone's dim, K principal directions, S streams.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import torch
from torch import Tensor

from evcap_cli.backbones.contract import KINDS, Kind
from evcap_cli.features.streams import ClipFeatures

MOST_CLIPS: Final = 4000
"""Clips of a split that a summary is made of, spread evenly over it: more would not change it."""
MOST_DIRECTIONS: Final = 32
ROWS_A_DIRECTION: Final = 10
"""Training clips that each principal direction wants, so that its variance is known."""
LEAST_CLIPS: Final = 20
"""Fewer training or validation clips with a stream say nothing about it."""
LEAST_SCALE: Final = 1e-3
"""Of the largest deviation: a dimension that hardly varied in training counts as if it varied that much."""
ClipMeans: TypeAlias = Mapping[Kind, Tensor]
_FIELDS: Final = ("mean", "scale", "directions", "variances", "rest", "centre", "spread")


@dataclass(frozen=True)
class StreamSummary:
    """A Gaussian over clip means of one stream.

    Args:
        mean: (D,).
        scale: standard deviation of each dimension, (D,).
        directions: (K, D), orthonormal, in standardised units.
        variances: along the directions, (K,).
        rest: variance of every other direction, ().
        centre: median of the validation clips' log distances, ().
        spread: their median absolute deviation from it, ().
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor
    variances: Tensor
    rest: Tensor
    centre: Tensor
    spread: Tensor

    def log_distance(self, means: Tensor) -> Tensor:
        """Logarithm of the squared Mahalanobis distance of clip means (n, D), (n,)."""
        standard = (means - self.mean) / self.scale
        along = standard @ self.directions.T
        outside = (standard.square().sum(-1) - along.square().sum(-1)).clamp(min=0)
        return ((along.square() / self.variances).sum(-1) + outside / self.rest + 1e-12).log()

    def unusualness(self, means: Tensor) -> Tensor:
        """``log_distance`` in spreads from the centre of the validation clips', (n,)."""
        return (self.log_distance(means) - self.centre) / self.spread


@dataclass(frozen=True)
class Familiarity:
    """The summary of a training split, calibrated on validation clips.

    Args:
        streams: the streams that enough clips have.
        validation: unusualness of each validation clip in each stream, (n, S), in the order of ``streams``; NaN where
            a clip lacks the stream.
    """

    streams: Mapping[Kind, StreamSummary]
    validation: Tensor

    @classmethod
    def fit(cls, training: Sequence[ClipMeans], validation: Sequence[ClipMeans]) -> Familiarity | None:
        """Summarise the ``clip_means`` of training clips and calibrate on those of validation clips.

        Returns:
            None where no stream has ``LEAST_CLIPS`` clips on both sides.
        """
        streams: dict[Kind, StreamSummary] = {}
        columns: list[Tensor] = []
        for kind in KINDS:
            known = [means[kind] for means in training if kind in means]
            seen = {number: means[kind] for number, means in enumerate(validation) if kind in means}
            if min(len(known), len(seen)) < LEAST_CLIPS:
                continue
            summary = _summary(torch.stack(known), torch.stack(list(seen.values())))
            column = torch.full((len(validation),), math.nan, dtype=torch.float64)
            # one by one, as ``of`` computes them: a product over many rows may round in another way
            column[list(seen)] = torch.cat([summary.unusualness(mean.unsqueeze(0)) for mean in seen.values()])
            streams[kind] = summary
            columns.append(column)
        return cls(streams, torch.stack(columns, dim=1)) if streams else None

    def of(self, clips: Sequence[ClipFeatures]) -> list[float | None]:
        """Familiarity of clips, each between 0 and 1.

        Returns:
            For each clip the share of validation clips that are at least as unusual, in the streams that the clip
            has; None for a clip that has no stream of the summary.
        """
        return [None if value is None else self._share(*value) for value in map(self._worst, clips)]

    def unusualness(self, clips: Sequence[ClipFeatures]) -> list[float | None]:
        """How unusual the most unusual stream of each clip is, in spreads of validation clips; None as in ``of``."""
        return [None if value is None else value[0] for value in map(self._worst, clips)]

    def _worst(self, clip: ClipFeatures) -> tuple[float, list[int]] | None:
        """The unusualness of ``clip`` and which columns of ``validation`` it compares with."""
        means = clip_means(clip)
        values = {
            column: float(summary.unusualness(means[kind].unsqueeze(0)))
            for column, (kind, summary) in enumerate(self.streams.items())
            if kind in means
        }
        return (max(values.values()), list(values)) if values else None

    def _share(self, value: float, columns: list[int]) -> float:
        others = self.validation[:, columns].nan_to_num(nan=-math.inf).amax(1)
        others = others[others > -math.inf]
        return float((others >= value).double().mean())

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors for a checkpoint."""
        named = {f"{kind}.{name}": getattr(summary, name) for kind, summary in self.streams.items() for name in _FIELDS}
        return {**{name: tensor.float().contiguous() for name, tensor in named.items()}, "validation": self.validation}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Familiarity:
        """The inverse of ``tensors``.

        Raises:
            ValueError: a tensor is missing, unknown, of another shape or not finite.
        """
        kinds = [kind for kind in KINDS if f"{kind}.mean" in tensors]
        expected = {f"{kind}.{name}" for kind in kinds for name in _FIELDS} | {"validation"}
        if different := expected ^ set(tensors):
            raise ValueError(f"{min(different)} is {'missing' if min(different) in expected else 'unknown'}")
        streams = {
            kind: StreamSummary(**{name: tensors[f"{kind}.{name}"].double() for name in _FIELDS}) for kind in kinds
        }
        for kind, summary in streams.items():
            _check(kind, summary)
        validation = tensors["validation"].double()
        if validation.ndim != 2 or validation.shape[1] != len(kinds) or not len(validation):
            raise ValueError(f"validation must be (n, {len(kinds)}), got {tuple(validation.shape)}")
        if validation.isinf().any():
            raise ValueError("validation holds an infinity")
        return cls(streams, validation)


def clip_means(clip: ClipFeatures) -> ClipMeans:
    """Kind -> mean over the rows of each stream that the clip has, (D,), in float64."""
    return {kind: stream.values.double().mean(0) for kind, stream in clip.streams.items() if len(stream.values)}


class Means:
    """Clip means that are noted while features pass by.

    Args:
        videos: whose means are wanted.
    """

    def __init__(self, videos: Set[str]) -> None:
        self.videos = videos
        self._found: dict[str, ClipMeans] = {}

    def collect(self, clips: Iterable[tuple[str, ClipFeatures]]) -> Iterator[tuple[str, ClipFeatures]]:
        """``clips`` as they are, each noted on its way."""
        for video, clip in clips:
            if video in self.videos:
                self._found[video] = clip_means(clip)
            yield video, clip

    def of(self, videos: Iterable[str]) -> list[ClipMeans]:
        """The means of those of ``videos`` that passed by and are wanted."""
        return list(self.named(videos).values())

    def named(self, videos: Iterable[str]) -> dict[str, ClipMeans]:
        """The same by video."""
        return {video: self._found[video] for video in videos if video in self._found}


def spread(videos: Sequence[str], most: int = MOST_CLIPS) -> Sequence[str]:
    """At most ``most`` of ``videos``, spread evenly."""
    return videos[:: max(1, -(-len(videos) // most))]


def _summary(training: Tensor, validation: Tensor) -> StreamSummary:
    """The Gaussian of ``training`` (n, D), centred on the log distances of ``validation`` (m, D)."""
    mean, deviation = training.mean(0), training.std(0)
    # where nothing varied at all, any unit does
    scale = deviation.clamp(min=max(LEAST_SCALE * float(deviation.max()), 1e-12))
    standard = (training - mean) / scale
    count, width = standard.shape
    kept = max(1, min(MOST_DIRECTIONS, count // ROWS_A_DIRECTION, width - 1))
    variances, directions = torch.linalg.eigh(standard.T @ standard / (count - 1))
    variances, directions = variances.flip(0).clamp(min=0), directions.T.flip(0)
    rest = variances[kept:].sum() / max(width - kept, 1)
    largest = float(variances[0])
    least = max(LEAST_SCALE * largest, 1e-12)
    summary = StreamSummary(
        mean,
        scale,
        directions[:kept],
        variances[:kept].clamp(min=least),
        rest.clamp(min=least),
        torch.zeros((), dtype=torch.float64),
        torch.ones((), dtype=torch.float64),
    )
    # as a checkpoint stores it, so that a loaded summary gives the same numbers
    summary = StreamSummary(**{name: getattr(summary, name).float().double().contiguous() for name in _FIELDS})
    distances = summary.log_distance(validation)
    centre = distances.median().float().double()
    spread = (distances - centre).abs().median().clamp(min=1e-6).float().double()
    return replace(summary, centre=centre, spread=spread)


def _check(kind: Kind, summary: StreamSummary) -> None:
    """See that the tensors of one stream fit together.

    Raises:
        ValueError: naming the first that does not.
    """
    width, kept = summary.mean.shape[-1:].numel(), summary.variances.shape[-1:].numel()
    shapes = {"mean": (width,), "scale": (width,), "directions": (kept, width), "variances": (kept,)}
    for name in _FIELDS:
        tensor: Tensor = getattr(summary, name)
        if tuple(tensor.shape) != shapes.get(name, ()):
            raise ValueError(f"{kind}.{name} must be {shapes.get(name, ())}, got {tuple(tensor.shape)}")
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{kind}.{name} holds a number that is not finite")
        if name in ("scale", "variances", "rest", "spread") and not bool((tensor > 0).all()):
            raise ValueError(f"{kind}.{name} must be positive")
