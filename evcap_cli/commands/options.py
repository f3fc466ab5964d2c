"""Options that several commands share, declared once, and what reads them: NAME=VALUE pairs, backbones, -q and -v.

Order of precedence: flag, environment, the file given by ``--config``, the checkpoint, the default.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from evcap_cli import console
from evcap_cli.commands import config_file
from evcap_cli.console import counted
from evcap_cli.data.emvidcap import Subset
from evcap_cli.devices import Dtype
from evcap_cli.errors import UsageError
from evcap_cli.features.options import FeatureOptions, Sampling
from evcap_cli.paths import expanded

if TYPE_CHECKING:
    from evcap_cli.captioning.options import CaptionOptions
    from evcap_cli.features.options import FeatureKeywords
    from evcap_cli.network.config import Rerank


def _quiet(value: bool) -> bool:
    if value:
        console.set_verbosity(quiet=True)
    return value


def _verbose(value: bool) -> bool:
    if value:
        console.set_verbosity(verbose=True)
    return value


def pairs(values: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts as a mapping.

    Raises:
        UsageError: a text without "=".
    """
    found: dict[str, str] = {}
    for text in values:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UsageError(f"{option} {text!r} is not NAME=VALUE")
        found[name] = value
    return found


def backbone_options(values: Sequence[str]) -> dict[str, dict[str, str]]:
    """``NAME.KEY=VALUE`` texts as backbone name -> options.

    Raises:
        UsageError: a text of another form.
    """
    found: dict[str, dict[str, str]] = {}
    for text in values:
        name, sign, value = text.partition("=")
        backbone, _, key = name.partition(".")
        if not sign or not backbone or not key:
            raise UsageError(
                f"--option {text!r} is not NAME.KEY=VALUE", hint="for example --option fasterrcnn.top_k=20"
            )
        found.setdefault(backbone, {})[key] = value
    return found


@dataclass(frozen=True)
class BackboneSettings:
    """What flags and evcap.toml say about backbones together.

    Args:
        weights: backbone name -> path or source.
        options: backbone name -> key -> value.
        presets: the user's own.
        allow_unused: names that only evcap.toml brings up: no error where they are not in use.
    """

    weights: Mapping[str, str]
    options: Mapping[str, Mapping[str, str]]
    presets: Mapping[str, Mapping[str, str]]
    allow_unused: frozenset[str]


def backbone_settings(
    config: Path | None, weights: Sequence[str] | None, option: Sequence[str] | None
) -> BackboneSettings:
    """``--weights`` and ``--option``, each single one before its like in [weights] and [option] of ``config``.

    Raises:
        UsageError: a text of another form, or a bad file.
    """
    given, given_options = pairs(weights or (), "--weights"), backbone_options(option or ())
    filed = {name: expanded(source) for name, source in config_file.weights(config).items()}
    filed_options = {
        name: {key: expanded(text) for key, text in keys.items()}
        for name, keys in config_file.backbone_options(config).items()
    }
    merged = {name: {**filed_options.get(name, {}), **given_options.get(name, {})} for name in filed_options}
    return BackboneSettings(
        weights={**filed, **given},
        options={**given_options, **merged},
        presets=config_file.presets(config),
        allow_unused=frozenset({*filed, *filed_options} - {*given, *given_options}),
    )


