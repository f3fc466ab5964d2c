"""Contrastive attention of CANet, EPAN and DCGN: words should align with their own video, not with another one.

*Decision*: the rule by which the published files pair a video with another is unknown. Here the other is a clip of the
same batch, of another video, and the first of these that the batch has: another dominant emotion and no content word in
common; another dominant emotion; any. Among equals it is the next one in the batch, round the end. The dominant emotion
of a clip is the category that most of its captions in the batch have (the first among equals, or "none"). A content
word is not among the most frequent of the vocabulary, whose ids run from the most frequent word down.

Notation: B distinct clips, R captions, N moments, T words with the start mark, a inner width of the alignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from evcap_cli.data.special_tokens import END, SPECIALS
from evcap_cli.network.losses import Targets
from evcap_cli.network.tanh_energies import DoubledKeys
from evcap_cli.systems.attention import AdditiveEnergies

if TYPE_CHECKING:
    from evcap_cli.systems.aligned_tensors import AlignedOutput

COMMON_WORDS = 50
"""The most frequent words, which two captions may share without being alike; at most a quarter of the vocabulary."""


def negative_clips(targets: Targets, clips: int) -> tuple[Tensor, Tensor]:
    """Another video for each clip of a batch.

    Args:
        targets: of the batch; every clip has a caption.
        clips: B.

    Returns:
        The number of the other clip, (B,), and whether there is one, (B,).
    """
    owner, device = targets.clip_index, targets.tokens.device
    videos = torch.arange(clips, device=device) if targets.videos is None else targets.videos
    other = videos[:, None] != videos[None, :]

    counts = targets.categories.new_zeros(clips, targets.categories.shape[1], dtype=torch.float32)
    counts.index_add_(0, owner, targets.categories.float())
    emotion = torch.where(counts.any(dim=1), counts.argmax(dim=1), counts.shape[1])
    differs = other & (emotion[:, None] != emotion[None, :])

    words, place = torch.unique(targets.tokens, return_inverse=True)
    vocabulary = len(targets.emotion_tokens) - len(SPECIALS)
    content = words >= len(SPECIALS) + min(COMMON_WORDS, vocabulary // 4)
    occurs = torch.zeros(clips, len(words), device=device)
    occurs[owner[:, None].expand_as(place), place] = 1.0
    occurs *= content
    apart = differs & (occurs @ occurs.T == 0)

    # The sum of the three conditions ranks a clip; the distance to the next one in the batch decides among equals.
    rank = other.long() + differs + apart
    ahead = (torch.arange(clips, device=device)[None, :] - torch.arange(clips, device=device)[:, None]) % clips
    return (rank * clips - ahead).argmax(dim=1), other.any(dim=1)


def contrastive_attention(output: AlignedOutput, alignment: AdditiveEnergies, targets: Targets) -> Tensor:
    """Binary cross entropy of the mean alignment energy: of the own video (true) and of another one (false).

    The mean is over captions, their words and real moments, each energy once; 0 in a batch of one video. Where the
    words so far are encoded together at each step, a word counts with the sum over the words so far, as released.

    Args:
        output: of the captions.
        alignment: that made the energies.
        targets: of the same captions.
    """
    mask, own_clips = output.memory.mask, targets.clip_index
    counted = output.tokens > END
    if targets.negatives is None:
        negatives, exist = negative_clips(targets, len(mask))
        other_clips, counted = negatives[own_clips], counted & exist[own_clips, None]
    else:
        other_clips = targets.negatives
    own = _mean(output.energies, mask[own_clips], counted)
    energies = step_energies(output.memory.alignment_keys, output.queries, alignment, other_clips)
    other = _mean(energies, mask[other_clips], counted)
    return torch.where(counted.any(), (F.softplus(-own) + F.softplus(other)) / 2, 0.0)


def step_energies(
    keys: DoubledKeys, queries: Tensor | Sequence[Tensor], alignment: AdditiveEnergies, clips: Tensor
) -> Tensor:
    """Energies of the alignment as ``AlignedOutput`` has them, of any clips: (R, N, T).

    Args:
        keys: of B clips.
        queries: as in ``AlignedOutput``.
        alignment: that makes the energies.
        clips: the clip that each row is aligned with, (R,).
    """
    if isinstance(queries, Tensor):
        energies: Tensor = alignment(keys, queries, clips)
        return energies
    return torch.stack([alignment(keys, so_far, clips).sum(dim=2) for so_far in queries], dim=2)


def _mean(energies: Tensor, moments: Tensor, words: Tensor) -> Tensor:
    """Mean of energies (R, N, T) over real moments (R, N) of each word, then over the words (R, T) that count."""
    of_words = torch.where(moments[:, :, None], energies, 0.0).sum(dim=1) / moments.sum(dim=1, keepdim=True)
    return torch.where(words, of_words, 0.0).sum() / words.sum().clamp(min=1)
