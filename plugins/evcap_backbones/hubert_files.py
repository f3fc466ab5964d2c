"""Where HuBERT's weights lie and what is read of them: a transformers folder, a .safetensors file, the hub, its cache.

Only safetensors and JSON are read, nothing is executed. Loading them into a network is ``hubert.py``'s business.
Importing this module loads neither torch nor transformers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_backbones.hubert_network import DEFAULT, NO_MASKING
from evcap_cli.backbones.contract import WeightsSource
from evcap_cli.errors import WeightsError
from evcap_cli.reading.typed import read_json

if TYPE_CHECKING:
    from torch import Tensor

FILE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
"""Of weights that were split into several files."""
PICKLE: Final = "pytorch_model.bin"
CONFIG: Final = "config.json"
PREPROCESSOR: Final = "preprocessor_config.json"
CONVERTER: Final = "SFconvertbot"
"""Hugging Face's own: it offers the safetensors of repositories that have pickles only, as a pull request."""
PARTS: Final = ("feature_extractor.", "feature_projection.", "encoder.")
"""Of the network; heads for speech recognition and the like are left out."""


@dataclass(frozen=True)
class Checkpoint:
    """What is read of a place.

    Args:
        config: of a transformers HubertConfig. tensors: by the names of transformers' HubertModel.
        normalise: whether sound is brought to mean 0 and variance 1 first.
        source: the file, for messages.
    """

    config: Any
    tensors: dict[str, Tensor]
    normalise: bool
    source: Path


def read(place: Path, known: Any) -> Checkpoint:
    """Read a transformers folder, or one .safetensors file with or without its config beside it.

    Args:
        place: the folder or file.
        known: the HubertConfig to go by where there is no config.json; None: there must be one.

    Raises:
        WeightsError: something is missing, damaged, or belongs to another kind of model.
    """
    file = _weights_in(place) if place.is_dir() else place
    try:
        tensors = renamed(_tensors(file))
    except ValueError as problem:
        raise WeightsError(str(problem), path=file, hint="check --weights NAME=PATH") from problem
    beside = file.parent if file.name in (FILE, INDEX) else None
    config = known if beside is None else _config(beside / CONFIG, known)
    if config is None:
        raise WeightsError(
            f"has no {CONFIG} to say what network these weights are for",
            path=file,
            hint=f"give the transformers folder, with {CONFIG} and {FILE}",
        )
    normalise = True if beside is None else _normalises(beside / PREPROCESSOR)
    return Checkpoint(config, tensors, normalise, file)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's own tensors by today's names: no prefix, no heads, weight norm as torch writes it since 2.0.

    Raises:
        ValueError: they are not HuBERT's.
    """
    named = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("hubert.")
        for old, new in ((".weight_g", "original0"), (".weight_v", "original1")):
            if name.endswith(old):
                name = f"{name.removesuffix(old)}.parametrizations.weight.{new}"
        if name.startswith(PARTS):
            named[name] = tensor
    if "feature_extractor.conv_layers.0.conv.weight" not in named:
        raise ValueError("these are not HuBERT's weights (no feature_extractor.conv_layers.0.conv.weight)")
    return named


def cached(source: WeightsSource) -> Path | None:
    """What the hub's cache holds of a repository, without asking the network; None: no safetensors of it."""
    from evcap_cli.backbones.downloading import local_copy

    for file in (FILE, INDEX):
        found = local_copy(WeightsSource(source.name, source.location, source.license, file))
        if found is not None:
            return found
    return None


def fetch(source: WeightsSource) -> Path:
    """Download config and safetensors of a hub repository to the hub's own cache.

    Where the repository has a pickle only, the safetensors that Hugging Face's converter offers for it are taken.

    Raises:
        WeightsError: no network, no such repository, no room, or no safetensors.
    """
    from huggingface_hub import HfApi, snapshot_download

    from evcap_cli.backbones.downloading import unreachable
    from evcap_cli.backbones.hub import within_reach
    from evcap_cli.backbones.weights import HUB

    repository = source.location.removeprefix(HUB)
    wanted = [CONFIG, PREPROCESSOR, "model*.safetensors", INDEX]
    try:
        with within_reach(source), _bars_on_terminals_only():
            folder = Path(snapshot_download(repository, allow_patterns=wanted))
            if not _has_weights(folder):
                offers = HfApi().get_repo_discussions(
                    repository, author=CONVERTER, discussion_type="pull_request", discussion_status="open"
                )
                revision = next((offer.git_reference for offer in offers), None)
                if revision is not None:
                    folder = Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
    except WeightsError:  # the hub does not answer
        raise
    except Exception as problem:  # of the hub, of its HTTP library, of the system: no common base
        raise unreachable(source, FILE, problem) from problem
    if not _has_weights(folder):
        address = "hubert" if repository == DEFAULT else f"hubert:{repository}"
        raise WeightsError(
            f"{repository} on the hub has no {FILE}",
            path=address,
            hint=f"download its {PICKLE}, run `evcap weights import {address} {PICKLE} -o hubert.safetensors`, "
            f"then pass --weights {address}=hubert.safetensors",
        )
    return folder


@contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silence = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if silence:
        disable_progress_bars()
    try:
        yield
    finally:
        if silence:
            enable_progress_bars()


def _has_weights(folder: Path) -> bool:
    return (folder / FILE).is_file() or (folder / INDEX).is_file()


def _weights_in(folder: Path) -> Path:
    for name in (FILE, INDEX):
        if (folder / name).is_file():
            return folder / name
    pickle = folder / PICKLE
    if pickle.is_file():
        raise WeightsError(
            f"holds {PICKLE}, a pickle, which could run code, and no {FILE}",
            path=folder,
            hint=f"turn it into safetensors: evcap weights import NAME {pickle} -o {folder / FILE}",
        )
    raise WeightsError(f"holds no {FILE}", path=folder, hint=f"expected a transformers folder, {CONFIG} and {FILE}")


def _tensors(file: Path) -> dict[str, Tensor]:
    from evcap_cli.backbones.weights import read_tensors

    if file.name != INDEX:
        return read_tensors(file)
    places = _json(file).get("weight_map")
    parts = set(map(str, places.values())) if isinstance(places, Mapping) else set()
    if not parts or not all(Path(part).name == part for part in parts):
        raise WeightsError("is not an index of files beside it", path=file, hint="copy or download it again")
    return {name: tensor for part in sorted(parts) for name, tensor in read_tensors(file.parent / part).items()}


def _config(file: Path, known: Any) -> Any:
    """The HubertConfig in ``file``; ``known`` where it is not there."""
    from transformers import HubertConfig

    if not file.is_file():
        return known
    content = _json(file)
    if content.get("model_type") != "hubert":
        raise WeightsError(
            f"describes a model of type {content.get('model_type')!r}, not 'hubert'",
            path=file,
            hint="check --weights NAME=PATH",
        )
    try:
        return HubertConfig.from_dict({**content, **NO_MASKING})
    except Exception as problem:  # transformers checks fields by classes of its own and of huggingface_hub
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
        raise WeightsError(f"does not describe a HuBERT ({reason})", path=file, hint="download it again") from problem


def _normalises(file: Path) -> bool:
    """What the preprocessor's config says; transformers' default where it is silent or not there."""
    value = _json(file).get("do_normalize", True) if file.is_file() else True
    if not isinstance(value, bool):
        raise WeightsError(f"do_normalize is {value!r}, not true or false", path=file, hint="download it again")
    return value


def _json(file: Path) -> dict[str, Any]:
    return read_json(dict[str, Any], file, error=WeightsError, hint="copy or download it again")
