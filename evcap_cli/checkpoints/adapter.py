"""The checkpoint of an adapter: a small folder next to a ready-made model that it names and never holds.

config.json (the base model by name, revision and digest, prompt, frames, search), the adapter's own files, lexicon.json
and README.md; or a repository of the hub with the same. ``base.json`` says where on this machine a base lies that is a
folder; it belongs to the machine, so that it is neither digested nor uploaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from evcap_cli.checkpoints.hub import CARD, CONFIG, HUB_PREFIX, snapshot, upload
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import CheckpointError, DataError, reason_of
from evcap_cli.files import write_whole
from evcap_cli.reading.ranges import Beams, CaptionWords, Name, Number, Rows
from evcap_cli.reading.regular import read_regular
from evcap_cli.reading.typed import NotOfType, checked, from_json, read_json
from evcap_cli.version import __version__

LEXICON: Final = "lexicon.json"
PLACE: Final = "base.json"
"""Where a base lies that is a folder of this machine."""
PATTERNS: Final = ("*.json", "*.safetensors", CARD)
COPY_AGAIN: Final = "copy the whole folder that `evcap train` wrote again"
_FORMAT: Final = 1
_MOST_BYTES: Final = 1 << 24
"""Of a JSON file."""


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter needs besides its weights, and what its captions depend on.

    Args:
        captioner: registered name of the captioner that was tuned.
        base: name of its model: "hf-hub:org/name", or of a folder its last name.
        base_digest: of the model's files.
        revision: the commit of a model from the hub.
        prompt: the instruction, as the model got it; None: the model takes none.
        style: that the prompt is of, or "file"; None: the model takes none.
        frames: of a clip. longest_side: of a frame, in pixels.
        max_words: of a caption. beam_size: of the search.
        files: of the adapter itself.
    """

    captioner: Name
    base: Name
    base_digest: Name
    revision: Name | None
    prompt: str | None
    style: Literal["emotional", "emotional-lexicon", "factual", "file"] | None
    frames: Rows
    longest_side: Number
    max_words: CaptionWords
    beam_size: Beams
    files: list[Name]

    @property
    def address(self) -> str | None:
        """Of a base on the hub; None where it is a folder."""
        if not self.base.startswith(HUB_PREFIX):
            return None
        return self.base if self.revision is None else f"{self.base}@{self.revision}"


@dataclass(frozen=True)
class _Place:
    """base.json."""

    path: str


@dataclass(frozen=True)
class Adapter:
    """An opened checkpoint of an adapter.

    Args:
        name: as records call it.
        config: see there.
        lexicon: of the data that it was trained on.
        training: how it was made, as ``Checkpoint.training``.
        files: the adapter's own, name -> content.
        digest: of everything that decides captions, the base's digest included.
        place: the base's folder; None where it is on the hub.
    """

    name: str
    config: AdapterConfig
    lexicon: Lexicon
    training: Mapping[str, Any]
    files: Mapping[str, bytes]
    digest: str
    place: Path | None = None

    @property
    def labels_by(self) -> str:
        """What wrote the captions that it was trained on; empty where people did."""
        return str(self.training.get("labels_by", ""))

    def base_address(self) -> str:
        """Where the base is: on the hub, or in a folder.

        Raises:
            CheckpointError: it is a folder, and not there any more.
        """
        if self.config.address is not None:
            return self.config.address
        if self.place is not None and self.place.is_dir():
            return str(self.place)
        where = f"{self.place} is not there" if self.place else f"{PLACE} does not say where it is"
        raise CheckpointError(
            f"its base model {self.config.base} was not found ({where})",
            path=self.name,
            hint=f'write {{"path": "FOLDER"}} of the model into {PLACE} of the run folder',
        )

    @classmethod
    def open(cls, address: str, key: str) -> Adapter:
        """Read a folder or ``hf-hub:org/name[@revision]``.

        Args:
            address: of it.
            key: of config.json that holds the ``AdapterConfig``.

        Raises:
            CheckpointError: a file is missing or damaged, or of another version.
        """
        hub = address.startswith(HUB_PREFIX)
        folder = snapshot(address, PATTERNS) if hub else Path(address)
        if not folder.is_dir():
            raise CheckpointError("no such folder", path=address, hint="give a run folder or hf-hub:ORG/NAME with -c")
        content = _read(folder, CONFIG, address)
        whole = from_json(dict[str, Any], content, path=Path(address) / CONFIG, error=CheckpointError, hint=COPY_AGAIN)
        config = _checked(whole, key, address)
        lexicon_text = _read(folder, LEXICON, address)
        try:
            lexicon = Lexicon.from_json(lexicon_text, path=Path(address) / LEXICON)
        except DataError as problem:
            raise CheckpointError(problem.cause, path=problem.path or address, hint=COPY_AGAIN) from problem
        files = {name: _read(folder, name, address, None) for name in config.files}
        training = whole.get("training")
        place = None
        if not hub and (folder / PLACE).is_file():
            place = Path(read_json(_Place, folder / PLACE, error=CheckpointError, hint=COPY_AGAIN).path)
            place = place if place.is_absolute() else folder / place
        return cls(
            name=address if hub else folder.resolve().name,
            config=config,
            lexicon=lexicon,
            training=training if isinstance(training, dict) else {},
            files=files,
            digest=_digest(config, lexicon, files),
            place=place,
        )

    def save(self, folder: Path, key: str, *, card: str) -> None:
        """Write the folder; config.json comes last, so that a folder which has one is whole.

        Raises:
            WriteError: no permission, a full disk.
        """
        config = {
            "evcap": __version__,
            "name": self.name,
            key: {"version": _FORMAT, **asdict(self.config)},
            "training": self.training,
        }
        if self.place is not None:
            write_whole(folder / PLACE, json.dumps({"path": str(self.place)}) + "\n")
        write_whole(folder / CARD, card)
        for name, content in self.files.items():
            write_whole(folder / name, content)
        write_whole(folder / LEXICON, self.lexicon.to_json())
        write_whole(folder / CONFIG, json.dumps(config, indent=1, ensure_ascii=False) + "\n")


