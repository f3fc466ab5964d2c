"""``evcap doctor``: is everything here that evcap needs, and what to do about what is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import typer

from evcap_cli import console, plugins
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_SOME_FAILED, EvcapError
from evcap_cli.version import __version__

NEEDED = ("torch", "torchvision", "transformers", "open_clip_torch", "av", "safetensors", "pycocoevalcap", "accelerate")
LOW_DISK_BYTES = 1 << 30


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor() -> None:
    """Check the installation: libraries, decoder, device, Java, cache, plugins, the bundled checkpoint.

    Exit code 3 when something that captioning needs is missing.
    """
    healthy = True
    checks: tuple[tuple[str, Callable[[], Iterator[str]], bool], ...] = (
        ("evcap", _evcap, True),
        ("libraries", _libraries, True),
        ("decoder", _decoder, True),
        ("device", _device, True),
        ("plugins", _plugins, True),
        ("demo checkpoint", _checkpoint, True),
        ("cache", _cache, True),
        ("METEOR", _java, False),
        ("scenes", _scenes, False),
    )
    for name, check, needed in checks:
        try:
            for text in check():
                console.answer(f"ok       {name}: {text}")
        except Exception as problem:  # whatever is broken here is what doctor reports
            healthy = healthy and not needed
            text = problem.message if isinstance(problem, EvcapError) else f"{type(problem).__name__}: {problem}"
            console.answer(f"{'PROBLEM ' if needed else 'optional'} {name}: {' '.join(text.split())}")
    if not healthy:
        raise typer.Exit(EXIT_SOME_FAILED)


def _evcap() -> Iterator[str]:
    yield f"{__version__} on Python {sys.version.split()[0]}, {os.cpu_count()} cores"


def _libraries() -> Iterator[str]:
    found = []
    for name in NEEDED:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            raise EvcapError(f"{name} is not installed", hint=f"pip install {name}") from None
    yield ", ".join(found)


def _decoder() -> Iterator[str]:
    import av

    codecs = [name for name in ("h264", "hevc", "vp9", "av1", "aac", "opus") if name in av.codecs_available]
    yield f"FFmpeg libraries {'.'.join(map(str, av.library_versions['libavcodec']))}, decodes {', '.join(codecs)}"


def _device() -> Iterator[str]:
    import torch

    from evcap_cli.devices import bf16_units, choose_device, choose_dtype

    device = choose_device("auto")
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{counted(torch.get_num_threads(), 'thread')}"
    )
    yield f"{device} ({name}), {choose_dtype('auto', device)} by default"
    yield f"bf16 matrix units of the CPU: {bf16_units() or 'none, --dtype bf16 is slower there than fp32'}"


def _plugins() -> Iterator[str]:
    registry = plugins.registry()
    broken = [plugin for plugin in registry.loaded if plugin.error is not None]
    if broken:
        raise EvcapError(f"{broken[0].distribution}: {broken[0].error}", hint="update or uninstall it")
    yield f"{len(registry.loaded)} loaded, {counted(len(registry.backbones), 'backbone')}"


def _checkpoint() -> Iterator[str]:
    from evcap_cli.checkpoints.checkpoint import Checkpoint

    checkpoint = Checkpoint.from_pretrained("demo")
    names = ", ".join(str(record["name"]) for record in checkpoint.backbones.values())
    for record in checkpoint.backbones.values():
        plugins.backbone_class(str(record["name"]).partition(":")[0])
    yield f"loads, needs {names}"


def _cache() -> Iterator[str]:
    from evcap_cli.features.cache import default_root

    root = default_root()
    place = next(parent for parent in (root, *root.parents) if parent.exists())
    if not os.access(place, os.W_OK):
        raise EvcapError("cannot be written", path=root, hint="set EVCAP_CACHE_DIR to a folder of yours")
    free = shutil.disk_usage(place).free
    if free < LOW_DISK_BYTES:
        raise EvcapError(f"only {free >> 20} MiB free", path=root, hint="evcap cache prune, or set EVCAP_CACHE_DIR")
    yield f"{root}, {free >> 30} GiB free"


def _java() -> Iterator[str]:
    from evcap_cli.scoring.java import JavaError, find_java

    try:
        command = [find_java(), "-version"]
    except JavaError:
        raise EvcapError("no Java, so METEOR stays empty in scores", hint="pip install 'evcap[meteor]'") from None
    done = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace", timeout=60, check=True)
    yield done.stderr.splitlines()[0]


def _scenes() -> Iterator[str]:
    if find_spec("scenedetect") is None:
        raise EvcapError("--segment scenes needs scenedetect", hint="pip install 'evcap[scenes]'")
    yield f"scenedetect {version('scenedetect')}"
