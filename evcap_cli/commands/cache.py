"""``evcap cache info, verify, prune``: look after the feature cache."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Annotated, Final

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.console import counted
from evcap_cli.errors import UsageError

SPANS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Look after the feature cache.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(info)
    group.command()(verify)
    group.command()(prune)
    app.add_typer(group, name="cache")


def info(
    cache_dir: shared.CacheDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show where the cache lies and what it holds."""
    from evcap_cli.features.cache import FeatureCache

    found = FeatureCache(cache_dir).info()
    if as_json:
        console.data(json.dumps({**asdict(found), "root": str(found.root)}, indent=1) + "\n")
        return
    console.answer(f"{found.root}: {counted(found.entries, 'entry', 'entries')}, {size_text(found.bytes)}")
    for name, count in found.streams.items():
        console.answer(f"  {name}: {count}")
    if found.unreadable:
        console.answer(f"  damaged: {found.unreadable} (evcap cache verify removes them)")
    if found.free_bytes is not None:
        console.answer(f"  free on this disk: {size_text(found.free_bytes)}")


def verify(cache_dir: shared.CacheDir = None) -> None:
    """Read every entry and remove those that are damaged; they will be computed again when needed."""
    from evcap_cli.features.cache import FeatureCache

    swept = FeatureCache(cache_dir).verify()
    removed = counted(swept.removed, "damaged one", "damaged ones")
    console.info(f"{counted(swept.checked, 'entry', 'entries')}, {removed} removed")


def prune(
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="TIME", help="Remove what was not used for so long: 30d, 12h.")
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="SIZE", help="Then the longest unused until so much is left: 20G."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every entry.")] = False,
    cache_dir: shared.CacheDir = None,
) -> None:
    """Make the cache smaller; entries that are removed will be computed again when needed."""
    from evcap_cli.features.cache import FeatureCache

    if older_than is None and max_size is None and not everything:
        raise UsageError("nothing to prune by", hint="give --older-than 30d, --max-size 20G, or --all")
    swept = FeatureCache(cache_dir).prune(
        None if older_than is None else parse_span(older_than),
        0 if everything else None if max_size is None else shared.parse_size(max_size, "--max-size"),
    )
    console.info(
        f"{swept.removed} of {counted(swept.checked, 'entry', 'entries')} removed, {size_text(swept.freed_bytes)} freed"
    )


def parse_span(text: str) -> float:
    """Seconds of "90s", "10m", "12h", "30d", "2w"; a bare number counts days.

    Raises:
        UsageError: another form.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip().lower())
    if match is None:
        raise UsageError(f"--older-than {text!r} is not a time", hint="for example 30d, 12h or 2w")
    return float(match[1]) * SPANS[match[2] or "d"]


def size_text(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"
