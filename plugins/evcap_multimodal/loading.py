"""Loading processor and model of a folder: local files only, safetensors only, no code of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.backbones.quiet_transformers import quiet
from evcap_cli.devices import out_of_memory
from evcap_cli.errors import CheckpointError, PluginError, one_line
from evcap_cli.systems.clip_captioner import Clip

if TYPE_CHECKING:
    import torch

    from evcap_multimodal.families import Family
    from evcap_multimodal.folders import ModelFolder


NO_TEMPLATE: Final = "has no chat template: it is no instructed model"
NO_TEMPLATE_HINT: Final = "take the instructed version of it (its name often ends in -it or -Instruct)"


def check_packages(family: Family | type[Family], address: str) -> None:
    """See that the packages that a family needs are installed; none is imported.

    Raises:
        PluginError: naming the first that is not.
    """
    for package in family.packages:
        if find_spec(package) is None:
            raise PluginError(f"needs the package {package}", path=address, hint=f"pip install {package}")


def load_processor(folder: ModelFolder, family: Family, address: str) -> Any:
    """The processor, checked: it prepares images or videos, and has a chat template where instructions are taken that
    makes a prompt.

    Raises:
        CheckpointError: it lacks one of them, or cannot be loaded. PluginError: a package is missing.
    """
    from transformers import AutoProcessor

    with _explained(address), quiet():
        processor = AutoProcessor.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
    if getattr(processor, "image_processor", None) is None and getattr(processor, "video_processor", None) is None:
        raise CheckpointError(
            "its processor takes neither images nor videos",
            path=address,
            hint="take a model that does, such as -c smolvlm2",
        )
    if family.takes_instructions and chat_template(processor) is None:
        raise CheckpointError(NO_TEMPLATE, path=address, hint=NO_TEMPLATE_HINT)
    try:
        family.prompt(processor, Clip(1.0, times=(0.0,)), "Say what happens.")
    except Exception as problem:  # a template is a program of the model's author
        raise CheckpointError(
            f"its chat template cannot be used ({one_line(problem)})", path=address, hint=NO_TEMPLATE_HINT
        ) from problem
    return processor


def chat_template(processor: Any) -> str | None:
    """The chat template of a processor or of its tokenizer."""
    for owner in (processor, getattr(processor, "tokenizer", None)):
        template = getattr(owner, "chat_template", None)
        if isinstance(template, dict):
            template = template.get("default")
        if isinstance(template, str):
            return template
    return None


def load_model(folder: ModelFolder, family: Family, device: torch.device, dtype: torch.dtype, address: str) -> Any:
    """The model in evaluation mode, every weight read from the folder, set to search without sampling.

    Raises:
        CheckpointError: weights are missing or do not fit into memory. PluginError: a package is missing.
    """
    with _explained(address), quiet():
        model, report = family.model_class().from_pretrained(
            folder.path,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        model = model.to(device).eval().requires_grad_(False)
    missing = sorted(report.get("missing_keys", ()))
    if missing:
        raise CheckpointError(
            f"holds no weights for {missing[0]} and {len(missing) - 1} other parameters",
            path=address,
            hint="copy the whole folder again",
        )
    settings = model.generation_config
    settings.do_sample = False
    # what belongs to sampling would only give warnings; a length of its own and a kind of cache would get in the way
    for name in ("temperature", "top_p", "top_k", "min_p", "typical_p", "max_length", "cache_implementation"):
        if hasattr(settings, name):
            setattr(settings, name, None)
    return model


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn what transformers raises into one line with the next step."""
    try:
        yield
    except Exception as problem:
        if out_of_memory(problem):
            raise CheckpointError(
                "does not fit into memory", path=address, hint="take a smaller model, another --device or --dtype bf16"
            ) from problem
        package = _missing_package(problem)
        if package is not None:
            raise PluginError(f"needs the package {package}", path=address, hint=f"pip install {package}") from problem
        raise CheckpointError(
            f"cannot be loaded ({one_line(problem)})", path=address, hint="copy the model's folder again"
        ) from problem


def _missing_package(problem: BaseException) -> str | None:
    """The package that is not installed, where that is the problem."""
    if not isinstance(problem, ImportError):
        return None
    found = re.search(r"pip install (?:-U |--upgrade )?[`'\"]?([A-Za-z0-9][\w.\-]*)", str(problem))
    if found is not None:
        return found[1]
    return problem.name
