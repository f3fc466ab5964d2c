"""Weights of transformers as they lie somewhere: a folder, a .safetensors file, the hub or its cache.

Only safetensors and JSON are read, nothing is executed. Importing this module loads neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
PREPROCESSORS: Final = ("preprocessor_config.json", "video_preprocessor_config.json")
CONVERTER: Final = "SFconvertbot"
"""Hugging Face's own: it offers the safetensors of repositories that have pickles only, as a pull request."""
AGAIN: Final = "copy or download it again"


def weights_file(place: Path) -> Path:
    """The file of weights, or the index of several, at a transformers folder or a file.

    Raises:
        WeightsError: the folder holds none.
    """
    file = _weights_in(place) if place.is_dir() else place
    if file is None:
        pickle = place / PICKLE
        into = f"turn {PICKLE} into safetensors: evcap weights import NAME {pickle} -o {place / FILE}"
        expected = f"expected a transformers folder, {CONFIG} and {FILE}"
        raise WeightsError(f"holds no {FILE}", path=place, hint=into if pickle.is_file() else expected)
    return file


def tensors_of(file: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, or of all that an index names.

    Raises:
        WeightsError: one is missing, damaged or a pickle, or the index names files elsewhere.
    """
    from evcap_cli.backbones.weights import read_tensors

    if file.name != INDEX:
        return read_tensors(file)
    places = _json(file).get("weight_map")
    parts = set(map(str, places.values())) if isinstance(places, Mapping) else set()
    if not parts or not all(Path(part).name == part for part in parts):
        raise WeightsError("is not an index of files next to it", path=file, hint=AGAIN)
    return {name: tensor for part in sorted(parts) for name, tensor in read_tensors(file.with_name(part)).items()}


def config_of(file: Path, model_type: str, known: Any, **changes: Any) -> Any:
    """The configuration of a file of weights: of the config.json next to it, where it lies in a transformers folder.

    Args:
        file: see ``weights_file``.
        model_type: as transformers calls the family.
        known: the configuration to use where there is no config.json; None: there must be one.
        changes: fields that are set whatever the file says.

    Raises:
        WeightsError: there is none, it cannot be read, or it describes another kind of model.
    """
    from transformers import AutoConfig

    place = file.with_name(CONFIG)
    if file.name not in (FILE, INDEX) or not place.is_file():
        if known is None:
            raise WeightsError(
                f"has no {CONFIG} to say what network these weights are for",
                path=file,
                hint=f"give the transformers folder, with {CONFIG} and {FILE}",
            )
        return known
    content = _json(place)
    if content.get("model_type") != model_type:
        cause = f"describes a model of type {content.get('model_type')!r}, not {model_type!r}"
        raise WeightsError(cause, path=place, hint="check --weights NAME=PATH")
    try:
        return type(AutoConfig.for_model(model_type)).from_dict({**content, **changes})
    except Exception as problem:  # transformers checks fields by classes of its own and of huggingface_hub
        cause = f"does not describe a {model_type} network ({one_line(problem)})"
        raise WeightsError(cause, path=place, hint=AGAIN) from problem


def preparation_of(file: Path) -> tuple[Path, dict[str, Any]] | None:
    """The preprocessor's JSON next to a file of weights, and where it lies; None: there is none.

    Raises:
        WeightsError: it cannot be read.
    """
    places = (file.with_name(name) for name in PREPROCESSORS) if file.name in (FILE, INDEX) else ()
    return next(((place, _json(place)) for place in places if place.is_file()), None)


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
    patterns = [CONFIG, *PREPROCESSORS, "model*.safetensors", INDEX]
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
        hint=f"download its {PICKLE}, run `evcap weights import NAME {PICKLE} -o weights.safetensors`, "
        "then pass --weights NAME=weights.safetensors",
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


def _json(file: Path) -> dict[str, Any]:
    return read_json(dict[str, Any], file, error=WeightsError, hint=AGAIN)
