"""From an address to a folder of a model's files, and what can be seen wrong with it without loading weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from evcap_cli.backbones.identity import digest_of, file_digest
from evcap_cli.checkpoints.hub import HUB_PREFIX, HubAddress, local_snapshot, snapshot, top_files
from evcap_cli.errors import CheckpointError
from evcap_cli.reading.typed import read_json

CONFIG: Final = "config.json"
SMALL: Final = ("*.json", "*.jinja", "*.txt", "*.model")
PATTERNS: Final = (*SMALL, "*.safetensors")
"""What is fetched and digested, at the top of a repository: no pickles, no code."""
_INDEX: Final = "model.safetensors.index.json"
_WEIGHTS: Final = "model.safetensors"
_PROCESSORS: Final = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_TOKENIZERS: Final = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
)
"""One of them holds the words: without, transformers makes a tokenizer that knows none."""
_TEMPLATES: Final = ("chat_template.jinja", "chat_template.json")
_WITH_TEMPLATE: Final = ("processor_config.json", "tokenizer_config.json")
"""Which may have the chat template as a value."""
_ANOTHER: Final = "give one that does, such as -c smolvlm2"


@dataclass(frozen=True)
class ModelFolder:
    """A model's files on this machine.

    Args:
        path: of the folder.
        name: as records call it: the address without its revision, or the name of a folder.
        revision: the commit, for what comes from the hub.
        config: config.json.
    """

    path: Path
    name: str
    revision: str | None
    config: Mapping[str, Any]

    @property
    def model_type(self) -> str:
        """Which family of transformers it is of."""
        return str(self.config.get("model_type", ""))

    def files(self) -> list[Path]:
        """Those that decide what the model answers, by name."""
        found = [path for path in self.path.iterdir() if any(fnmatch(path.name, pattern) for pattern in PATTERNS)]
        return sorted(path for path in found if path.is_file())

    def digest(self) -> str:
        """xxh3_128 over names and bytes of ``files``, the same for a copy of the folder elsewhere."""
        return digest_of([[path.name, file_digest(path)] for path in self.files()])


def fetch(address: str) -> ModelFolder:
    """The folder of ``hf-hub:org/name[@revision]``, downloaded unless it is whole in the hub's cache.

    Raises:
        CheckpointError: no network, no such repository, a gated one, no model in it.
    """
    path = local_copy(address)
    if path is None:
        # weights come last: a folder that has them has everything
        path = snapshot(address, SMALL)
        config = _read_config(path, address)
        _check_config(config, address)
        _check_template(path, config, address)
        path = snapshot(address, PATTERNS, revision=path.name, large=True)
    # the hub's cache names a snapshot after its commit
    return _checked(path, HUB_PREFIX + HubAddress.parse(address).repository, path.name, address)


def local_copy(address: str) -> Path | None:
    """The folder of a repository in the hub's cache, where it is whole; no request is sent."""
    path = local_snapshot(address, PATTERNS) if address.startswith(HUB_PREFIX) else None
    return None if path is None or missing_file(path) is not None else path


def check(address: str) -> Mapping[str, Any]:
    """The config.json of a model that is a captioner as far as that is known without its weights.

    Raises:
        CheckpointError: it cannot be had, or is no captioner; the line says what is missing.
    """
    if not address.startswith(HUB_PREFIX) or local_copy(address) is not None:
        return open_folder(address).config
    path = snapshot(address, (CONFIG, *_TEMPLATES, *_WITH_TEMPLATE))
    config = _read_config(path, address)
    _check_config(config, address)
    _check_template(path, config, address)
    names = top_files(address, path.name)
    shards = {name for name in names if fnmatch(name, "model-*.safetensors")} if _INDEX in names else None
    _check_whole(_missing(names, shards), address)
    return config


