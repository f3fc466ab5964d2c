"""Section 1.6: the four losses and their weighted sum (Eq. 10 to 14). A loss of a module that is off is zero.

The room ``data`` says what a caption's labels are: its categories and its emotion words.

Notation: R captions, B distinct clips, T steps, V vocabulary, N_c categories, N_w emotion words, d model width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from evcap_cli.data.special_tokens import PAD
from evcap_cli.network.config import LossConfig
from evcap_cli.network.emotion import Perceived
from evcap_cli.network.layers import precise
from evcap_cli.network.packing import WordScores

BLOCK_LOGITS: Final = 2**20
"""Logits worked on at once on a CPU: 4 MB stay in its cache."""


@dataclass
class PartMeans:
    """Means over real rows of what L_nce and L_cos compare, each (B, d): V_am, V_a, V_ao, V_mo, V_o.

    Args:
        has_objects: (B,), False where ``objects`` is only the absent token.
    """

    appearance_motion: Tensor
    appearance: Tensor
    appearance_object: Tensor
    motion_object: Tensor
    objects: Tensor
    has_objects: Tensor


@dataclass
class Auxiliary:
    """What the losses need of the encoder.

    Args:
        branches: X of Eq. 11 by name.
        parts: None with module B off.
    """

    branches: dict[str, Perceived]
    parts: PartMeans | None


@dataclass
class FusionOutput(WordScores):
    """Word scores, and what the other losses compare."""

    auxiliary: Auxiliary


@dataclass
class Targets:
    """The truth of R captions of B distinct clips.

    Args:
        tokens: what each step should emit, (R, T), the end mark included, PAD after it.
        clip_index: the clip of each caption, (R,).
        categories: labels, (R, N_c) bool; a word of two categories counts for both.
        words: labels, (R, N_w) bool.
        emotion_tokens: (V,) bool, the vocabulary's emotion words.
        videos: number of the video that a clip belongs to, (B,); None: every clip is a video of its own. Clips of the
            same video are never each other's negatives.
        negatives: the clip that contrastive attention compares each caption with, (R,); None: chosen in the batch.
    """

    tokens: Tensor
    clip_index: Tensor
    categories: Tensor
    words: Tensor
    emotion_tokens: Tensor
    videos: Tensor | None = None
    negatives: Tensor | None = None

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Targets:
        """The same targets on another device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(device, non_blocking=non_blocking) for k, v in moved.items() if v is not None})


@dataclass
class Losses:
    """Scalars; all but ``total`` before their weights."""

    total: Tensor
    cross_entropy: Tensor
    classification: Tensor
    contrast: Tensor
    alignment: Tensor

    def values(self) -> dict[str, float]:
        """Plain numbers, for a log."""
        return {f.name: float(getattr(self, f.name).detach()) for f in fields(self)}


def losses(output: FusionOutput, targets: Targets, config: LossConfig) -> Losses:
    """L = l_ce L_ce + l_cls L_cls + l_nce L_nce + l_cos L_cos (Eq. 14)."""
    cross_entropy = emotional_cross_entropy(output, targets, config.emotion_word_weight)
    classification = emotion_classification(output.auxiliary.branches, targets)
    contrast = alignment = cross_entropy.new_zeros(())
    if output.auxiliary.parts is not None:
        contrast = motion_contrast(output.auxiliary.parts, targets.videos, config)
        alignment = object_alignment(output.auxiliary.parts)
    total = (
        config.cross_entropy * cross_entropy
        + config.classification * classification
        + config.contrast * contrast
        + config.alignment * alignment
    )
    return Losses(total, cross_entropy, classification, contrast, alignment)


def emotional_cross_entropy(scores: WordScores, targets: Targets, beta: float, *, by_weight: bool = False) -> Tensor:
    """L_ce: an emotion word weighs 1 + beta; the weighted sum over real tokens divided by their number (Eq. 10).

    Args:
        scores: of the captions; the logits are overwritten, but for those in fp16.
        targets: of the same captions.
        beta: extra weight of an emotion word.
        by_weight: divide by the sum of the weights instead, as the released code of EPAN does.
    """
    expected, weights = weighted_targets(scores, targets, beta)
    count = weights.sum() if by_weight else (expected != PAD).sum()
    # a gradient in half precision would lose small numbers in fp16, which has a narrow range, but not in bf16
    logits = scores.logits if scores.logits.dtype == torch.bfloat16 else precise(scores.logits)
    weights = weights.to(torch.promote_types(logits.dtype, torch.float32)) / count.clamp(min=1)
    total: Tensor = _WordLoss.apply(logits, expected, weights)
    return total


def weighted_targets(scores: WordScores, targets: Targets, beta: float) -> tuple[Tensor, Tensor]:
    """The token that each score should emit, (K,), and its weight: 0 for padding, 1 + beta for an emotion word."""
    expected = scores.packed(targets.tokens)
    weights = (1 + beta * targets.emotion_tokens.float())[expected]
    return expected, weights.masked_fill(expected == PAD, 0.0)


