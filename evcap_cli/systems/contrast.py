"""Contrastive attention of CANet, EPAN and DCGN: words should align with their own video, not with another one.

*Decision*: the rule by which the published files pair a video with another is unknown. Here the other is a clip of the
same batch, of another video, and the first of these that the batch has: another dominant emotion and no content word in
common; another dominant emotion; any. Among equals it is the next one in the batch, round the end. The dominant emotion
of a clip is the category that most of its captions in the batch tell (the first among equals, or "none"). A content
word is not among the most frequent of the vocabulary, whose ids run from the most frequent word down.

Notation: B distinct clips, R captions, N moments, T words with the start mark, a inner width of the alignment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from evcap_cli.data.special_tokens import END, SPECIALS
from evcap_cli.network.losses import Targets
from evcap_cli.systems.attention import AdditiveEnergies

if TYPE_CHECKING:
    from evcap_cli.systems.narration import Narrated

COMMON_WORDS = 50
"""The most frequent words, which two captions may share without telling alike; at most a quarter of the vocabulary."""


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

    told = targets.categories.new_zeros(clips, targets.categories.shape[1], dtype=torch.float32)
    told.index_add_(0, owner, targets.categories.float())
    emotion = torch.where(told.any(dim=1), told.argmax(dim=1), told.shape[1])
    differs = other & (emotion[:, None] != emotion[None, :])

    words, place = torch.unique(targets.tokens, return_inverse=True)
    vocabulary = len(targets.emotion_tokens) - len(SPECIALS)
    content = words >= len(SPECIALS) + min(COMMON_WORDS, vocabulary // 4)
    said = torch.zeros(clips, len(words), device=device)
    said[owner[:, None].expand_as(place), place] = 1.0
    said *= content
    apart = differs & (said @ said.T == 0)

    # The sum over the three wishes ranks a clip; the distance to the next one in the batch decides among equals.
    rank = other.long() + differs + apart
    ahead = (torch.arange(clips, device=device)[None, :] - torch.arange(clips, device=device)[:, None]) % clips
    return (rank * clips - ahead).argmax(dim=1), other.any(dim=1)


def contrastive_attention(
    narrated: Narrated, alignment: AdditiveEnergies, keys: Tensor, mask: Tensor, tokens: Tensor, targets: Targets
) -> Tensor:
    """Binary cross entropy of the mean alignment energy: of the own video (true) and of another one (false).

    The mean is over captions, their words and real moments, each energy once; 0 in a batch of one video.

    Args:
        narrated: the captions as they were told.
        alignment: that made the energies.
        keys: the moments' side of the energies, (B, N, a).
        mask: True where a moment is real, (B, N).
        tokens: what each step was fed, (R, T).
        targets: of the batch.
    """
    negatives, exist = negative_clips(targets, len(mask))
    theirs = negatives[targets.clip_index]
    counted = (tokens > END) & exist[targets.clip_index, None]
    own = _mean(narrated.energies, mask[targets.clip_index], counted)
    foreign = _mean(alignment(keys, narrated.queries, theirs), mask[theirs], counted)
    return torch.where(counted.any(), (F.softplus(-own) + F.softplus(foreign)) / 2, 0.0)


def _mean(energies: Tensor, moments: Tensor, words: Tensor) -> Tensor:
    """Mean of energies (R, N, T) over real moments (R, N) of each word, then over the words (R, T) that count."""
    of_words = torch.where(moments[:, :, None], energies, 0.0).sum(dim=1) / moments.sum(dim=1, keepdim=True)
    return torch.where(words, of_words, 0.0).sum() / words.sum().clamp(min=1)