def open_folder(address: str) -> ModelFolder:
    """The model that an address names: a folder, or a repository of the hub.

    Raises:
        CheckpointError: it cannot be had, or is no captioner; the line says what is missing.
    """
    if address.startswith(HUB_PREFIX):
        return fetch(address)
    path = Path(address)
    if not path.is_dir():
        raise CheckpointError("no such folder", path=address, hint="give a folder or hf-hub:ORG/NAME with -c")
    return _checked(path, path.resolve().name, None, address)


def _checked(path: Path, name: str, revision: str | None, address: str) -> ModelFolder:
    config = _read_config(path, address)
    _check_config(config, address)
    _check_whole(missing_file(path), address)
    _check_template(path, config, address)
    return ModelFolder(path, name, revision, config)


def _check_whole(missing: str | None, address: str) -> None:
    if missing is not None:
        raise CheckpointError(f"holds no {missing}", path=address, hint=f"it cannot caption without; {_ANOTHER}")


def _read_config(path: Path, address: str) -> dict[str, Any]:
    if not (path / CONFIG).is_file():
        raise CheckpointError(f"holds no {CONFIG}", path=address, hint="give the folder of a model of transformers")
    return read_json(dict[str, Any], path / CONFIG, error=CheckpointError, hint="copy the model's folder again")


def missing_file(path: Path) -> str | None:
    """What a model cannot caption without and the folder lacks; None where it is whole."""
    shards: set[str] | None = None
    if (path / _INDEX).is_file():
        index = read_json(dict[str, Any], path / _INDEX, error=CheckpointError, hint="copy the model's folder again")
        shards = set(map(str, index.get("weight_map", {}).values()))
    return _missing({file.name for file in path.iterdir() if file.is_file()}, shards)


def _missing(names: Collection[str], shards: Collection[str] | None) -> str | None:
    """The same of a list of files; ``shards`` are those of the weights, where there is an index of them."""
    if CONFIG not in names:
        return CONFIG
    if shards is not None:
        lost = next((name for name in sorted(shards) if name not in names), None)
        if lost is not None or not shards:
            return lost or "shard of its weights"
    elif _WEIGHTS not in names:
        return "model.safetensors (other kinds of weights may run code and are not read)"
    if not any(name in names for name in _PROCESSORS):
        return "processor of images or videos (preprocessor_config.json)"
    if not any(name in names for name in _TOKENIZERS):
        return "tokenizer (tokenizer.json)"
    return None


def _check_template(path: Path, config: Mapping[str, Any], address: str) -> None:
    """See that a model that is to follow instructions has a chat template, before gigabytes are downloaded or read.

    Raises:
        CheckpointError: it has none.
    """
    from evcap_multimodal.families import family_class
    from evcap_multimodal.loading import NO_TEMPLATE, NO_TEMPLATE_HINT

    if not family_class(str(config.get("model_type", ""))).takes_instructions:
        return
    if any((path / name).is_file() for name in _TEMPLATES):
        return
    for name in _WITH_TEMPLATE:
        if (path / name).is_file():
            found = read_json(dict[str, Any], path / name, error=CheckpointError, hint="copy the model's folder again")
            if found.get("chat_template"):
                return
    raise CheckpointError(NO_TEMPLATE, path=address, hint=NO_TEMPLATE_HINT)


def _check_config(config: Mapping[str, Any], address: str) -> None:
    """See that transformers has a captioning class of its own for this model.

    Raises:
        CheckpointError: it has none, or would need code of the repository.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

    from evcap_multimodal.families import family_class

    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING_NAMES:
        if "auto_map" in config:
            raise CheckpointError(
                f"needs code of its own ({kind}), which evcap never runs",
                path=address,
                hint="take a model that transformers itself has a class for, such as -c smolvlm2",
            )
        raise CheckpointError(
            f"is of a family that transformers {transformers.__version__} does not have ({kind})",
            path=address,
            hint="pip install -U transformers, or check that this is a model of transformers",
        )
    if kind not in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES and not family_class(kind).model_class_name:
        raise CheckpointError(f"is no model that writes about images or videos ({kind})", path=address, hint=_ANOTHER)
