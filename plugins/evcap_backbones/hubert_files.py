"""HuBERT's weights as they lie somewhere: a transformers folder, a .safetensors file, the hub or its cache.

Only safetensors and JSON are read, nothing is executed. Importing this module loads neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_backbones.hubert_network import NO_MASKING
from evcap_cli.backbones.contract import WeightsSource
from evcap_cli.errors import WeightsError, one_line
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
AGAIN: Final = "copy or download it again"


def read(place: Path, known: Any) -> tuple[Any, dict[str, Tensor], bool]:
    """Read a transformers folder, or one .safetensors file with or without its config next to it.

    Args:
        place: the folder or file.
        known: the HubertConfig to use where there is no config.json; None: there must be one.

    Returns:
        The HubertConfig, the tensors by the names of transformers' HubertModel, and whether sound is brought to mean 0
        and variance 1 first.

    Raises:
        WeightsError: something is missing, damaged, or belongs to another kind of model.
    """
    file = _weights_in(place) if place.is_dir() else place
    if file is None:
        pickle = place / PICKLE
        into = f"turn {PICKLE} into safetensors: evcap weights import NAME {pickle} -o {place / FILE}"
        expected = f"expected a transformers folder, {CONFIG} and {FILE}"
        raise WeightsError(f"holds no {FILE}", path=place, hint=into if pickle.is_file() else expected)
    try:
        tensors = renamed(_tensors(file))
    except ValueError as problem:
        raise WeightsError(str(problem), path=file, hint="check --weights NAME=PATH") from problem
    normalise = True
    if file.name in (FILE, INDEX):
        known, normalise = _config(file.with_name(CONFIG), known), _normalises(file.with_name(PREPROCESSOR))
    if known is None:
        raise WeightsError(
            f"has no {CONFIG} to say what network these weights are for",
            path=file,
            hint=f"give the transformers folder, with {CONFIG} and {FILE}",
        )
    return known, tensors, normalise


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


def found(source: WeightsSource) -> Path:
    """The weights of a hub repository: what the hub's cache holds, without the network, or what is fetched.

    Raises:
        WeightsError: see ``fetch``.
    """
    from evcap_cli.backbones.downloading import local_copy

    copies = (local_copy(WeightsSource(source.name, source.location, source.license, name)) for name in (FILE, INDEX))
    return next((copy for copy in copies if copy is not None), None) or fetch(source)


def fetch(source: WeightsSource) -> Path:
    """Download config and safetensors of a hub repository to the hub's own cache.

    Raises:
        WeightsError: no network, no such repository, no room, or no safetensors.
    """
    from huggingface_hub import snapshot_download

    from evcap_cli.backbones.downloading import unreachable
    from evcap_cli.backbones.hub import within_reach
    from evcap_cli.backbones.weights import HUB

    repository = source.location.removeprefix(HUB)
    patterns = [CONFIG, PREPROCESSOR, "model*.safetensors", INDEX]
    try:
        with within_reach(source):
            for revision in _revisions(repository):
                folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
                if _weights_in(folder):
                    return folder
    except WeightsError:  # the hub does not answer
        raise
    except Exception as problem:  # of the hub, of its HTTP library, of the system: no common base
        raise unreachable(source, FILE, problem) from problem
    raise WeightsError(
        f"has no {FILE} on the hub",
        path=repository,
        hint=f"download its {PICKLE}, run `evcap weights import NAME {PICKLE} -o hubert.safetensors`, "
        "then pass --weights NAME=hubert.safetensors",
    )


def _revisions(repository: str) -> Iterator[str | None]:
    """The main branch, then the safetensors that Hugging Face's converter offers for a repository of pickles."""
    from huggingface_hub import HfApi

    yield None
    for offer in HfApi().get_repo_discussions(
        repository, author=CONVERTER, discussion_type="pull_request", discussion_status="open"
    ):
        yield offer.git_reference


def _weights_in(folder: Path) -> Path | None:
    return next((folder / name for name in (FILE, INDEX) if (folder / name).is_file()), None)


def _tensors(file: Path) -> dict[str, Tensor]:
    from evcap_cli.backbones.weights import read_tensors

    if file.name != INDEX:
        return read_tensors(file)
    places = _json(file).get("weight_map")
    parts = set(map(str, places.values())) if isinstance(places, Mapping) else set()
    if not parts or not all(Path(part).name == part for part in parts):
        raise WeightsError("is not an index of files next to it", path=file, hint=AGAIN)
    return {name: tensor for part in sorted(parts) for name, tensor in read_tensors(file.with_name(part)).items()}


def _config(file: Path, known: Any) -> Any:
    """The HubertConfig in ``file``; ``known`` where it is not there."""
    from transformers import HubertConfig

    if not file.is_file():
        return known
    content = _json(file)
    if content.get("model_type") != "hubert":
        cause = f"describes a model of type {content.get('model_type')!r}, not 'hubert'"
        raise WeightsError(cause, path=file, hint="check --weights NAME=PATH")
    try:
        return HubertConfig.from_dict({**content, **NO_MASKING})
    except Exception as problem:  # transformers checks fields by classes of its own and of huggingface_hub
        raise WeightsError(f"does not describe a HuBERT ({one_line(problem)})", path=file, hint=AGAIN) from problem


def _normalises(file: Path) -> bool:
    """What the preprocessor's config says; transformers' default where it is silent or not there."""
    value = _json(file).get("do_normalize", True) if file.is_file() else True
    if not isinstance(value, bool):
        raise WeightsError(f"do_normalize is {value!r}, not true or false", path=file, hint=AGAIN)
    return value


def _json(file: Path) -> dict[str, Any]:
    return read_json(dict[str, Any], file, error=WeightsError, hint=AGAIN)
