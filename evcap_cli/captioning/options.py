"""Everything that decides what a caption run writes, and how it gets there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evcap_cli.media.memory import DEFAULT_BYTES

if TYPE_CHECKING:
    from evcap_cli.network.config import Rerank


@dataclass(frozen=True)
class CaptionOptions:
    """Everything that decides what a run writes, and how it gets there. None: as the checkpoint has it."""

    checkpoint: str = "demo"
    preset: str | None = None
    backbones: Mapping[str, str] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The user's own, of evcap.toml."""
    weights: Mapping[str, str] = field(default_factory=dict)
    backbone_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    spare: frozenset[str] = frozenset()
    """Names in weights and options that need not be in use."""
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    workers: int = 2
    beam_size: int | None = None
    max_words: int | None = None
    length_penalty: float | None = None
    rerank: Rerank | None = None
    segment: str = "whole"
    sampling: str | None = None
    audio_track: int = 0
    mute: bool = False
    """Leave the sound away, as if no video had any: for experiments."""
    cache: bool = True
    cache_dir: Path | None = None
    timeout: float = 120.0
    decoder_memory: int = DEFAULT_BYTES
    """Bytes that decoding one video may take."""