DRY_RUN_LINES: Final = 20
SIZES: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
LEAST_DECODER_MEMORY: Final = 64 << 20

Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT...", help="Videos, folders (recursive), globs, @list.txt, or - for stdin.")
]
Checkpoint = Annotated[
    str, typer.Option("--checkpoint", "-c", help="demo, a folder, or hf-hub:org/name[@revision].", metavar="CHECKPOINT")
]
DataSubset = Annotated[Subset, typer.Option("--subset", help="Part of EmVidCap.")]
Preset = Annotated[str | None, typer.Option("--backbone", help="Preset of backbones: lite, resnet, clip, ...")]
Appearance = Annotated[str | None, typer.Option("--appearance", metavar="NAME", help="Appearance backbone.")]
Motion = Annotated[str | None, typer.Option("--motion", metavar="NAME", help="Motion backbone.")]
Object = Annotated[str | None, typer.Option("--object", metavar="NAME", help="Object backbone.")]
Audio = Annotated[str | None, typer.Option("--audio", metavar="NAME", help="Audio backbone.")]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        metavar="NAME=PATH",
        help="Weights of a backbone from a file or folder; NAME=random:SEED draws some, for tests and benchmarks.",
    ),
]
Option = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME.KEY=VALUE", help="An option of a backbone.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Decoding processes.")]
DECODER_MEMORY: Final = "3G"
CacheDir = Annotated[
    Path | None, typer.Option("--cache-dir", envvar="EVCAP_CACHE_DIR", help="Where features are kept.", metavar="DIR")
]
Shard = Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Take the i-th of n parts, or slurm.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Take the first N videos only.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and stop.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first video that fails.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.", callback=_quiet, is_eager=True)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More detail.", callback=_verbose, is_eager=True)]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="evcap.toml with defaults, weights and presets.",
        callback=config_file.take_defaults,
        is_eager=True,
    ),
]


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
    segment: Annotated[str, typer.Option("--segment", help="whole, fixed:SECONDS or scenes.")] = FeatureOptions.segment
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
class CaptionFlags(FeatureFlags):
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


def overrides(appearance: str | None, motion: str | None, object_: str | None, audio: str | None) -> dict[str, str]:
    """The backbones that flags name, by kind."""
    given = {"appearance": appearance, "motion": motion, "object": object_, "audio": audio}
    return {kind: name for kind, name in given.items() if name is not None}


def batch_rows(text: str) -> int | None:
    """``--batch-size``: None for auto.

    Raises:
        UsageError: neither a positive number nor auto.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--batch-size {text!r} is neither a positive number nor auto")
    return int(text)


def parse_size(text: str, option: str) -> int:
    """Bytes of "500M", "20G", "20GB", "1.5T"; a bare number counts bytes.

    Raises:
        UsageError: another form.
    """
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if match is None:
        raise UsageError(f"{option} {text!r} is not a size", hint="for example 500M or 20G")
    return int(float(match[1]) * SIZES[match[2]])


def decoder_memory(text: str) -> int:
    """``--decoder-memory`` in bytes.

    Raises:
        UsageError: not a size, or so little that nothing can be decoded.
    """
    size = parse_size(text, "--decoder-memory")
    if size < LEAST_DECODER_MEMORY:
        raise UsageError(f"--decoder-memory {text!r} is less than 64M", hint="for example 800M or 3G")
    return size


def rerank_choice(text: str | None) -> Rerank | None:
    """``--rerank``; None where it is not given.

    Raises:
        UsageError: it is neither off nor weights.
    """
    from evcap_cli.network.config import Rerank

    try:
        return None if text is None else Rerank.parse(text)
    except ValueError as problem:
        raise UsageError(f"--rerank {text!r}: {problem}", hint="for example consensus=0.5,emotion=0.2") from None


def note_demo(checkpoint: str) -> None:
    """Say what the bundled checkpoint is, where it is used."""
    if checkpoint == "demo":
        console.info(
            "note: the bundled demo checkpoint knows only the cartoon world of `evcap demo`; train a real one with"
            " `evcap train`, or give -c hf-hub:org/name"
        )


def show_some(lines: Sequence[str]) -> None:
    """The first lines of a dry run, on standard output, and how many more there are."""
    for line in lines[:DRY_RUN_LINES]:
        console.answer(line)
    if len(lines) > DRY_RUN_LINES:
        console.answer(f"... and {len(lines) - DRY_RUN_LINES} more")


def lost_much(count: int) -> str:
    """What a last line says of videos that damage took much of."""
    whose = "its" if count == 1 else "their"
    return f", {counted(count, 'video')} lost more than a tenth of {whose} picture or sound" if count else ""
