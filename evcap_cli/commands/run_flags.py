"""The options of a run of features or captions, declared once: commands take them from a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from evcap_cli.commands.options import (
    DECODER_MEMORY,
    Appearance,
    Audio,
    CacheDir,
    Config,
    Device,
    Motion,
    Object,
    Option,
    Preset,
    Quiet,
    SeveralDevices,
    Verbose,
    Weights,
    Workers,
    backbone_settings,
    batch_rows,
    decoder_memory,
    overrides,
    prompt_text,
    rerank_choice,
)
from evcap_cli.devices import Dtype
from evcap_cli.engines.options import Engine, EngineOptions, check_engine
from evcap_cli.features.options import FeatureOptions, Sampling
from evcap_cli.systems.clip_captioner import Style

if TYPE_CHECKING:
    from evcap_cli.captioning.options import CaptionOptions
    from evcap_cli.features.options import FeatureKeywords


@dataclass(frozen=True)
class FeatureFlags:
    """The options of ``FeatureOptions`` as they are typed; ``takes`` makes them parameters of a command."""

    backbone: Preset = None
    appearance: Appearance = None
    motion: Motion = None
    object_: Object = None
    audio: Audio = None
    weights: Weights = None
    option: Option = None
    segment: Annotated[
        str, typer.Option("--segment", help="whole, fixed:SECONDS, scenes, or from:ROOT (as a data root lists them).")
    ] = FeatureOptions.segment
    sampling: Annotated[
        Sampling | None,
        typer.Option("--sampling", help="Which frames; epan as published features have them.", show_default="moments"),
    ] = None
    audio_track: Annotated[int, typer.Option("--audio-track", min=0, help="Which audio track, counted from 0.")] = (
        FeatureOptions.audio_track
    )
    device: Device = FeatureOptions.device
    dtype: Annotated[Dtype, typer.Option("--dtype", help="Number format of models; auto: bf16 on CUDA, else fp32.")] = (
        FeatureOptions.dtype
    )
    batch_size: Annotated[str, typer.Option("--batch-size", help="Rows a model takes at once: a number, or auto.")] = (
        "auto"
    )
    workers: Workers = FeatureOptions.workers
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds without progress before a video is given up.")
    ] = FeatureOptions.timeout
    decoder_memory: Annotated[
        str,
        typer.Option(
            "--decoder-memory",
            metavar="SIZE",
            help="What decoding one video may take before it is given up: 3G, 800M.",
        ),
    ] = DECODER_MEMORY
    cache_dir: CacheDir = None
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the feature cache.")] = False
    config: Config = None
    quiet: Quiet = False
    verbose: Verbose = False

    def options(self) -> FeatureOptions:
        """What is typed here and stands in the file of --config.

        Raises:
            UsageError: a value cannot be read, or the file cannot.
        """
        return FeatureOptions(**self.keywords())

    def keywords(self) -> FeatureKeywords:
        """The same as keyword arguments."""
        settings = backbone_settings(self.config, self.weights, self.option)
        return {
            "backbone": self.backbone,
            "backbones": overrides(self.appearance, self.motion, self.object_, self.audio),
            "presets": settings.presets,
            "weights": settings.weights,
            "backbone_options": settings.options,
            "allow_unused": settings.allow_unused,
            "device": self.device,
            "dtype": self.dtype,
            "batch_size": batch_rows(self.batch_size),
            "workers": self.workers,
            "segment": self.segment,
            "sampling": self.sampling,
            "audio_track": self.audio_track,
            "cache": not self.no_cache,
            "cache_dir": self.cache_dir,
            "timeout": self.timeout,
            "decoder_memory": decoder_memory(self.decoder_memory),
        }


@dataclass(frozen=True)
class EngineFlags(FeatureFlags):
    """Those, and the options of ``EngineOptions`` as they are typed."""

    device: SeveralDevices = FeatureOptions.device
    engine: Annotated[Engine, typer.Option("--engine", help="Where the work is done: local, or ray.")] = (
        EngineOptions.engine
    )
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="ADDRESS",
            help="Of a Ray cluster: auto, or HOST:PORT.",
            show_default="RAY_ADDRESS, else Ray is started here",
        ),
    ] = None
    workers_per_node: Annotated[
        int | None,
        typer.Option("--workers-per-node", min=1, help="Ray workers a node.", show_default="as many as fit"),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        typer.Option("--gpus-per-worker", min=0, help="GPUs a Ray worker takes; 0.5: two share one.", show_default="1"),
    ] = None
    cpus_per_worker: Annotated[
        float | None,
        typer.Option("--cpus-per-worker", min=0, help="Cores a Ray worker takes.", show_default="4 or what there is"),
    ] = None
    worker_wait: Annotated[
        float,
        typer.Option("--worker-wait", min=1, metavar="SECONDS", help="How long to wait while there is no worker."),
    ] = EngineOptions.wait_seconds

    def engine_options(self) -> EngineOptions:
        """What is typed here and stands in the file of --config.

        Raises:
            UsageError: the engine cannot be used, or an option is not of this engine.
        """
        options = EngineOptions(
            engine=self.engine,
            ray_address=self.ray_address,
            workers_per_node=self.workers_per_node,
            gpus_per_worker=self.gpus_per_worker,
            cpus_per_worker=self.cpus_per_worker,
            wait_seconds=self.worker_wait,
        )
        check_engine(options, self.device)
        return options


@dataclass(frozen=True)
class CaptionFlags(EngineFlags):
    """The options of ``CaptionOptions`` as they are typed."""

    sampling: Annotated[
        Sampling | None, typer.Option(help="Which frames are taken.", show_default="as the checkpoint was trained")
    ] = None
    beam_size: Annotated[int | None, typer.Option(min=1, help="Beams; 5 in the paper.", show_default="5")] = None
    max_words: Annotated[int | None, typer.Option(min=1, help="Longest caption.", show_default="15")] = None
    length_penalty: Annotated[
        float | None, typer.Option(min=0, help="Power of the length normalisation.", show_default="1.6")
    ] = None
    rerank: Annotated[
        str | None,
        typer.Option(
            "--rerank",
            metavar="off|NAME=WEIGHT,...",
            help="Choose among the beam's best by consensus=W, emotion=W, candidates=N; off: by score alone.",
            show_default="as the checkpoint was trained",
        ),
    ] = None
    style: Annotated[
        Style | None,
        typer.Option("--style", help="Prompt of a ready-made captioner.", show_default="emotional"),
    ] = None
    prompt: Annotated[
        Path | None, typer.Option("--prompt", metavar="FILE", help="A prompt of your own, for a ready-made captioner.")
    ] = None
    no_emotion: Annotated[
        bool, typer.Option("--no-emotion", help="A ready-made captioner leaves out probabilities of emotions.")
    ] = False

    def caption_options(self, checkpoint: str) -> CaptionOptions:
        """What is typed here and stands in the file of --config, for ``checkpoint``.

        Raises:
            UsageError: a value cannot be read, or the file cannot.
        """
        from evcap_cli.captioning.options import CaptionOptions

        return CaptionOptions(
            checkpoint,
            **self.keywords(),
            beam_size=self.beam_size,
            max_words=self.max_words,
            length_penalty=self.length_penalty,
            rerank=rerank_choice(self.rerank),
            style=self.style,
            prompt=None if self.prompt is None else prompt_text(self.prompt),
            emotion=not self.no_emotion,
        )


LAST: Final = ("config", "quiet", "verbose")
"""Where help lists them, whatever a class of flags adds."""


def takes(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that its parameter ``flags`` declares, in place of this parameter.

    Args:
        without: fields that the command does not offer; they keep their defaults.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        flags = hints.pop("flags")
        hints.pop("return", None)
        declared = get_type_hints(flags, include_extras=True)
        offered = [each for each in fields(flags) if each.name not in without]
        own = [each for name, each in inspect.signature(command).parameters.items() if name != "flags"]

        @wraps(command)
        def call(**values: Any) -> None:
            given = {each.name: values.pop(each.name) for each in offered}
            command(**values, flags=flags(**given))

        added = [
            inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default)
            for each in sorted(offered, key=lambda each: each.name in LAST)
        ]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + added
        call.__annotations__ = {**hints, **{each.name: declared[each.name] for each in offered}}
        call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [each.replace(annotation=call.__annotations__[each.name]) for each in parameters]
        )
        return call

    return decorate