class _WordLoss(torch.autograd.Function):
    """Weighted sum of -log P of the expected words. The gradient takes the place of the logits, block by block.

    As separate operations these are six tensors as large as the logits, and as many ways to memory and back. Logits in
    bf16 are worked on in single precision, a block at a time.

    Args:
        logits: (K, V), overwritten. expected: (K,). weights: (K,), in single precision at least.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, expected: Tensor, weights: Tensor) -> Tensor:
        total = weights.new_zeros(())
        ctx.gradient = gradient = logits.detach()
        rows = max(BLOCK_LOGITS // logits.shape[1], 1) if logits.device.type == "cpu" else max(len(logits), 1)
        for start in range(0, len(logits), rows):
            of_rows, words = gradient[start : start + rows], expected[start : start + rows, None]
            block = precise(of_rows)
            weight = weights[start : start + rows, None]
            block -= block.amax(dim=1, keepdim=True)
            chosen = block.gather(1, words)
            sums = block.exp_().sum(dim=1, keepdim=True)
            total += (weight * (sums.log() - chosen)).sum()
            block *= weight / sums
            block.scatter_add_(1, words, -weight)
            if block is not of_rows:
                of_rows.copy_(block)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gradient, ctx.gradient = ctx.gradient, None  # used up: a second pass must fail, not be wrong
        # 1 unless the loss is weighted; only a CPU has it at hand, and all logits are read and written for it
        scaled = gradient if gradient.device.type == "cpu" and grads[0] == 1.0 else gradient.mul_(grads[0])
        return scaled, None, None


def emotion_classification(branches: dict[str, Perceived], targets: Targets) -> Tensor:
    """L_cls: softmax log-likelihood of a caption's categories and emotion words in every branch X (Eq. 11).

    *Decision*: mean over captions that have a label. A caption whose clip lacks the branch's stream is not among them.
    """
    zero = targets.tokens.new_zeros((), dtype=torch.float32)
    labelled = targets.categories.any(dim=1) | targets.words.any(dim=1)
    total = zero
    for branch in branches.values():
        counted = labelled & branch.present[targets.clip_index]
        # Labels are summed up per clip first: the log-softmax then runs once a clip, not once a caption.
        total = total - (
            _likelihood(branch.categories, targets.categories, targets.clip_index, counted)
            + _likelihood(branch.words, targets.words, targets.clip_index, counted)
        ) / counted.sum().clamp(min=1)
    return total


def _likelihood(logits: Tensor, labels: Tensor, clip_index: Tensor, counted: Tensor) -> Tensor:
    """Sum of log P over the labels of the captions that count; logits (B, N), labels (R, N)."""
    counts = (labels & counted.unsqueeze(1)).float()
    per_clip = counts.new_zeros(logits.shape).index_add(0, clip_index, counts)
    return (per_clip * logits.float().log_softmax(dim=-1)).sum()


def motion_contrast(parts: PartMeans, videos: Tensor | None, config: LossConfig) -> Tensor:
    """L_nce: V_am towards its own clip's V_a, away from those of other videos (Eq. 12).

    *Decision*: cosine of time means; mean over the clips that have a negative, 0 where none has.

    Args:
        parts: V_am and V_a.
        videos: (B,), or None where all clips are different videos.
        config: the temperature, and whether the positive stands in the denominator too.
    """
    fused = F.normalize(parts.appearance_motion.float(), dim=-1)
    own = F.normalize(parts.appearance.float(), dim=-1)
    similarity = fused @ own.T / config.temperature
    if videos is None:
        videos = torch.arange(len(similarity), device=similarity.device)
    negative = videos[:, None] != videos[None, :]
    positive = similarity.diagonal()
    in_denominator = negative
    if config.nce_denominator == "all":
        in_denominator = negative | torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    # A finite fill: a row without negatives would give NaN gradients by -inf, though its loss is not used.
    lowest = torch.finfo(similarity.dtype).min
    denominator = similarity.masked_fill(~in_denominator, lowest).logsumexp(dim=1)
    has_negative = negative.any(dim=1)
    each = torch.where(has_negative, denominator - positive, 0.0)
    return each.sum() / has_negative.sum().clamp(min=1)


def object_alignment(parts: PartMeans) -> Tensor:
    """L_cos = (1 - cos(V_ao, V_o)) + (1 - cos(V_mo, V_o)) on means, over the clips that have objects (Eq. 13)."""
    objects = parts.objects.float()
    appearance = F.cosine_similarity(parts.appearance_object.float(), objects, dim=-1)
    motion = F.cosine_similarity(parts.motion_object.float(), objects, dim=-1)
    each = torch.where(parts.has_objects, 2.0 - appearance - motion, 0.0)
    return each.sum() / parts.has_objects.sum().clamp(min=1)
