"""From the options of a run to its feature pipeline: the one place where backbones are loaded and put to work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evcap_cli.backbones.loading import load_backbones
from evcap_cli.devices import choose_device, choose_dtype
from evcap_cli.features.cache import FeatureCache
from evcap_cli.features.pipeline import FeaturePipeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evcap_cli.backbones.contract import Backbone, Kind
    from evcap_cli.features.options import FeatureOptions


def backbones_of(options: FeatureOptions, default: str | None = None) -> dict[Kind, Backbone]:
    """The backbones that ``options`` name, loaded; where they name none, those of the preset ``default``.

    Raises:
        PluginError, WeightsError, UsageError: see ``load_backbones``.
    """
    device = choose_device(options.device)
    return load_backbones(
        options.addresses(default),
        weights=options.weights,
        options=options.backbone_options,
        allow_unused=options.allow_unused,
        device=device,
        dtype=choose_dtype(options.dtype, device),
    )


def build_pipeline(
    options: FeatureOptions, backbones: Mapping[Kind, Backbone], cache: FeatureCache | None = None
) -> FeaturePipeline:
    """The feature stage that ``options`` describe, with backbones that are loaded.

    Args:
        options: of the run.
        backbones: kind -> loaded backbone.
        cache: one that is open already, in place of the one that ``options`` name.

    Raises:
        UsageError: an unknown segmentation or sampling, or a device that this machine lacks.
    """
    return FeaturePipeline(
        backbones,
        cache=cache or (FeatureCache(options.cache_dir) if options.cache else None),
        segmentation=options.segment,
        sampling=options.sampling or "moments",
        workers=options.workers,
        batch_size=options.batch_size,
        device=choose_device(options.device),
        timeout=options.timeout,
        decoder_memory=options.decoder_memory,
        audio_track=options.audio_track,
    )
