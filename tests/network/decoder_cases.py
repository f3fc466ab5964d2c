"""Small decoders and encoder outputs for the decoder's tests."""

from __future__ import annotations

from typing import Any

import torch

from evcap_cli.network.batch import Encoded
from evcap_cli.network.config import FusionConfig
from evcap_cli.network.decoder import Decoder

SMALL: dict[str, Any] = {
    "appearance_dim": 4,
    "motion_dim": 4,
    "object_dim": 4,
    "audio_dim": 4,
    "vocabulary": 23,
    "width": 8,
    "word_width": 8,
    "feed_forward": 12,
    "lstm_width": 9,
    "attention_width": 7,
    "alignment_width": 6,
    "max_words": 6,
}


def small_decoder(seed: int = 0, spread: float = 1.0, **changes: Any) -> Decoder:
    """In double precision and evaluation mode; ``spread`` widens the weights, so that likely words stand out."""
    torch.manual_seed(seed)
    decoder = Decoder(FusionConfig(**SMALL | changes)).double().eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1).mul_(spread)
    return decoder


def encoded_clips(clips: int, seed: int = 1, moments: int = 5, width: int = 8) -> Encoded:
    """Clips of different length."""
    generator = torch.Generator().manual_seed(seed)

    def rows() -> torch.Tensor:
        return torch.randn(clips, moments, width, generator=generator, dtype=torch.float64)

    real = torch.arange(clips) % moments + 1
    return Encoded(
        visual=rows(),
        emotion=rows(),
        audio=rows(),
        mask=torch.arange(moments) < real[:, None],
        objects=torch.randn(clips, 4, width, generator=generator, dtype=torch.float64),
        object_mask=torch.arange(4) <= torch.arange(clips)[:, None] % 4,
        categories=torch.full((clips, 3), 1 / 3, dtype=torch.float64),
    )


def captions(rows: int, length: int, vocabulary: int = 23, seed: int = 2) -> torch.Tensor:
    """Start marks and random words, (rows, length)."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(4, vocabulary, (rows, length), generator=generator)
    words[:, 0] = 1
    return words
