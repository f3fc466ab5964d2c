"""Options that several commands share, declared once, and what reads them: ``--config``, NAME=VALUE pairs, -q and -v.

Order of precedence: flag, environment, the file given by ``--config``, the checkpoint, the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from evcap_cli import console
from evcap_cli.errors import UsageError


def _quiet(value: bool) -> bool:
    if value:
        console.set_verbosity(quiet=True)
    return value


def _verbose(value: bool) -> bool:
    if value:
        console.set_verbosity(verbose=True)
    return value


def _config(context: typer.Context, path: Path | None) -> Path | None:
    """Take the command's table of evcap.toml as defaults of its options."""
    if path is None:
        return None
    values = read_config(path)
    command = context.info_name or ""
    known = {parameter.name for parameter in context.command.params}
    root = context.find_root()
    commands = getattr(root.command, "commands", {})
    for table in values:
        if table not in ("weights", "option") and table not in commands:
            raise UsageError(f"[{table}] is not a command of evcap", path=path, hint="see docs/configuration.md")
    defaults: dict[str, Any] = {}
    for key, value in values.get(command, {}).items():
        name = key.replace("-", "_")
        if name not in known:
            raise UsageError(f"[{command}] has no option {key!r}", path=path, hint=f"see evcap {command} --help")
        defaults[name] = value
    for table in ("weights", "option"):
        if table in values and table in known and table not in defaults:
            defaults[table] = [f"{name}={value}" for name, value in _flat(values[table])]
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


def _flat(table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat += [(f"{name}.{key}", inner) for key, inner in _flat(value)]
        else:
            flat.append((name, value))
    return flat


def read_config(path: Path) -> dict[str, Any]:
    """An evcap.toml.

    Raises:
        UsageError: it cannot be read or is not TOML.
    """
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as problem:
        raise UsageError(f"cannot read ({problem.strerror})", path=path, hint="check --config") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"is not TOML ({problem})", path=path, hint="see docs/configuration.md") from problem


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


Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT...", help="Videos, folders (recursive), globs, @list.txt, or - for stdin.")
]
Checkpoint = Annotated[
    str, typer.Option("--checkpoint", "-c", help="demo, a folder, or hf-hub:org/name[@revision].", metavar="CHECKPOINT")
]
Preset = Annotated[str | None, typer.Option("--backbone", help="Preset of backbones: lite, resnet, clip, ...")]
Appearance = Annotated[str | None, typer.Option("--appearance", metavar="NAME", help="Appearance backbone.")]
Motion = Annotated[str | None, typer.Option("--motion", metavar="NAME", help="Motion backbone.")]
Object = Annotated[str | None, typer.Option("--object", metavar="NAME", help="Object backbone.")]
Audio = Annotated[str | None, typer.Option("--audio", metavar="NAME", help="Audio backbone.")]
Weights = Annotated[
    list[str] | None,
    typer.Option("--weights", metavar="NAME=PATH", help="Weights of a backbone from a file or folder."),
]
Option = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME.KEY=VALUE", help="An option of a backbone.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto (bf16 on CUDA, else fp32), bf16, fp16 or fp32.")]
BatchSize = Annotated[str, typer.Option("--batch-size", help="Rows a model takes at once: a number, or auto.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Decoding processes.")]
Segment = Annotated[str, typer.Option("--segment", help="whole, fixed:SECONDS or scenes.")]
Sampling = Annotated[str, typer.Option("--sampling", help="How moments are chosen.")]
AudioTrack = Annotated[int, typer.Option("--audio-track", min=0, help="Which audio track, counted from 0.")]
CacheDir = Annotated[
    Path | None, typer.Option("--cache-dir", envvar="EVCAP_CACHE_DIR", help="Where features are kept.", metavar="DIR")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the feature cache.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds without progress before a video is given up.")
]
Shard = Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Take the i-th of n parts, or slurm.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Take the first N videos only.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and stop.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.", callback=_quiet, is_eager=True)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More detail.", callback=_verbose, is_eager=True)]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="evcap.toml with defaults.", callback=_config, is_eager=True),
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
