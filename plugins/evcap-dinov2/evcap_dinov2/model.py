"""Reading DINOv2: from a folder, from the hub, or drawn. Every failure is one line that says what to do.

transformers reads with a warning what does not fit and draws the rest at random; a feature extractor must not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evcap_cli import WeightsError, seeded

FILES = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"]
"""What is fetched from the hub: no pickles."""
SIZES = {
    "facebook/dinov2-small": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "facebook/dinov2-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "facebook/dinov2-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "facebook/dinov2-giant": {
        "hidden_size": 1536,
        "num_hidden_layers": 40,
        "num_attention_heads": 24,
        "use_swiglu_ffn": True,
    },
}
TRAINED_SIDE = 518
"""Pixels of the pictures that the last steps of DINOv2's training saw; its positions are interpolated to 224."""
MOST_LAYERS = 100
"""The largest DINOv2 has 40."""
HINT = "pass a folder with config.json and model.safetensors: --weights dinov2=FOLDER"


def from_hub(name: str) -> str:
    """The folder that holds the hub's ``name``, downloaded unless it is there.

    Raises:
        WeightsError: it is not there and cannot be downloaded.
    """
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(name, allow_patterns=FILES))
    except Exception as problem:  # the hub's client raises errors of its own, of its HTTP library, and OSError
        reason = str(problem).strip().splitlines()[:1]
        raise WeightsError(f"cannot be downloaded from the hub ({' '.join(reason)})", path=name, hint=HINT) from problem


def from_folder(folder: str, width: int) -> Any:
    """The ``Dinov2Model`` in ``folder``, float32, complete.

    Raises:
        WeightsError: it is missing, damaged, or another model.
    """
    from transformers import Dinov2Model

    _check_config(Path(folder), width)
    try:
        with _quiet():
            model, found = Dinov2Model.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
    except Exception as problem:  # OSError, RuntimeError, SafetensorError: what does not fit has no type of its own
        reason = " ".join(str(problem).split())
        raise WeightsError(f"cannot be read as DINOv2 ({reason[:200]})", path=folder, hint=HINT) from problem
    for what in ("missing_keys", "mismatched_keys"):
        names = sorted(map(str, found[what]))
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightsError(f"is not a whole DINOv2: no {names[0]}{more}", path=folder, hint=HINT)
    return model.float()


def drawn(name: str, seed: int) -> Any:
    """A ``Dinov2Model`` of the size of ``name`` with random weights."""
    from transformers import Dinov2Config, Dinov2Model

    with seeded(seed):
        return Dinov2Model(Dinov2Config(image_size=TRAINED_SIDE, **SIZES[name]))


def _check_config(folder: Path, width: int) -> None:
    if folder.is_file():
        raise WeightsError("is a file where a folder is expected", path=folder, hint=HINT)
    if (folder / "config.json").exists() and not (folder / "config.json").is_file():
        raise WeightsError("its config.json is no file", path=folder, hint=HINT)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError, RecursionError) as problem:
        raise WeightsError(f"holds no config.json that can be read ({problem})", path=folder, hint=HINT) from problem
    layers = config.get("num_hidden_layers", 12)
    if type(layers) is not int or not 1 <= layers <= MOST_LAYERS:
        raise WeightsError(f"claims {str(layers)[:40]} layers", path=folder / "config.json", hint=HINT)
    kind, found = config.get("model_type"), config.get("hidden_size")
    if kind != "dinov2":
        raise WeightsError(f"holds a model of type {kind!r}, not 'dinov2'", path=folder, hint=HINT)
    if found != width:
        raise WeightsError(
            f"holds a DINOv2 {found} wide, not {width}",
            path=folder,
            hint="name its size, for example dinov2:facebook/dinov2-small",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no report from transformers: what is wrong with weights is one line of ours."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
