"""The files of a checkpoint folder: where they are, their bytes, their digest, and config.json by its types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from evcap_cli.backbones.contract import Kind
from evcap_cli.backbones.records import BackboneRecord
from evcap_cli.checkpoints.hub import CARD, CONFIG, HUB_PREFIX, download
from evcap_cli.errors import CheckpointError, reason_of
from evcap_cli.features.sampling import SAMPLINGS
from evcap_cli.reading.ranges import Name
from evcap_cli.reading.regular import read_regular
from evcap_cli.reading.typed import NotOfType, checked, from_json
from evcap_cli.version import __version__

FORMAT: Final = 1
DEMO: Final = "demo"
"""The name of the checkpoint that comes with the package."""
WEIGHTS: Final = "model.safetensors"
VOCABULARY: Final = "vocabulary.json"
LEXICON: Final = "lexicon.json"
FAMILIARITY: Final = "familiarity.safetensors"
FILES: Final = (CONFIG, WEIGHTS, VOCABULARY, LEXICON)
"""What a checkpoint cannot do without; README.md is for people, familiarity.safetensors there
where config.json names it."""
COPY_AGAIN: Final = "copy the whole folder that `evcap train` wrote again"
_MOST_BYTES: Final[Mapping[str, int]] = {CONFIG: 1 << 22, VOCABULARY: 1 << 26, LEXICON: 1 << 24, FAMILIARITY: 1 << 26}
"""The weights are as large as config.json implies."""


def resolve(source: str | Path) -> tuple[Path, str]:
    """The folder of ``demo``, a path or ``hf-hub:org/name[@revision]``, and the name to call it by.

    Raises:
        CheckpointError: nothing there.
    """
    text = str(source)
    if text == DEMO and not Path(DEMO, "config.json").exists():
        return Path(str(files("evcap_cli.demo").joinpath("checkpoint"))), DEMO
    if text.startswith(HUB_PREFIX):
        return download(text, FILES, optional=(CARD, FAMILIARITY)), text
    folder = Path(source)
    hint = f"give a checkpoint folder, {DEMO}, or {HUB_PREFIX}org/name"
    try:
        if not folder.is_dir():
            cause = "not a folder" if folder.exists() else "no such checkpoint folder"
            raise CheckpointError(cause, path=folder, hint=hint)
    except OSError as problem:
        raise CheckpointError(f"cannot be opened ({reason_of(problem)})", path=folder, hint=hint) from problem
    return folder, folder.resolve().name


def read_files(folder: Path, names: Iterable[str] = FILES) -> dict[str, bytes]:
    """The bytes of files by name; none but the weights may be large.

    Raises:
        CheckpointError: one is missing, no regular file, too large, or cannot be read.
    """
    contents: dict[str, bytes] = {}
    for name in names:
        try:
            contents[name] = read_regular(folder / name, _MOST_BYTES.get(name), error=CheckpointError, hint=COPY_AGAIN)
        except FileNotFoundError as problem:
            raise CheckpointError(f"the checkpoint lacks {name}", path=folder, hint=COPY_AGAIN) from problem
        except OSError as problem:
            raise CheckpointError(f"cannot read {name} ({reason_of(problem)})", path=folder) from problem
    return contents


def digest_of(contents: Mapping[str, bytes]) -> str:
    """xxh3_128 over the four files, with their names and lengths."""
    import xxhash

    state = xxhash.xxh3_128()
    for name in FILES:
        state.update(f"{name} {len(contents[name])}\n".encode())
        state.update(contents[name])
    return state.hexdigest()


@dataclass(frozen=True)
class ConfigFile:
    """config.json, as far as its types go."""

    model: Name
    architecture: dict[str, Any]
    backbones: dict[Kind, BackboneRecord]
    beam: dict[str, Any]
    sampling: Name
    training: dict[str, Any]
    name: Name
    distribution: Name
    familiarity: Name | None = None
    """Digest of familiarity.safetensors."""


def read_config(content: bytes, path: Path) -> ConfigFile:
    """config.json, of this version's format.

    Raises:
        CheckpointError: it is another file, of another format, or a value has another type.
    """
    values = from_json(dict[str, Any], content, path=path, error=CheckpointError, hint=COPY_AGAIN)
    made = values.get("format")
    if type(made) is not int:
        raise CheckpointError("is not a checkpoint's (format)", path=path, hint=COPY_AGAIN)
    if made != FORMAT:
        raise CheckpointError(
            f"format {made} was written by another version of evcap ({str(values.get('evcap', 'unknown'))[:20]})",
            path=path,
            hint=f"this is evcap {__version__}, which reads format {FORMAT}",
        )
    try:
        config = checked(ConfigFile, values)
    except NotOfType as problem:
        raise CheckpointError(str(problem), path=path, hint=COPY_AGAIN) from problem
    if config.sampling not in SAMPLINGS:
        raise CheckpointError(
            f"sampling: should be one of {', '.join(SAMPLINGS)}, got {config.sampling!r}", path=path, hint=COPY_AGAIN
        )
    return config
