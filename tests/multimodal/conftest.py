"""Captioners of the tiny models, each loaded once by a process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from evcap_multimodal.captioner import MultimodalCaptioner

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.systems.clip_captioner import CaptionerOptions, Clip
from tests.multimodal import tiny

LEXICON = Lexicon({"joy": ["happily"], "annoyance": ["annoyed"], "fear": ["afraid"], "sad": ["sadly", "sad"]})
OPTIONS = CaptionerOptions(max_words=2, lexicon=LEXICON)
TOKENS = 16
"""Of an answer of two words."""


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny model."""
    root = tmp_path_factory.mktemp("tiny")
    return lambda family: tiny.folder_of(family, root)


@pytest.fixture(scope="session")
def captioner_of(folder_of: Callable[[str], Path]) -> Callable[..., MultimodalCaptioner]:
    """A loaded captioner of a family."""

    @cache
    def loaded(family: str, options: CaptionerOptions = OPTIONS) -> MultimodalCaptioner:
        made = MultimodalCaptioner(str(folder_of(family)), options)
        made.load(torch.device("cpu"), torch.float32)
        return made

    return loaded


def clip(
    seed: int, frames: int = 4, size: tuple[int, int] = (48, 64), *, audio: bool = True, duration: float = 4.0
) -> Clip:
    """A clip of coarse noise, which no scaling takes away, with uneven times."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (frames, 3, 3, 3), dtype=torch.uint8, generator=generator)
    pictures = torch.nn.functional.interpolate(coarse, size)
    times = tuple(duration * (number + 0.3) / frames for number in range(frames))
    sound = torch.randn(16_000, generator=generator) / 10 if audio else None
    return Clip(duration, pictures, times, sound)