def push(folder: Path, repository: str, key: str) -> str:
    """Upload a saved folder to ``org/name`` and return its address, ``hf-hub:org/name``.

    Raises:
        CheckpointError: the folder is none of an adapter. UploadError: the hub cannot be reached or refuses.
    """
    opened = Adapter.open(str(folder), key)
    names = (CARD, CONFIG, LEXICON, *opened.config.files)
    contents = {name: _read(folder, name, str(folder), None) for name in names}
    return upload(contents, repository, {CONFIG, LEXICON, *opened.config.files})


def _checked(whole: Mapping[str, Any], key: str, address: str) -> AdapterConfig:
    values = whole.get(key)
    if not isinstance(values, dict) or type(values.get("version")) is not int:
        raise CheckpointError(f"{CONFIG} is not an adapter's ({key})", path=address, hint=COPY_AGAIN)
    if values["version"] != _FORMAT:
        raise CheckpointError(
            f"version {values['version']} of adapters was written by another evcap ({str(whole.get('evcap'))[:20]})",
            path=address,
            hint=f"this is evcap {__version__}, which reads version {_FORMAT}",
        )
    try:
        config = checked(AdapterConfig, values)
    except NotOfType as problem:
        raise CheckpointError(f"{CONFIG}: {problem}", path=address, hint=COPY_AGAIN) from problem
    if any(Path(name).name != name or name in (CONFIG, LEXICON, PLACE) for name in config.files):
        raise CheckpointError(f"{CONFIG} names files outside of the folder", path=address, hint=COPY_AGAIN)
    return config


def _read(folder: Path, name: str, address: str, most: int | None = _MOST_BYTES) -> bytes:
    try:
        return read_regular(folder / name, most, error=CheckpointError, hint=COPY_AGAIN)
    except FileNotFoundError as problem:
        raise CheckpointError(f"the adapter lacks {name}", path=address, hint=COPY_AGAIN) from problem
    except OSError as problem:
        raise CheckpointError(f"cannot read {name} ({reason_of(problem)})", path=address) from problem


def _digest(config: AdapterConfig, lexicon: Lexicon, files: Mapping[str, bytes]) -> str:
    """xxh3_128 over what decides captions."""
    import xxhash

    state = xxhash.xxh3_128(json.dumps(asdict(config), sort_keys=True).encode())
    state.update(lexicon.digest.encode())
    for name in sorted(files):
        state.update(f"{name} {len(files[name])}\n".encode())
        state.update(files[name])
    return str(state.hexdigest())


def adapter_of(
    name: str,
    config: AdapterConfig,
    lexicon: Lexicon,
    training: Mapping[str, Any],
    files: Mapping[str, bytes],
    place: Path | None,
) -> Adapter:
    """An adapter in memory; see ``Adapter``."""
    return Adapter(name, config, lexicon, training, files, _digest(config, lexicon, files), place)
