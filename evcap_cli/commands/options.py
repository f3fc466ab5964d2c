"""Options that several commands share, declared once, and what reads them: NAME=VALUE pairs, backbones, -q and -v.

Order of precedence: flag, environment, the file given by ``--config``, the checkpoint, the default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from evcap_cli import console
from evcap_cli.commands import config_file
from evcap_cli.console import counted
from evcap_cli.data.parts import Subset
from evcap_cli.errors import PluginError, UsageError
from evcap_cli.paths import expanded

if TYPE_CHECKING:
    from evcap_cli.search.rerank import Rerank


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
MOST_PROMPT_BYTES: Final = 1 << 16
SIZES: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
LEAST_DECODER_MEMORY: Final = 64 << 20

Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT...", help="Videos, folders (recursive), globs, @list.txt, or - for stdin.")
]
Checkpoint = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        "-c",
        help="demo, a folder, hf-hub:org/name[@revision], smolvlm2 and the like, or http://HOST/v1#MODEL.",
        metavar="CHECKPOINT",
    ),
]
DataSubset = Annotated[Subset, typer.Option("--subset", help="Part of EmVidCap.")]
Preset = Annotated[
    str | None, typer.Option("--backbone", help="Preset of backbones: lite, resnet, clip, open, modern, ...")
]
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
SeveralDevices = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...; cuda:0,cuda:1: a worker process each.")
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Decoding processes.")]
DECODER_MEMORY: Final = "3G"
CacheDir = Annotated[
    Path | None, typer.Option("--cache-dir", envvar="EVCAP_CACHE_DIR", help="Where features are kept.", metavar="DIR")
]
Shard = Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Take the i-th of n parts, or slurm.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Take the first N videos only.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and stop.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first video that fails.")]
LogJson = Annotated[
    Path | None,
    typer.Option("--log-json", metavar="FILE", help="Append events to FILE, a JSON object a line, for dashboards."),
]
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
    from evcap_cli.search.rerank import Rerank

    try:
        return None if text is None else Rerank.parse(text)
    except ValueError as problem:
        raise UsageError(f"--rerank {text!r}: {problem}", hint="for example consensus=0.5,emotion=0.2") from None


def prompt_text(path: Path) -> str:
    """The text of ``--prompt``.

    Raises:
        UsageError: it cannot be read, or holds nothing.
    """
    from evcap_cli.reading.text import read_text

    text = read_text(path, error=UsageError, most=MOST_PROMPT_BYTES).strip()
    if not text:
        raise UsageError("holds no prompt", path=path, hint="write what the captioner is to do into it")
    return text


def note_demo(checkpoint: str) -> None:
    """Say what the bundled checkpoint is, where it is used."""
    if checkpoint == "demo":
        console.info(
            "note: the bundled demo checkpoint knows only the cartoon world of `evcap demo`; for real videos give"
            " -c smolvlm2 (a download of 2 GB), -c http://HOST/v1#MODEL, or train your own with `evcap train`"
        )


def neither_backbone_nor_captioner(name: str) -> PluginError:
    """The error for a name that no installed plugin offers."""
    from evcap_cli import plugins

    registry = plugins.registry()
    backbones, captioners = ", ".join(sorted(registry.backbones)), ", ".join(sorted(registry.captioners))
    return PluginError(
        f"no backbone or captioner named {name!r} is installed (backbones: {backbones}; captioners: {captioners})",
        hint=plugins.how_to_get(name),
    )


def show_some(lines: Iterable[str], count: int) -> None:
    """The first of ``count`` lines of a dry run, on standard output, and how many more there are."""
    for line in islice(lines, DRY_RUN_LINES):
        console.answer(line)
    if count > DRY_RUN_LINES:
        console.answer(f"... and {count - DRY_RUN_LINES} more")


def lost_much(count: int) -> str:
    """What a last line says of videos that damage took much of."""
    whose = "its" if count == 1 else "their"
    return f", {counted(count, 'video')} lost more than a tenth of {whose} picture or sound" if count else ""
