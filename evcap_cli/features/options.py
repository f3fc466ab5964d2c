"""What describes a run of the feature stage, for the command line, the library, evcap.toml and tests alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge
from typing_extensions import TypedDict

from evcap_cli.devices import Dtype
from evcap_cli.errors import UsageError
from evcap_cli.media.decoder_memory import DEFAULT_BYTES

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind

Sampling = Literal["moments", "epan"]
"""Which frames become rows; see ``sampling.py``."""


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Which features are computed of which part of a video, and how.

    Args:
        backbone: a preset: lite, resnet, clip, open, modern, or one of ``presets``. None: no preset.
        backbones: kind (appearance, motion, object, audio) -> NAME or NAME:VARIANT; these replace the preset's.
        presets: the user's own: name -> kind -> backbone.
        weights: backbone -> path or source, as ``--weights NAME=PATH``; "random:SEED" draws some.
        backbone_options: backbone -> key -> value, as ``--option NAME.KEY=VALUE``.
        allow_unused: names in ``weights`` and ``backbone_options`` that need not be in use.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        dtype: "auto" is bf16 on CUDA and fp32 elsewhere.
        batch_size: rows that a model takes at once; None: as each backbone says.
        workers: decoding processes.
        segment: "whole", "fixed:SECONDS", "scenes", or "from:ROOT" (the segments that a data root lists).
        sampling: None: as the checkpoint was trained; "moments" where there is no checkpoint.
        audio_track: counted from 0.
        cache: False neither reads nor writes the feature cache.
        cache_dir: None: EVCAP_CACHE_DIR, else ~/.cache/evcap.
        timeout: seconds without progress after which a video is given up.
        decoder_memory: bytes that decoding one video may take.

    Raises:
        UsageError: a value is not of its type, or out of its range.
    """

    backbone: str | None = None
    backbones: Mapping[str, str] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    backbone_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    allow_unused: frozenset[str] = frozenset()
    device: str = "auto"
    dtype: Dtype = "auto"
    batch_size: Annotated[int, Ge(1)] | None = None
    workers: Annotated[int, Ge(1)] = 2
    segment: str = "whole"
    sampling: Sampling | None = None
    audio_track: Annotated[int, Ge(0)] = 0
    cache: bool = True
    cache_dir: Path | None = None
    timeout: Annotated[float, Ge(0.1)] = 120.0
    decoder_memory: Annotated[int, Ge(64 << 20)] = DEFAULT_BYTES

    def __post_init__(self) -> None:
        from evcap_cli.reading.ranges import check_fields

        try:
            check_fields(self)
        except ValueError as problem:
            raise UsageError(str(problem)) from None

    def addresses(self, default: str | None = None) -> dict[Kind, str]:
        """Kind -> NAME or NAME:VARIANT of the backbones that are named; where none is, of the preset ``default``.

        Raises:
            UsageError: an unknown preset or kind.
        """
        from evcap_cli.backbones.presets import backbone_addresses

        preset = self.backbone or (None if self.backbones else default)
        return backbone_addresses(preset, self.backbones, self.presets)


class FeatureKeywords(TypedDict, total=False):
    """The fields of ``FeatureOptions``, as keyword arguments of functions that make one."""

    backbone: str | None
    backbones: Mapping[str, str]
    presets: Mapping[str, Mapping[str, str]]
    weights: Mapping[str, str]
    backbone_options: Mapping[str, Mapping[str, str]]
    allow_unused: frozenset[str]
    device: str
    dtype: Dtype
    batch_size: int | None
    workers: int
    segment: str
    sampling: Sampling | None
    audio_track: int
    cache: bool
    cache_dir: Path | None
    timeout: float
    decoder_memory: int
